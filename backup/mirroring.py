"""Brings the local mirror of the index up to date with the vault's index objects."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from backup.run import Run
from backup.systems.base import File, Folder, Stat
from catalog.errors import Damaged, NewerFormat, ObjectNotFound
from catalog.format.blocks import PackKind
from catalog.format.packs import pack_name
from catalog.format.records import IndexObject, decode_record
from catalog.format.sealed import Kind, open_object
from catalog.vault import Vault

_PARALLEL = 8  # index objects that are fetched at once


def read_index(run: Run[Folder, File, Stat]) -> None:
    """Read the machine's index objects, once the machine's packs are listed.

    A mirror that was made anew takes what they say. Later, only those that its own runs wrote are of use, and
    others are named: another machine could say with one that foreseeable content is stored already. A damaged one
    is named, too, and what it lists is stored again. None is read twice.
    """
    mirror, vault, problem = run.mirror, run.vault, run.problems.add
    if not mirror.must_list_index():
        return
    takes_all = not mirror.has_read_index()
    infos = vault.store.list(f"index/{run.machine.id.hex()}/")
    for name, result in _fetched(vault, (info.name for info in infos if not mirror.knows_object(info.name))):
        try:
            index = result.result()
        except ObjectNotFound:
            continue  # deleted since it was listed
        except (Damaged, NewerFormat) as e:
            problem(b"", f"{name}: {e}; what it lists is stored again")
            mirror.pass_over(name)
            continue
        if takes_all or run.is_own_index(name):
            for pack in mirror.mirror(name, index.packs, run.damaged.record):
                problem(b"", f"{pack_name(PackKind.DATA, pack)}: it is shorter than it was; it is stored again")
        elif mirror.is_own(index.packs):
            mirror.published(name, [p.pack for p in index.packs])
        elif not mirror.learns_from(index.packs):  # as those do that upkeep puts together
            mirror.pass_over(name)
        else:
            problem(b"", f"{name}: this state folder has no record of writing this index object; it is not used")
            mirror.pass_over(name)
    mirror.listed_index()


def _fetched(vault: Vault, names: Iterator[str]) -> Iterator[tuple[str, Future[IndexObject]]]:
    """Index objects in order, fetched a few at a time: no more than that are in memory."""

    def fetch(name: str) -> IndexObject:
        data = vault.fetch_sealed(Kind.INDEX, name)
        return decode_record(IndexObject, open_object(vault.keys, Kind.INDEX, name, data), name)

    waiting: deque[tuple[str, Future[IndexObject]]] = deque()
    with ThreadPoolExecutor(_PARALLEL, "index") as pool:
        try:
            for name in names:
                waiting.append((name, pool.submit(fetch, name)))
                if len(waiting) >= _PARALLEL:
                    yield waiting.popleft()
            yield from waiting
        finally:
            for _name, future in waiting:
                future.cancel()
