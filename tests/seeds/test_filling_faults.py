"""What goes wrong while disks are filled: named in words, nothing lost, and the same commands go on."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.errors import (
    Damaged,
    ItemTravels,
    LocalError,
    RpdriveError,
    StoreFull,
    StoreUnreachable,
    UsageError,
)
from catalog.seeds import closing, staged
from catalog.seeds.local import LocalDisk, LocalSeed, Stage
from catalog.store.base import Store
from catalog.store.wrapper import Request, StoreWrapper, T
from tests.kit.exporting import Exporter
from tests.kit.faults import Stopped
from tests.kit.seeding import flip, tmpfs

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]


def patched_disks(patch: pytest.MonkeyPatch, wrap: Callable[[Store], Store]) -> None:
    """Let every disk have this wrapper."""
    real = staged.disk_store
    for module in (staged, closing):
        patch.setattr(module, "disk_store", lambda path: wrap(real(path)))


class Calls(StoreWrapper):
    """Calls `act` before each request that creates an object."""

    def __init__(self, inner: Store, act: Callable[[Request], object]) -> None:
        super().__init__(inner)
        self.act = act

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind == "create":
            self.act(request)
        return call()


# --- disks that will not do --------------------------------------------------------------------------------


def refused(call: Callable[[], object], kind: type[RpdriveError], words: str) -> None:
    with pytest.raises(kind, match=words) as found:
        call()
    assert found.value.advice and "\n" not in str(found.value)


def test_disks_that_will_not_do(tmp_path: Path, disks: list[Path]) -> None:
    machine = Exporter(tmp_path)
    before = dict(machine.memory.objects)
    (disks[0] / "holiday.jpg").touch()
    refused(lambda: machine.start(disks[0]), UsageError, "is not empty: it has 'holiday.jpg'")
    refused(lambda: machine.start(tmp_path / "no" / "where"), LocalError, "does not exist")
    (tmp_path / "file").touch()
    refused(lambda: machine.start(tmp_path / "file"), UsageError, "is not a folder")
    refused(lambda: machine.start(machine.session().settings.state / "disk"), UsageError, "rpdrive's own folder")
    with tmpfs(tmp_path / "locked", "1m") as locked:
        subprocess.run(["mount", "-o", "remount,ro", locked], check=True)
        refused(lambda: machine.start(locked), LocalError, "nothing can be written to .*: Read-only")
    refused(lambda: machine.start(disks[1], twin=disks[1] / "twin"), UsageError, "on the file system of the disk")
    refused(lambda: machine.start(disks[1], expires=400 * 86_400.0), UsageError, "1 to 366 days")
    assert {name for name in machine.memory.objects if name not in before and "machines/" not in name} == set()
    assert machine.seed() is None
    # The folder of a disk may be on a disk with other files, and a new disk has lost+found.
    (disks[1] / "lost+found").mkdir()
    machine.start(disks[1])
    refused(lambda: machine.start(disks[0]), UsageError, "a seed of this machine is under way already")
    refused(lambda: machine.add(disks[0]), UsageError, "is not empty")
    (disks[1] / "more").mkdir()
    refused(lambda: machine.add(disks[1] / "more"), UsageError, "same file system as disk 1")
    assert machine.add(disks[1]) == 1  # it is known
    other = Exporter(tmp_path / "other")
    refused(lambda: other.start(disks[1]), UsageError, r"holds the seed [0-9a-f]{8} of the vault")
    flip(disks[1] / "seed.json", 60)
    refused(lambda: other.start(disks[1]), UsageError, "can't become a disk of a seed")


def test_what_others_put_on_a_disk_is_not_followed(tmp_path: Path, disks: list[Path], source: Path) -> None:
    """A FIFO holds nothing up, and nothing is written through a symlink."""
    machine = Exporter(tmp_path)
    os.mkfifo(disks[0] / "seed.json")
    refused(lambda: machine.start(disks[0]), UsageError, "is not empty")
    (disks[0] / "seed.json").unlink()
    machine.start(disks[0])
    machine.add(disks[1])
    machine.backup(source, item="home")
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.write_bytes(b"of somebody else")
    folder.mkdir()
    for disk in disks:
        for name in ("seed.json", "objects.jsonl"):
            (disk / f"{name}.new").symlink_to(outside)
    (disks[1] / "lists").symlink_to(folder)
    refused(machine.close, LocalError, r"lists/1\.jsonl can't be written: .*is a symlink")
    (disks[1] / "lists").unlink()
    assert not machine.close().missing
    assert outside.read_bytes() == b"of somebody else" and not list(folder.iterdir())
    assert machine.bring(*disks).is_whole
    machine.assert_whole({"home": source})


def test_a_disk_on_the_file_system_of_the_vault(tmp_path: Path) -> None:
    machine = Exporter(tmp_path)
    (tmp_path / "vault").mkdir()
    session, vault = machine.open()
    session.address = (tmp_path / "vault").as_uri()
    from catalog.seeds.starting import Wish, start

    for disk in (tmp_path / "disk", tmp_path / "vault" / "disk", tmp_path / "vault"):
        with pytest.raises(UsageError, match=r"on the file system of the vault|the vault is"):
            start(session, vault, Wish(disk))


# --- disks that are full, or gone ---------------------------------------------------------------------------


def test_no_room_in_the_middle_of_a_pack(
    tmp_path: Path, disks: list[Path], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system itself says that there is no room: that object goes to the next disk, and nothing half stays."""
    machine = Exporter(tmp_path)
    machine.start(disks[0])
    machine.add(disks[1])
    ballast = disks[0] / "ballast"
    ballast.write_bytes(bytes(1_200_000))
    monkeypatch.setattr(staged, "free_bytes", lambda path: 1 << 40)
    full = list[str]()
    real = staged.StagedStore._note_full

    def noted(self: staged.StagedStore, disk: LocalDisk) -> None:
        full.append(disk.name)
        real(self, disk)

    monkeypatch.setattr(staged.StagedStore, "_note_full", noted)
    assert machine.backup(source, item="home").problem_count == 0
    assert full and not list((disks[0] / ".rpdrive").glob("*.tmp"))
    assert any((disks[0] / "packs").rglob("*")) and any((disks[1] / "packs").rglob("*"))
    with pytest.raises(StoreFull, match="no room"):
        ballast.write_bytes(bytes(os.statvfs(disks[0]).f_bavail * os.statvfs(disks[0]).f_frsize + 1_200_000 - 4096))
        while True:
            with (disks[0] / "more").open("ab") as file:  # the last of it
                file.write(bytes(4096))
                file.flush()
            machine.close()
    for name in ("ballast", "more"):
        (disks[0] / name).unlink(missing_ok=True)
    assert not machine.close().missing
    assert machine.bring(*disks).is_whole
    machine.assert_whole({"home": source})


