"""The newest jobs of a vault, without a listing of all of them where that can be avoided."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain, islice

from catalog.errors import RpdriveError
from catalog.format.keys import ID_BYTES
from catalog.format.records import Job, JobName, StartName
from catalog.format.sealed import Kind
from catalog.store.base import LIST_PAGE
from catalog.vault import Vault

_MOST_BAD = 1000  # records that do not open, after which no older ones are tried
_PARALLEL = 8  # listings at once
_PAGES = 20  # requests for all names, one after the other, before machines are listed by themselves
_HELD = 100_000  # names in memory


def newest_names(vault: Vault, machine: bytes | None = None) -> Iterator[JobName | StartName]:
    """Names of jobs, newest first: of a job that has not ended, that of its start.

    One request if there are few. Where all would take many, those of the last days come first, and then those of
    two months, listed machine by machine, eight at a time: the rest is listed only if somebody wants it. No more
    than _HELD names are in memory: beyond that the same is listed once more.
    """
    prefix = "jobs/" if machine is None else f"jobs/{machine.hex()}/"
    listing = (info.name for info in vault.store.list(prefix))
    first = list(islice(listing, LIST_PAGE))
    if len(first) < LIST_PAGE:
        yield from _sorted(_named(first))
        return
    folders = [machine.hex()] if machine is not None else list(vault.store.folders("jobs/"))
    most = min(2 * len(folders), _PAGES)
    if _pages(folders, first[-1]) <= most + 1:
        first += islice(listing, most * LIST_PAGE)
        if len(first) % LIST_PAGE:
            yield from _sorted(_named(first))
            return
    del first, listing
    days, months = _days(), _months()
    yield from _by_age(lambda: _each(vault, folders, [days]), lambda text: True)
    yield from _by_age(lambda: _each(vault, folders, months), lambda text: not text.startswith(days))
    yield from _by_age(
        lambda: (info.name for info in vault.store.list(prefix)), lambda text: not text.startswith(months)
    )


def names_with_id(vault: Vault, start: str) -> Iterator[JobName | StartName]:
    """Names of jobs, as `newest_names`, whose ids (hex) start so; no others are kept.

    Lists all jobs, unless the id is whole: then as many as `newest_names` does until it is found.
    """
    if len(start) < 2 * ID_BYTES:
        names = (info.name for info in vault.store.list("jobs/"))
        yield from (name for name in _named(names) if job_of(name).id.hex().startswith(start))
        return
    yield from islice((name for name in newest_names(vault) if job_of(name).id.hex() == start), 1)


def _pages(folders: Sequence[str], last: str) -> int:
    """How many requests all names may take: `last` is the last one of the first request. At least 1."""
    here = last.split("/")[1]
    return len(folders) // max(1, sum(folder <= here for folder in folders))


def _each(vault: Vault, folders: Sequence[str], times: Sequence[str]) -> Iterator[str]:
    """The names of jobs of these machines that begin with one of these times."""

    def listed(prefix: str) -> list[str]:
        return [info.name for info in vault.store.list(prefix)]

    prefixes = (f"jobs/{folder}/{time}" for folder in folders for time in times)
    with ThreadPoolExecutor(_PARALLEL, "jobs") as pool:
        while some := list(islice(prefixes, 16 * _PARALLEL)):
            yield from chain.from_iterable(pool.map(listed, some))


def _by_age(names: Callable[[], Iterable[str]], wanted: Callable[[str], bool]) -> Iterator[JobName | StartName]:
    """Jobs whose times are `wanted`, newest first. `names` is called again for those that _HELD left out."""
    before: tuple[int, bytes] | None = None
    while True:
        jobs = (job for job in _named(names(), wanted) if before is None or _age(job) < before)
        some = heapq.nlargest(_HELD, jobs, key=_age)
        yield from some
        if len(some) < _HELD:
            return
        before = _age(some[-1])


def _named(
    names: Iterable[str], wanted: Callable[[str], bool] = lambda text: True
) -> Iterator[JobName | StartName]:
    """The jobs of names in order, each once: by the name of its end, which comes first, if that is among them."""
    ended: JobName | None = None
    for text in names:
        if not wanted(text.rpartition("/")[2]):
            continue
        if (job := JobName.parse(text)) is not None:
            ended = job
            yield job
        elif (start := StartName.parse(text)) is not None and start.job != ended:
            yield start


def _sorted(names: Iterable[JobName | StartName]) -> list[JobName | StartName]:
    return sorted(names, key=_age, reverse=True)


def newest_jobs(
    vault: Vault, names: Iterator[JobName | StartName], count: int
) -> tuple[list[Job], list[RpdriveError]]:
    """The first `count` jobs that open, of names in this order, and an error for each before them that does not.

    The errors are noted in `passed_over`, too. Raises StoreError.
    """
    found, damaged = list[Job](), list[RpdriveError]()
    while len(found) < count and len(damaged) < _MOST_BAD:
        some = list(islice(names, count - len(found)))
        if not some:
            break
        for name, job in zip(some, vault.read_each(Kind.JOB, Job, some), strict=True):
            if isinstance(job, Job):
                found.append(job)
            else:
                vault.passed_over.note(str(name), job)
                damaged.append(job)
    return found, damaged


def _age(name: JobName | StartName) -> tuple[int, bytes]:
    job = job_of(name)
    return job.time, job.id


def job_of(name: JobName | StartName) -> JobName:
    """The name of the job."""
    return name.job if isinstance(name, StartName) else name


def _days() -> str:
    """Today and up to nine days before (UTC), as names of jobs begin."""
    return f"{datetime.now(UTC):%Y%m%d}"[:-1]


def _months() -> tuple[str, str]:
    """This month and the last one (UTC), as names of jobs begin."""
    now = datetime.now(UTC)
    before = now.replace(day=1) - timedelta(days=1)
    return f"{now:%Y%m}", f"{before:%Y%m}"
