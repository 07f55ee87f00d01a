"""What somebody brings to an import: folders and staging containers, and the disks of a seed that are in them.

A source is a disk's folder, a folder of several (what `seed export` made, or a staging container), or a twin. Each
is a store, so that disks here and containers elsewhere are read by the same calls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from blake3 import blake3

from catalog.access.session import Session
from catalog.errors import (
    Damaged,
    LocalError,
    NewerFormat,
    ObjectNotFound,
    ObjectTooLarge,
    RpdriveError,
    ShortRead,
    UsageError,
)
from catalog.seeds.disk import (
    BULK,
    HASH_BYTES,
    LAST,
    LIST_FILE,
    LISTS,
    MAX_LINE,
    MAX_SEED_FILE,
    SEED_FILE,
    DiskRow,
    Listed,
    SeedFile,
    decode_seed_file,
    read_list,
    read_twin_file,
    travels,
    write_list,
)
from catalog.store.address import local_folder, normal_address
from catalog.store.base import Store, pieces
from catalog.store.local import LocalStore
from catalog.vault_json import NAME as VAULT_FILE

MOST_LIST = 4 << 30  # bytes of a list: 15 million objects, which are 500 TiB of packs
_MOST_FOLDERS = 1000  # of a source that are looked into


TWIN = 0  # the number of a twin, which is no disk


class Brought:
    """A disk, or a twin (number TWIN), that was found at `place`, an address. `store` reads it."""

    def __init__(self, store: Store, place: str, file: SeedFile) -> None:
        self.store = store
        self.place = place
        self.file = file

    @property
    def number(self) -> int:
        return self.file.disk

    @property
    def row(self) -> DiskRow:
        return self.file.row

    @property
    def is_twin(self) -> bool:
        return self.number == TWIN

    @property
    def what(self) -> str:
        return "the twin" if self.is_twin else "the disk"

    @property
    def named(self) -> str:
        """What and where it is, for people."""
        return f"the twin at {self.shown}" if self.is_twin else f"disk {self.number} at {self.shown}"

    @property
    def shown(self) -> str:
        """The place, for people: a path where it is a folder."""
        return shown(self.place)

    def is_away(self) -> bool:
        """Whether the disk can't be read at all, e.g. because it was unplugged."""
        try:
            self.store.get(VAULT_FILE if self.is_twin else SEED_FILE, MAX_SEED_FILE)
        except RpdriveError:
            return True
        return False


def shown(place: str) -> str:
    """An address for people: a path where it is a folder."""
    return local_folder(place) or place


def open_sources(
    session: Session, sources: Sequence[str], opened: ExitStack
) -> tuple[list[Brought], list[RpdriveError]]:
    """The disks at these addresses, in the order of the addresses, and what is wrong with others.

    `opened` closes their stores. A folder that is not a disk is looked into: it may hold several. Raises UsageError
    for an address at which there is no disk at all, and StoreError if it can't be read.
    """
    found: list[Brought] = []
    problems: list[RpdriveError] = []
    for source in sources:
        place = normal_address(source)
        before = len(found), len(problems)
        store = open_source(session, place, opened)
        if not _opened(found, problems, store, place, opened):
            for folder in _folders(store):
                below = f"{place}/{folder}"
                _opened(found, problems, open_source(session, below, opened), below, opened)
        if (len(found), len(problems)) == before:
            raise UsageError(
                f"there is no disk of a seed at {shown(place)}: it has no {SEED_FILE}",
                "name the folder that `rpdrive seed start --disk` was given; a disk that is not finished gets its"
                " list by `rpdrive seed close`",
            )
    return found, problems


def open_source(session: Session, place: str, opened: ExitStack) -> Store:
    """The store at an address, which `opened` closes. Raises UsageError if it is none, AccessDenied, StoreError."""
    folder = local_folder(place)
    if folder is None:
        other = session.another(place)
        opened.callback(other.close)
        return other.open_store()
    if not Path(folder).is_dir():
        raise UsageError(f"there is no folder {folder}", "check that the disk is connected and mounted")
    return opened.enter_context(closing(LocalStore(folder, place, witness=SEED_FILE)))


def _opened(
    found: list[Brought], problems: list[RpdriveError], store: Store, place: str, opened: ExitStack
) -> bool:
    """Add the disk at an address, or what is wrong with it. False if there is none."""
    what = f"{shown(place)}/{SEED_FILE}"
    try:
        data = store.get(SEED_FILE, MAX_SEED_FILE)
        found.append(Brought(store, place, decode_seed_file(data, what)))
    except ObjectNotFound:
        folder = local_folder(place)
        return folder is not None and _opened_twin(found, problems, Path(folder), place, opened)
    except ObjectTooLarge as e:
        problems.append(Damaged(f"{what} is too large", e.advice))
    except (Damaged, NewerFormat) as e:
        problems.append(e)
    return True