def test_unplugged_in_the_middle(
    tmp_path: Path, disks: list[Path], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Exporter(tmp_path)
    disk, away = disks[1] / "seed", disks[1] / "away"
    machine.start(disk)
    count = [0]
    lock = threading.Lock()

    def act(request: Request) -> None:
        with lock:
            count[0] += 1
            if count[0] == 4:
                disk.rename(away)

    with monkeypatch.context() as patch:
        patched_disks(patch, lambda store: Calls(store, act))
        with pytest.raises(StoreUnreachable):
            machine.backup(source, item="home")
    assert not disk.exists() or not any(disk.iterdir())
    with pytest.raises(StoreUnreachable, match=r"none of them is connected: disk 1 \(seed\)"):
        machine.backup(source, item="home")
    stored = {path.name for path in (away / "packs").rglob("*") if path.is_file()}
    assert len(stored) >= 2
    assert machine.add(away) == 1  # it is somewhere else now
    assert machine.backup(source, item="home").problem_count == 0
    assert not machine.close().missing
    assert machine.bring(away).is_whole
    machine.assert_whole({"home": source})


def test_a_disk_that_was_lost_while_it_had_nothing(tmp_path: Path, disks: list[Path], source: Path) -> None:
    """Another one takes its place, and neither close nor import waits for it."""
    machine = Exporter(tmp_path)
    machine.start(disks[0])
    (disks[0] / "seed.json").unlink()
    assert machine.add(disks[1]) == 2
    assert machine.backup(source, item="home").problem_count == 0
    assert not machine.close().missing
    assert machine.bring(disks[1]).is_whole
    machine.assert_whole({"home": source})


def test_what_is_added_to_a_disk_that_has_its_list(tmp_path: Path, disks: list[Path], source: Path) -> None:
    """A close finished one disk, and found another one damaged: the next backup stores on the first again."""
    machine = Exporter(tmp_path)
    first, second = tmp_path / "first", disks[0]
    with tmpfs(first):
        machine.start(first)
        machine.backup(source, item="home")
        json = (first / "seed.json").rename(first / "away")  # unplugged
        machine.add(second)
        other = tmp_path / "other"
        other.mkdir()
        (other / "file").write_bytes(os.urandom(300_000))
        machine.backup(other, item="other")
        json.rename(first / "seed.json")
        flip(next(path for path in sorted((second / "packs").rglob("*")) if path.is_file()))
        with pytest.raises(Damaged):
            machine.close()
        for path, item in ((source, "home"), (other, "other")):
            assert machine.backup(path, item=item).problem_count == 0
        assert not machine.close().missing
        assert machine.bring(first, second).is_whole
        machine.assert_whole({"home": source, "other": other})


def test_a_close_that_ended_before_its_last_step(
    tmp_path: Path, disks: list[Path], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk that was to be the last one had its list, and another one comes after it."""
    machine = Exporter(tmp_path)
    machine.start(disks[1])
    machine.backup(source, item="home")
    reach = LocalSeed.reach

    def stop(*_args: object, **_options: object) -> None:
        raise Stopped

    def reach_closing(seed: LocalSeed, stage: Stage) -> None:
        if stage is Stage.CLOSED:
            raise Stopped
        reach(seed, stage)

    for owner, name, instead in ((closing, "write_seed_file", stop), (LocalSeed, "reach", reach_closing)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, instead)
            with pytest.raises(Stopped):
                machine.close()
    machine.add(disks[0])
    assert not machine.close().missing
    assert machine.bring(disks[1]).points == 0
    assert machine.bring(*disks).is_whole
    machine.assert_whole({"home": source})


def test_disks_are_closed_one_after_another(tmp_path: Path, disks: list[Path], source: Path) -> None:
    machine = Exporter(tmp_path)
    machine.start(disks[0] / "seed")
    with pytest.raises(UsageError, match="no backup went to the seed yet"):
        machine.close()
    with pytest.raises(StoreFull):
        machine.backup(source, item="home")
    (disks[0] / "seed").rename(disks[0] / "drawer")
    machine.add(disks[1] / "seed")
    machine.backup(source, item="home")  # disk 1 is not needed for that
    assert [disk.number for disk in machine.close().missing] == [1]
    with pytest.raises(ItemTravels, match="waits for `rpdrive seed close`"):
        machine.backup(source, item="home")
    (disks[0] / "drawer").rename(disks[0] / "seed")
    (disks[1] / "seed").rename(disks[1] / "drawer")
    assert [disk.number for disk in machine.close().missing] == [2]
    (disks[0] / "seed").rename(disks[0] / "drawer")
    (disks[1] / "drawer").rename(disks[1] / "seed")
    assert not machine.close().missing
    assert not machine.close().missing  # it is closed: nothing is read again
    assert machine.bring(disks[0] / "drawer", disks[1] / "seed").is_whole
    machine.assert_whole({"home": source})


def test_no_room_for_what_comes_last(
    tmp_path: Path, disks: list[Path], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another disk becomes the last one, and nothing of what comes last is missed on the one before."""
    machine = Exporter(tmp_path)
    machine.start(disks[1])
    machine.backup(source, item="home")

    def act(request: Request) -> None:
        if request.name.startswith("points/"):
            raise StoreFull("there is no room")

    with monkeypatch.context() as patch:
        patched_disks(patch, lambda store: Calls(store, act))
        with pytest.raises(StoreFull):
            machine.close()
    assert any((disks[1] / "jobs").rglob("*"))
    machine.add(disks[0])
    assert not machine.close().missing
    assert machine.bring(*disks).is_whole
    machine.assert_whole({"home": source})


@pytest.mark.parametrize(
    "folder", ["packs", pytest.param("meta", marks=pytest.mark.soak), pytest.param("index", marks=pytest.mark.soak)]
)
def test_what_is_not_on_the_disk_as_written_is_stored_again(
    tmp_path: Path, disks: list[Path], source: Path, folder: str
) -> None:
    machine = Exporter(tmp_path)
    machine.start(disks[1])
    machine.backup(source, item="home")
    paths = sorted(path for path in (disks[1] / folder).rglob("*") if path.is_file())
    flip(paths[0])
    with pytest.raises(Damaged, match=f"1 object on disk 1 .*: {folder}/"):
        machine.close()
    assert not paths[0].exists()
    seed = machine.seed()
    assert seed is not None and seed.facts.stage is Stage.OPEN
    seed.close()
    assert machine.backup(source, item="home").problem_count == 0
    assert not machine.close().missing
    assert machine.bring(disks[1]).is_whole
    machine.assert_whole({"home": source})


# --- killed ------------------------------------------------------------------------------------------------


class Ending:
    """Ends the process at the `at`-th request to any of its stores, before or after it is done."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.seen, self.stopped = at, after, 0, False
        self._lock = threading.Lock()

    def wrap(self, store: Store) -> Store:
        ending = self

        class Ended(StoreWrapper):
            def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
                with ending._lock:
                    if ending.stopped:
                        raise Stopped
                    ending.seen += 1
                    is_it = ending.seen == ending.at
                    ending.stopped = is_it
                if is_it and ending.after:
                    call()
                if is_it:
                    raise Stopped
                return call()

        return Ended(store)


def killed_at(folder: Path, disks: list[Path], source: Path, at: int, *, after: bool) -> bool:
    """Export with an end at a request, then again to the end. Whether the first try was stopped."""
    machine = Exporter(folder)
    ending = Ending(at, after=after)
    machine.store = ending.wrap(machine.memory)
    places = [disk / f"{at}-{after}" for disk in disks]

    def export() -> None:
        seed = machine.seed()
        if seed is None or seed.facts.stage is Stage.STARTING:
            machine.start(places[0])
        if seed is not None:
            seed.close()
        for _ in range(2):
            try:
                machine.backup(source, item="home")
                break
            except StoreFull:
                machine.add(places[1])
            except ItemTravels:
                break  # it was being closed
        assert not machine.close().missing

    with pytest.MonkeyPatch.context() as patch:
        patched_disks(patch, ending.wrap)
        try:
            export()
        except Stopped:
            pass
    assert not machine.visible()
    machine.store = machine.memory
    export()
    assert machine.bring(*(place for place in places if place.exists())).is_whole
    machine.assert_whole({"home": source})
    subprocess.run(["rm", "-rf", *places], check=True)
    return ending.stopped


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("at", "after"), [(12, False), (25, True)])
def test_killed_at_a_request(tmp_path: Path, disks: list[Path], source: Path, at: int, after: bool) -> None:
    assert killed_at(tmp_path, disks, source, at, after=after)


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("after", [False, True], ids=["not done", "done"])
def test_killed_at_every_request(tmp_path: Path, steps: None, source: Path, after: bool) -> None:
    at = 1
    while True:
        folder = tmp_path / str(at)
        # Disks of its own: a killed run leaves files open, whose space is not free before it ends.
        with tmpfs(folder / "disk-1", "1500k") as first, tmpfs(folder / "disk-2") as second:
            try:
                if not killed_at(folder, [first, second], source, at, after=after):
                    break
            except BaseException as e:
                e.add_note(f"killed at request {at}")
                raise
        at += 1
    assert at > 40
