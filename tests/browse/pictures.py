"""Makes the pictures of docs/browse.md: `python -m tests.browse.pictures` from the repository's root.

Everything that is seen is fixed: the vault's contents, all clocks, the time zone. Each picture has few colours, so
that it is small. test_pictures.py makes them again and compares, so that none of them grows old.
"""

from __future__ import annotations

import base64
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Tab

from catalog.format.nodes import Node
from catalog.format.records import Outcome, Point, Root
from catalog.schedule.history import History, Ran
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import path64
from tests.browse.know.worlds import DAY, HOUR, SECOND, World
from tests.kit.browser import Watched, chromium, watched
from tests.kit.browsing import Page, opened_vault, page_of
from tests.kit.drives import Maker, noise
from tests.kit.vaults import home_of, make_vault

IMAGES = Path(__file__).parents[2] / "docs" / "images"
ZONE = "Europe/Berlin"
DESK, PHONE = (1120, 720), (360, 740)
REPORT = [f"{n}. {text}" for n, text in enumerate(
    ("Summary", "What was asked", "What was found", "Costs", "Who was there", "What is open", "Next steps"), 1
)]  # fmt: skip
EDITS = {
    3: (2, "3. What was found, and what was not"),
    7: (3, "4. Costs: 1,200 EUR"),
    9: (6, "7. Next steps: ask Ben"),
}

# The picture's pixels as numbers of the most frequent colours. Runs in the browser, on a blank page.
FEW_COLOURS = """async ([data, most]) => {
    const image = new Image();
    image.src = "data:image/png;base64," + data;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const raw = context.getImageData(0, 0, image.width, image.height).data;
    const sums = new Map();
    const key = (i) => (raw[i] >> 3) << 10 | (raw[i + 1] >> 3) << 5 | raw[i + 2] >> 3;
    for (let i = 0; i < raw.length; i += 4) {
        const sum = sums.get(key(i)) ?? [0, 0, 0, 0];
        sum[0]++;
        for (const c of [0, 1, 2]) sum[c + 1] += raw[i + c];
        sums.set(key(i), sum);
    }
    // The most frequent ones, and those that stand out though they are rare.
    const all = [...sums.values()].map(([n, ...rgb]) => ({n, rgb: rgb.map((sum) => Math.round(sum / n))}));
    const bright = ({n, rgb}) => n * (Math.max(...rgb) - Math.min(...rgb));
    all.sort((a, b) => b.n - a.n);
    const others = all.splice(most / 2).sort((a, b) => bright(b) - bright(a));
    const colours = [...all, ...others].slice(0, most).map((one) => one.rgb);
    const near = new Map();
    const pixels = new Uint8Array(raw.length / 4);
    for (let i = 0; i < raw.length; i += 4) {
        let found = near.get(key(i));
        if (found === undefined) {
            const far = colours.map((c) => Math.hypot(c[0] - raw[i], c[1] - raw[i + 1], c[2] - raw[i + 2]));
            near.set(key(i), found = far.indexOf(Math.min(...far)));
        }
        pixels[i / 4] = found;
    }
    let text = "";
    for (const pixel of pixels) text += String.fromCharCode(pixel);
    return {width: image.width, height: image.height, colours, pixels: btoa(text)};
}"""


