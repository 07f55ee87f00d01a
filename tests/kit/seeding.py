"""Seeds on disks, and vaults that wait for them: points as a backup writes them, laid out by the real code."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.format.records import PointName
from catalog.format.sealed import Kind, seal_object
from catalog.format.seeds import Ending, SeedEnded, SeedName, SeedRecord, encode_seed
from catalog.screen.phases import NoFollower
from catalog.seeds.disk import (
    LIST_FILE,
    LISTS,
    DiskRow,
    Listed,
    SeedFile,
    TwinFile,
    hash_of,
    write_list,
    write_seed_file,
    write_twin_file,
)
from catalog.seeds.importing import Request, Result, import_seed
from catalog.store.address import open_store
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import Request as StoreRequest
from catalog.store.wrapper import StoreWrapper, T
from tests.kit.pruning import DAY, World
from tests.kit.vaultmaker import MACHINE

SEED = bytes(range(100, 116))
ADDRESS = "/the/vault"
LAST = ("jobs/", "points/", "seeds/")


class Seed:
    """A vault in memory, with a clock that a test moves, and a seed of it on disks, which are folders.

    What the seed carries is taken from the vault, as if it had never been there: `carried` has it. `world` knows
    what each point holds. `expires` is days from now.
    """

    def __init__(self, folder: Path, disks: int = 2, *, points: int = 2, expires: float = 180) -> None:
        self.folder = folder
        self.world = World()
        self.memory: MemoryStore = self.world.memory
        vault = self.world.vault
        self.memory.create("vault.json", [vault.file.encode(vault.keys)])
        self.expires = self.world.now + int(expires * DAY)
        record = SeedRecord(id=SEED, machine=self.world.machine, time=self.world.now, expires=self.expires)
        name = str(SeedName(SEED))
        self.memory.create(name, [seal_object(vault.keys, Kind.SEED, name, encode_seed(record))])
        before = set(self.memory.objects)
        self.world.backup(*range(3), publish=True)
        for number in range(1, points):
            self.world.later(1)
            self.world.backup(number, number + 3, publish=True)
        self._job()
        ended = SeedEnded(id=SEED, machine=self.world.machine, time=self.world.now, outcome=Ending.IMPORTED)
        name = str(SeedName(SEED, is_ended=True))
        self.memory.create(name, [seal_object(vault.keys, Kind.SEED, name, encode_seed(ended))])
        self.carried = {n: data for n, data in self.memory.objects.items() if n not in before}
        for name in self.carried:
            del self.memory.objects[name], self.memory._modified[name]
        self.points = [name for name in self.carried if name.startswith("points/")]
        self.disks = write_disks(folder, self.carried, disks, vault.id, self.expires)
        self.whole = dict(self.memory.objects) | self.carried

    def _job(self) -> None:
        name = f"jobs/{self.world.machine.hex()}/20260101T000000Z-{bytes(16).hex()}"
        self.memory.create(name, [b"a job, sealed"])

    def write_again(self, carried: Mapping[str, bytes]) -> None:
        """Write the disks again, with these objects."""
        for disk in self.disks:
            shutil.rmtree(disk)
        self.disks = write_disks(self.folder, carried, len(self.disks), self.world.vault.id, self.expires)

    def run(
        self, *sources: Path, store: Store | None = None, verify: bool = False, partial: bool = False
    ) -> Result:
        """Import, as a process does that has no home."""
        request = Request([str(source) for source in sources], verify, partial)
        return import_seed(self.session(store), request, NoFollower())

    def session(self, store: Store | None = None) -> Session:
        return session_of(self.folder / "home", store or self.memory)

    def seen(self) -> list[PointName]:
        """The points that are visible; each is read whole, by a reader of its own, and compared."""
        names = [name for name in self.world.points if str(name) in self.memory.objects]
        for name in names:
            assert self.world.read(name) == self.world.points[name]
        return names

    def lost(self, *, early: bool = True) -> set[str]:
        """What the vault lacks of the seed; `early`: of packs and index only."""
        return {n for n in self.carried if n not in self.memory.objects and not (early and n.startswith(LAST))}

    def assert_nothing_visible(self) -> None:
        assert not [name for name in self.memory.objects if name.startswith(LAST) and name != f"seeds/{SEED.hex()}"]

    def assert_whole(self) -> None:
        """The vault is as if everything had been stored online, object by object."""
        assert self.memory.objects == self.whole
        assert len(self.seen()) == len(self.points)

    def on_disk(self, number: int, prefix: str = "packs/") -> Path:
        """The first object on a disk whose name begins so."""
        disk = self.disks[number - 1]
        return next(
            disk / name for name in sorted(self.carried) if name.startswith(prefix) and (disk / name).exists()
        )


def write_twin(seed: Seed, folder: Path) -> Path:
    """The twin of a seed: all that it carries, and what makes the folder a copy of the vault that can be read."""
    known = {
        n: data for n, data in seed.memory.objects.items() if n.startswith(("machines/", "items/", "vault.json"))
    }
    for name, data in (seed.carried | known).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / ".rpdrive").mkdir()
    write_twin_file(folder, TwinFile(
        vault=seed.world.vault.id.hex(), seed=SEED.hex(), machine=MACHINE.hex(), expires=seed.expires
    ))  # fmt: skip
    return folder


def session_of(
    home: Path, store: Store, address: str = ADDRESS, others: Callable[[str], Store] = open_store
) -> Session:
    """A session of a user who has nothing: no passphrase, no key. `store` is the vault's; `others` opens others."""

    def opener(url: str, *, token: str | None = None, endpoint: str | None = None) -> Store:
        return store if url == f"file://{address}" else others(url)

    return Session(Settings({"RPDRIVE_HOME": str(home)}), vault=address, opener=opener)


