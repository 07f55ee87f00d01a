"""The newest jobs of a vault, without a listing of all of them where that can be avoided."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from catalog.errors import RpdriveError
from catalog.format.records import Job, JobName
from catalog.format.sealed import Kind
from catalog.store.base import LIST_PAGE
from catalog.vault import Vault

_MOST_BAD = 1000  # records that do not open, after which no older ones are tried


def newest_names(vault: Vault, machine: bytes | None = None) -> Iterator[JobName]:
    """Names of jobs, newest first.

    One request if there are few. Otherwise the last two months come first, listed machine by machine, so that the
    rest is listed only if somebody wants it.
    """
    prefix = "jobs/" if machine is None else f"jobs/{machine.hex()}/"
    listing = (info.name for info in vault.store.list(prefix))
    names = list(islice(listing, LIST_PAGE))
    recent: set[JobName] = set()
    if len(names) == LIST_PAGE:
        folders = [machine.hex()] if machine is not None else list(vault.store.folders("jobs/"))
        # To list the months costs two requests a machine. To go on costs less if that many are enough.
        names += islice(listing, 2 * len(folders) * LIST_PAGE)
        if len(names) % LIST_PAGE == 0:
            recent = {
                name
                for folder in folders
                for month in _months()
                for info in vault.store.list(f"jobs/{folder}/{month}")
                if (name := JobName.parse(info.name)) is not None
            }
            yield from sorted(recent, key=_age, reverse=True)
        names += listing
    rest = (name for text in names if (name := JobName.parse(text)) is not None and name not in recent)
    yield from sorted(rest, key=_age, reverse=True)


def newest_jobs(vault: Vault, names: Iterator[JobName], count: int) -> tuple[list[Job], list[RpdriveError]]:
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


def _age(name: JobName) -> tuple[int, bytes]:
    return name.time, name.id


def _months() -> tuple[str, str]:
    """This month and the last one (UTC), as names of jobs begin."""
    now = datetime.now(UTC)
    before = now.replace(day=1) - timedelta(days=1)
    return f"{now:%Y%m}", f"{before:%Y%m}"