class Pictured(World):
    """Anna's laptop, which was backed up on twelve nights of November 2026, and Ben's, on fewer.

    With `on_disk`, other processes can open the vault, but the store's clock is that of this machine.
    """

    def __init__(self, folder: Path, *, on_disk: bool) -> None:
        super().__init__(folder / "home")
        self.folder, self.on_disk = folder, on_disk
        self.now = int(datetime(2026, 11, 12, 2, 0, tzinfo=UTC).timestamp()) * SECOND
        if on_disk:
            self.vault = make_vault(folder / "vault")
        self._rows: list[Ran] = []
        self.anna = self.add("laptop")
        self.ben = self.add("office")
        self.points: list[Point] = []
        maker = Maker(self.vault)
        lines = list(REPORT)
        for night in range(12):
            if night in EDITS:
                number, text = EDITS[night]
                lines[number] = text
            for key, name in ((self.anna, "laptop"), (self.ben, "office")):
                if night == 5 or (name == "office" and night % 3 == 2):
                    self._failed(key)
                    continue
                files = None if night in (4, 8) else "".join(f"{line}\n" for line in lines)
                self._backup(key, name, maker, night, files, problems=night == 9)
            self.now += DAY
        self.now -= 17 * HOUR
        found = self.opened()
        History(found.session.settings.where("state")).note(self._rows)
        found.close()

    def _ran(self, key: tuple[bytes, bytes], outcome: str) -> None:
        self._rows.append(
            Ran(
                id=self.id().hex(), vault=self.vault.id.hex(), machine=key[0].hex(), kind="backup",
                item=key[1].hex(), started=self.now, finished=self.now + 90 * SECOND, outcome=outcome,
            )
        )  # fmt: skip

    def _failed(self, key: tuple[bytes, bytes]) -> None:
        self.job(key, "laptop", outcome=Outcome.FAILED, error="the vault did not answer")
        self._ran(key, Outcome.FAILED)

    def _backup(
        self, key: tuple[bytes, bytes], name: str, maker: Maker, night: int, report: str | None, *, problems: bool
    ) -> None:
        def file(path: str, *parts: bytes, age: int = 40) -> Node:
            return maker.file(path.encode(), *parts, mtime=self.now - age * DAY - 5 * HOUR)

        def folder(path: str, *nodes: Node, age: int = 1) -> Node:
            return maker.folder(path.encode(), list(nodes), mtime=self.now - age * DAY - 3 * HOUR)

        documents = [
            file("budget 2026.csv", b"month;amount\n" * 400, age=12),
            file("contract.pdf", b"%PDF-1.7\n" + noise(180_000), age=90),
            folder(
                "letters", *(file(f"letter {n}.odt", noise(9_000 + n, n), age=n * 9) for n in range(1, 9)), age=9
            ),
            folder("offers", *(file(f"offer {n:02d}.odt", noise(12_000, 50 + n), age=n) for n in range(1, 24))),
            file("minutes.md", b"# Minutes\n" * (20 + night), age=0),
        ]
        if report is not None:
            documents.append(file("report.txt", report.encode(), age=0))
        pictures = [file(f"beach {n:02d}.jpg", noise(60_000 + 997 * n, 100 + n), age=150) for n in range(1, 13)]
        home = [
            folder("documents", *documents, age=0), folder("pictures", *pictures, age=150),
            folder("music", file("song.ogg", noise(300_000, 7), age=300), age=300),
            file(".bashrc", b"alias ll='ls -l'\n", age=400), file("todo.txt", b"ask Ben\n" * (3 + night), age=0),
        ]  # fmt: skip
        root = maker.root([folder("home", folder("anna" if name == "laptop" else "ben", *home))])
        self._sequences[key[1]] = number = self._sequences.get(key[1], 0) + 1
        rows: dict[str, Any] = {"problem_count": 2} if problems else {}
        point = Point(
            id=self.id(), machine=key[0], item=key[1], machine_name=name, item_name="home", hostname=name,
            system="Linux", sequence=number, time=self.now, finished=self.now + 90 * SECOND, paths=[b"/home"],
            root=Root.of(root), new_bytes=21_000 + 7_919 * night, stored_bytes=14_000 + 6_007 * night, **rows,
        )  # fmt: skip
        self.vault.add_point(point)
        outcome = Outcome.WITH_WARNINGS if problems else Outcome.COMPLETED
        self.job(key, name, point=point.id, outcome=outcome)
        self._ran(key, outcome)
        if name == "laptop":
            self.points.append(point)

    def opened(self) -> Opened:
        return opened_vault(self.folder / "home", self.folder / "vault") if self.on_disk else super().opened()


def small(tab: Tab, picture: bytes, most: int = 96) -> bytes:
    """A PNG with at most so many colours. `tab` is a blank page."""
    found = tab.evaluate(FEW_COLOURS, [base64.b64encode(picture).decode(), most])
    width, height, pixels = found["width"], found["height"], base64.b64decode(found["pixels"])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + pixels[n * width : (n + 1) * width] for n in range(height))
    return b"\x89PNG\r\n\x1a\n" + b"".join((
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        chunk(b"PLTE", bytes(c for colour in found["colours"] for c in colour)),
        chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""),
    ))  # fmt: skip


