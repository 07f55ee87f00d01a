"""The newest jobs of a vault, without a listing of all of them where that can be avoided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from catalog.errors import RpdriveError
from catalog.format.records import Job, JobName, StartName
from catalog.format.sealed import Kind
from catalog.store.base import LIST_PAGE
from catalog.vault import Vault

_MOST_BAD = 1000  # records that do not open, after which no older ones are tried


def newest_names(vault: Vault, machine: bytes | None = None) -> Iterator[JobName | StartName]:
    """Names of jobs, newest first: of a job that has not ended, that of its start.

    One request if there are few. Otherwise the last two months come first, listed machine by machine, so that the
    rest is listed only if somebody wants it.
    """
    prefix = "jobs/" if machine is None else f"jobs/{machine.hex()}/"
    listing = (info.name for info in vault.store.list(prefix))
    names = list(islice(listing, LIST_PAGE))
    recent: set[JobName | StartName] = set()
    if len(names) == LIST_PAGE:
        folders = [machine.hex()] if machine is not None else list(vault.store.folders("jobs/"))
        # To list the months costs two requests a machine. To go on costs less if that many are enough.
        names += islice(listing, 2 * len(folders) * LIST_PAGE)
        if len(names) % LIST_PAGE == 0:
            recent = _named(
                info.name
                for folder in folders
                for month in _months()
                for info in vault.store.list(f"jobs/{folder}/{month}")
            )
            yield from sorted(recent, key=_age, reverse=True)
        names += listing
    yield from sorted(_named(names) - recent, key=_age, reverse=True)


def _named(names: Iterable[str]) -> set[JobName | StartName]:
    """The jobs of some names: each once, by the name of its end if that is among them."""
    ended, started = set[JobName](), set[StartName]()
    for text in names:
        if (job := JobName.parse(text)) is not None:
            ended.add(job)
        elif (start := StartName.parse(text)) is not None:
            started.add(start)
    return {*ended, *(start for start in started if start.job not in ended)}


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


def _months() -> tuple[str, str]:
    """This month and the last one (UTC), as names of jobs begin."""
    now = datetime.now(UTC)
    before = now.replace(day=1) - timedelta(days=1)
    return f"{now:%Y%m}", f"{before:%Y%m}"
