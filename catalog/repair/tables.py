"""Looks at what is in packs and carriers beside blocks: headers and tables of contents. No file needs them.

Points say themselves where each block is; so do records of places and index objects, which a repair makes anew from
the tables if these are lost. A table that is damaged can't be made anew in place, as objects are never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from catalog.errors import MissingData, RpdriveError
from catalog.format.blocks import PackKind
from catalog.format.packs import pack_name
from catalog.repair.contents import Object, read_all
from catalog.repair.survey import Survey
from catalog.vault import Vault

MOST = 20  # that are named


def bad_tables(vault: Vault, survey: Survey, packs: Iterable[tuple[PackKind, bytes]]) -> list[str]:
    """A line for each object with blocks of these packs whose table can't be read. Raises StoreError."""
    found = [_line(obj, error) for obj, error in _bad(vault, survey, packs)]
    more = [f"… and {len(found) - MOST:,} more tables of contents can't be read"] if len(found) > MOST else []
    return found[:MOST] + more


def _bad(
    vault: Vault, survey: Survey, packs: Iterable[tuple[PackKind, bytes]]
) -> Iterator[tuple[Object, RpdriveError]]:
    holders = set[tuple[PackKind, bytes]]()
    for kind, pack in packs:
        holders |= {(kind, run.holder) for run in vault.places.runs(kind, pack)} or {(kind, pack)}
    objects = (
        Object(kind, one, size, 0) for kind, one in sorted(holders) if (size := survey.size(kind, one)) is not None
    )
    for obj, contents in read_all(vault, objects, headers=True):
        if isinstance(contents, RpdriveError) and not isinstance(contents, MissingData):
            yield obj, contents


def _line(obj: Object, error: RpdriveError) -> str:
    return (
        f"the header or the table of contents of {pack_name(obj.kind, obj.id)} can't be read ({error}): no file "
        "needs it, and blocks were read without it; it can't be made anew: put the object of another copy of the "
        "vault in its place, if there is one"
    )