class _Camera:
    """A tab at a page of a world, and the pictures that were taken."""

    def __init__(self, world: Pictured, page: Page, desk: Watched) -> None:
        self.world, self.page = world, page
        self.blank, self.tab = desk.context.new_page(), desk.context.new_page()
        self.tab.clock.set_fixed_time(world.now / 1e9)
        self.taken: dict[str, bytes] = {}

    def go(self, path: str, wait: str) -> None:
        self.tab.goto(self.page.link().replace("/#", f"{path}#"))
        expect(self.tab.locator(wait).first).to_be_visible()

    def take(self, name: str, *, whole: bool = False) -> None:
        """The window, or the whole page."""
        self.tab.mouse.move(0, 0)
        picture = self.tab.screenshot(animations="disabled", full_page=whole)
        self.taken[f"browse-{name}.png"] = small(self.blank, picture)


def _look(camera: _Camera) -> None:
    world, tab = camera.world, camera.tab
    machine, item = (one.hex() for one in world.anna)
    documents, report = (path64(f"/home/anna/documents{more}".encode()) for more in ("", "/report.txt"))
    camera.go("/", "main h2")
    expect(tab.get_by_text("Looked at 2026")).to_be_visible()
    camera.take("home", whole=True)
    camera.go(f"/calendar?machine={machine}&item={item}", "#day-points [data-row]")
    expect(tab.locator("#day-points")).to_contain_text("new")
    camera.take("calendar")
    camera.go(f"/point/{world.points[-1].id.hex()}/{documents}", ".grid-row a")
    tab.get_by_role("row", name="report.txt").click(position={"x": 300, "y": 10})
    expect(tab.locator(".pane").get_by_role("link", name="Restore…")).to_be_visible()
    camera.take("folder")
    camera.go("/search", "#search-text")
    tab.locator("#search-text").fill("*.txt")
    tab.keyboard.press("Enter")
    expect(tab.locator("[data-state=done]")).to_be_visible()
    expect(tab.locator(".hits [data-row]").first).to_be_visible()
    camera.take("search")
    before, after = (world.points[n].id.hex() for n in (0, 6))
    camera.go(f"/versions/{machine}/{item}/{report}?before={before}&after={after}", ".diff")
    camera.take("versions", whole=True)


def _plan(camera: _Camera) -> None:
    tab, point = camera.tab, camera.world.points[-1].id.hex()
    camera.go(f"/restore?point={point}&at={path64(b'/home/anna/documents')}", ".restore-form")
    tab.get_by_label("Into a folder").check()
    tab.get_by_label("Folder to restore into").fill("/srv/restored")
    expect(tab.locator("#target-words")).to_contain_text("will be made")
    tab.get_by_role("button", name="Show the plan").click()
    expect(tab.locator(".paths li").first).to_be_visible()
    camera.take("restore")


def _phone(camera: _Camera) -> None:
    machine, item = (one.hex() for one in camera.world.anna)
    camera.go(f"/calendar?machine={machine}&item={item}", "#day-points [data-row]")
    expect(camera.tab.locator("#day-points")).to_contain_text("new")
    camera.take("phone")


def pictures(browser: Browser) -> dict[str, bytes]:
    """All pictures by their names."""
    found: dict[str, bytes] = {}
    for on_disk, size, work in ((False, DESK, _look), (True, DESK, _plan), (False, PHONE, _phone)):
        phone = size == PHONE
        with (
            _world(on_disk=on_disk) as world,
            page_of(world.opened()) as page,
            watched(browser, size, scheme="dark" if phone else "light", touch=phone, device_scale_factor=1) as desk,
        ):
            desk.expected.append("404")  # /srv/restored isn't there
            camera = _Camera(world, page, desk)
            work(camera)
            found |= camera.taken
    return found


@contextmanager
def _world(*, on_disk: bool) -> Iterator[Pictured]:
    """The vault; meanwhile this process is in the zone of the pictures, and its children find the vault."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = {"TZ": ZONE, **home_of(folder / "home", str(folder / "vault"))}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        time.tzset()
        try:
            yield Pictured(folder, on_disk=on_disk)
        finally:
            for variable, value in before.items():
                if value is None:
                    del os.environ[variable]
                else:
                    os.environ[variable] = value
            time.tzset()


if __name__ == "__main__":
    with chromium() as opened_browser:
        for file_name, data in pictures(opened_browser).items():
            (IMAGES / file_name).write_bytes(data)
            print(file_name, len(data))