def _opened_twin(
    found: list[Brought], problems: list[RpdriveError], folder: Path, place: str, opened: ExitStack
) -> bool:
    try:
        twin = read_twin_file(folder)
    except (Damaged, NewerFormat) as e:
        problems.append(e)
        return True
    if twin is None:
        return False
    row = DiskRow(number=TWIN, id=twin.seed)
    file = SeedFile(
        vault=twin.vault, seed=twin.seed, machine=twin.machine, expires=twin.expires, disk=TWIN, disks=(row,)
    )
    found.append(Brought(opened.enter_context(closing(LocalStore(folder, place))), place, file))
    return True


def _folders(store: Store) -> Iterator[str]:
    for number, name in enumerate(store.folders("")):
        if number >= _MOST_FOLDERS:
            return
        yield name


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of this user's own, which is removed afterwards. Raises LocalError."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="rpdrive-")
    except OSError as e:
        what = f"there is no folder for temporary files: {e.strerror or e}"
        raise LocalError(what, "set TMPDIR to a disk with room") from e
    with folder as path:
        yield Path(path)


# --- lists ------------------------------------------------------------------------------------------------


class DiskList:
    """The list of a disk, copied from where it was found and proven: the disk may be away when it is read again."""

    def __init__(self, path: Path, row: DiskRow, where: str, *, hashed: bool = True) -> None:
        self._path, self.row, self._where, self._hashed = path, row, where, hashed

    def __iter__(self) -> Iterator[Listed]:
        """Its objects, in order of name. Raises Damaged if a line is malformed, or is no object of a disk.

        The hash of an object of a twin is empty: nobody knows it.
        """
        try:
            for listed in read_list(self._path, self.row):
                yield listed if self._hashed else listed._replace(hash=b"")
        except Damaged as e:
            raise Damaged(str(e).replace(str(self._path), self._where), e.advice) from e


def fetch_list(one: Brought, row: DiskRow, folder: Path) -> DiskList:
    """Copy the list of a disk from `one`, which is that disk or the last one, to a folder of this machine.

    Raises Damaged if its bytes are not those that seed.json tells of, ObjectNotFound, StoreError, or LocalError if
    there is no room for it here.
    """
    own = one.number == row.number
    name = LIST_FILE if own else f"{LISTS}/{row.number}.jsonl"
    where = f"{one.shown}/{name}"
    if row.list_bytes > min(MOST_LIST, row.objects * MAX_LINE):
        raise Damaged(f"{one.shown}/{SEED_FILE} tells of a list of {row.objects} objects: no disk holds so many")
    path = folder / f"{row.number}.jsonl"
    try:
        with path.open("wb") as file:
            file.writelines(pieces(one.store, name, row.list_bytes, bytes.fromhex(row.list)))
    except OSError as e:
        raise LocalError(f"{path} can't be written: {e.strerror or e}", "set TMPDIR to a disk with room") from e
    except Damaged as e:
        what = f"{where} is not the list that {SEED_FILE} tells of"
        raise Damaged(what, "take another copy of the disk") from e
    return DiskList(path, row, where)


def list_twin(one: Brought, folder: Path) -> DiskList:
    """List a twin into a folder of this machine, as the list of a disk. Raises StoreError and LocalError.

    A backup may add to it meanwhile: what comes last is listed first, and what that refers to is there by then.
    """
    last = {prefix: list(one.store.list(prefix)) for prefix in (*LAST[:-1], one.file.ended_name)}
    prefixes = sorted([*BULK, *last])

    def rows() -> Iterator[Listed]:
        for prefix in prefixes:
            for info in last[prefix] if prefix in last else one.store.list(prefix):
                if travels(info.name) and not info.name.endswith(".partial"):
                    yield Listed(info.name, info.size, bytes(HASH_BYTES))

    path = folder / "twin.jsonl"
    written = write_list(path, rows())
    row = DiskRow(number=TWIN, id=one.file.seed, **written._asdict())
    return DiskList(path, row, f"the listing of {one.shown}", hashed=False)


def read_whole(store: Store, listed: Listed, most: int) -> bytes:
    """The bytes of a small object of a disk. Raises Damaged if they are not those that its list tells of."""
    if listed.size > most:
        raise Damaged(f"{listed.name} has {listed.size} bytes: no object of its kind is so large")
    try:
        data = store.get(listed.name, max(1, listed.size))
    except (ObjectNotFound, ObjectTooLarge, ShortRead) as e:
        raise Damaged(f"{store.url} has not the bytes of {listed.name} that its list tells of") from e
    if len(data) != listed.size or (listed.hash and blake3(data).digest() != listed.hash):
        raise Damaged(f"{store.url} has not the bytes of {listed.name} that its list tells of")
    return data