def spread(carried: Mapping[str, bytes], disks: int) -> list[list[str]]:
    """The names that each disk gets: packs and index in turn, all else on the last."""
    found: list[list[str]] = [[] for _ in range(disks)]
    for folder in ("packs/", "meta/", "index/"):
        for number, name in enumerate(sorted(name for name in carried if name.startswith(folder))):
            found[number % disks].append(name)
    found[-1] += [name for name in carried if name.startswith(LAST)]
    return [sorted(names) for names in found]


def write_disks(
    folder: Path, carried: Mapping[str, bytes], disks: int, vault: bytes, expires: int, seed: bytes = SEED
) -> list[Path]:
    """Disks as `rpdrive seed close` leaves them: each knows those before it, and the last one all."""
    roots = [folder / f"disk-{number}" for number in range(1, disks + 1)]
    rows: list[DiskRow] = []
    for number, (root, names) in enumerate(zip(roots, spread(carried, disks), strict=True), 1):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(carried[name])
        rows.append(listed(root, number, carried, names))
        is_last = number == disks
        if is_last:
            for other in range(1, number):
                (root / LISTS).mkdir(exist_ok=True)
                shutil.copy(roots[other - 1] / LIST_FILE, root / LISTS / f"{other}.jsonl")
        write_seed_file(
            root,
            SeedFile(
                vault=vault.hex(),
                seed=seed.hex(),
                machine=MACHINE.hex(),
                expires=expires,
                disk=number,
                disks=tuple(rows),
                complete=is_last,
            ),
        )
    return roots


def listed(root: Path, number: int, carried: Mapping[str, bytes], names: Sequence[str]) -> DiskRow:
    """Write the list of a disk with these objects; its row."""
    root.mkdir(parents=True, exist_ok=True)
    rows = (Listed(name, len(carried[name]), hash_of([carried[name]])) for name in sorted(names))
    written = write_list(root / LIST_FILE, rows)
    return DiskRow(
        number=number, id=f"{number:032x}", label=f"usb-{number}", objects=written.objects, bytes=written.bytes,
        list=written.list, list_bytes=written.list_bytes,
    )  # fmt: skip


def flip(path: Path, at: int = -1) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


class WatchedStore(StoreWrapper):
    """Calls `look` before and after each request that changes the store, as another machine might look."""

    def __init__(self, inner: Store, look: Callable[[], object]) -> None:
        super().__init__(inner)
        self.look, self.looked = look, 0
        self._lock = threading.Lock()

    def _pass_on(self, request: StoreRequest, call: Callable[[], T]) -> T:
        if request.kind != "create":
            return call()
        with self._lock:
            self.look()
        result = call()
        with self._lock:
            self.looked += 1
            self.look()
        return result


# --- disks -------------------------------------------------------------------------------------------------


@contextmanager
def tmpfs(folder: Path, size: str = "16m", options: str = "") -> Iterator[Path]:
    """The folder that a file system in memory is mounted on, a small disk. It needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ",".join([f"size={size},mode=700", *([options] if options else [])])
    subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)  # a test may have unplugged it
