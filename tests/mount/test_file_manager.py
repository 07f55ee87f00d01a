"""A drive as a person meets it: in a real file manager, with keys typed to it and a mouse that drags."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from mount.process.control.socket_status import ask
from mount.process.rows import DriveStatus
from tests.kit.desktop import NEEDED, Desktop, desktop
from tests.kit.drives import Home, eventually, noise
from tests.kit.vaults import make_vault

pytestmark = [pytest.mark.needs_fuse, pytest.mark.needs_program(*NEEDED), pytest.mark.slow]

FILES = 1000
PICTURES = 200
PICTURE_SIZE = 30_000


class Office(Home):
    """A backup of documents, open as a drive of all points; `source` is what was saved, `saved` the same there."""

    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.environment["TZ"] = "UTC"
        rng = random.Random(5)
        self.source = folder / "documents"
        many = self.source / "letters"
        many.mkdir(parents=True)
        for n in range(FILES):
            path = many / f"letter {n:04d}.txt"
            path.write_bytes(rng.randbytes(rng.randint(0, 9000)))
            os.utime(path, (1_700_000_000 + 86_400 * n // 10,) * 2)
        (self.source / "report.txt").write_bytes(noise(300_000))
        for name, ending in (("pictures", ".png"), ("plain", "")):
            (self.source / name).mkdir()
            for n in range(PICTURES):
                data = b"\x89PNG\r\n\x1a\n" * bool(ending) + rng.randbytes(PICTURE_SIZE)
                (self.source / name / f"{name} {n:03d}{ending}").write_bytes(data)
        self.run("backup", self.source, "--item", "documents", "--machine", "laptop")
        self.drive = self.mount(name="recovery points")
        (point,) = (self.drive / "laptop" / "documents").glob("2*")
        self.saved = point / self.source.relative_to("/")

    def status(self) -> DriveStatus:
        (path,) = (self.folder / "home" / "run").glob("*.sock")
        status = ask(path, 30)
        assert status is not None
        return status

    def settle(self, least: int) -> None:
        """Wait until the drive had so many calls, and no more for two seconds."""
        last, since = -1, time.monotonic()

        def quiet() -> bool:
            nonlocal last, since
            calls = self.status().calls
            if calls != last:
                last, since = calls, time.monotonic()
            return last >= least and time.monotonic() - since > 2

        eventually(quiet, "the file manager has seen what it wants", 90)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("office"))
    yield office
    office.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desktop]:
    with desktop(tmp_path / "desk") as desk:
        yield desk


def go(desk: Desktop, window: str, folder: Path) -> str:
    """Type the address of a folder; the window, once it shows that folder."""
    for _ in range(3):  # a key may be lost while the window draws
        desk.keys(window, "ctrl+l", "ctrl+a")
        desk.type(window, str(folder))
        desk.keys(window, "Return")
        try:
            eventually(lambda: desk.windows(f"^{folder.name}$") != [], "it goes there", 10)
        except AssertionError:
            continue
        break
    return desk.window(folder.name)


def files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def copied(paste: Callable[[], None], target: Path, count: int, size: int, since: Collection[str] = ()) -> None:
    """Until `target`, which holds `since`, holds so many files with so many bytes together."""

    def there() -> bool:
        found = files(target)
        return len(found) == count and sum(p.stat().st_size for p in found) == size

    for attempt in range(3):
        paste()
        try:
            eventually(lambda: not set(os.listdir(target)).issubset(since), "the copy begins", 20)
        except AssertionError:
            if attempt == 2:
                raise
            continue
        break
    eventually(there, "the copy is whole", 120)


@pytest.mark.soak
def test_browse_copy_and_paste(office: Office, desk: Desktop, tmp_path: Path) -> None:
    window = desk.open(office.drive)
    window = go(desk, window, office.drive / "laptop" / "documents")
    window = go(desk, window, office.saved)
    office.settle(1)
    target = tmp_path / "restored"
    target.mkdir()

    def everything_from(folder: Path) -> Callable[[], None]:
        def paste() -> None:
            nonlocal window
            window = go(desk, window, folder)
            office.settle(1)
            desk.keys(window, "ctrl+a", "ctrl+c")
            window = go(desk, window, target)
            desk.keys(window, "ctrl+v")

        return paste

    # A folder of 1,000 files, a folder of others and a file, by one copy and paste.
    wanted = files(office.source)
    copied(everything_from(office.saved), target, len(wanted), sum(p.stat().st_size for p in wanted))
    assert subprocess.run(["diff", "-r", office.source, target], check=False).returncode == 0
    assert subprocess.run(["diff", "-r", office.saved, target], check=False).returncode == 0
    letter = Path("letters") / "letter 0007.txt"
    assert (target / letter).stat().st_mtime == (office.source / letter).stat().st_mtime
    # And the content of a folder, files only.
    for path in target.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    wanted = files(office.source / "letters")
    copied(everything_from(office.saved / "letters"), target, FILES, sum(p.stat().st_size for p in wanted))
    assert subprocess.run(["diff", "-r", office.source / "letters", target], check=False).returncode == 0
    assert office.status().errors == 0


FIRST_ROW, ROW, LEFT, RIGHT = 105, 28, 220, 760  # of lists in two windows of half the screen, in pixels


def test_drag_a_file_and_a_folder_with_the_mouse(office: Office, desk: Desktop, tmp_path: Path) -> None:
    target = tmp_path / "restored"
    target.mkdir()
    desk.configure(names=160)
    left = go(desk, desk.open(office.drive), office.saved)
    right = desk.another(left, office.saved.name)
    desk.beside(left, right)
    right = go(desk, right, target)
    rows = ["letters", "pictures", "plain", "report.txt"]  # folders come first
    done = list[str]()
    for name in ("report.txt", "letters"):
        done.append(name)
        wanted = [path for one in done for path in (files(office.source / one) or [office.source / one])]
        row = FIRST_ROW + ROW * rows.index(name)

        def drag(row: int = row) -> None:
            desk.drag((LEFT, row), (RIGHT, 450))

        copied(drag, target, len(wanted), sum(path.stat().st_size for path in wanted), since=done[:-1])
    picture = os.environ.get("RPDRIVE_TEST_PICTURES")
    if picture:
        office.settle(1)  # it shows all that it is going to
        desk.picture(Path(picture) / "drag.png")
    assert sorted(os.listdir(target)) == ["letters", "report.txt"]
    for name in done:
        assert subprocess.run(["diff", "-r", office.source / name, target / name], check=False).returncode == 0
    assert office.status().errors == 0


def test_looking_into_a_folder_reads_no_contents(office: Office, desk: Desktop) -> None:
    """As long as names have endings, and the file manager is not to show thumbnails of everything."""
    office.run("unmount", office.drive)
    office.run("mount", office.drive)
    desk.configure(show_thumbnail=0)
    window = desk.open(office.drive)
    for folder, count in (("letters", FILES), ("pictures", PICTURES)):
        before = office.status()
        window = go(desk, window, office.saved / folder)
        office.settle(before.calls + 1)  # names and attributes come together, and few calls bring them
        after = office.status()
        assert after.bytes_served == before.bytes_served == 0
        assert after.bytes_fetched - before.bytes_fetched < 400 * count
    # Of what has no ending in its name it reads the beginning, to tell what it is: a page or four, not the file.
    before = office.status()
    go(desk, window, office.saved / "plain")
    office.settle(before.calls + 1)
    assert office.status().bytes_served - before.bytes_served <= PICTURES * 16_384
