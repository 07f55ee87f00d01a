"""What a screen loads is small, and is what was written."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from playwright.sync_api import Browser, Response, expect

from mount.browse.pages.shell import PRELOADED
from mount.browse.pages.static import static_files, without_comments
from tests.browse.front.tabs import active, opened
from tests.browse.front.vault import Shown
from tests.kit.browser import watched

STATIC = Path(__file__).parents[3] / "mount" / "browse" / "static"
LIGHT = 60 << 10  # bytes over the wire, of a screen with all that it needs
LIGHTER = 40 << 10  # of its scripts and sheets


def test_only_comments_are_left_out() -> None:
    for name, file in static_files().items():
        assert file.plain.count(b"\n") == (STATIC / name).read_bytes().count(b"\n"), name
        assert b"@param" not in file.plain, name
    for kept in (b'a = "//x"; // after\n', b"html`<p>/* no */</p> // no`;\n", b'get("/**"); x = 1 /* 2 */;\n'):
        assert without_comments(".js", kept) == kept
    assert (
        without_comments(".js", b"// one\nx(/** @type {A} */ (y));\n/**\n * two\n */\nz;\n")
        == b"\nx((y));\n\n\n\nz;\n"
    )
    assert without_comments(".css", b"/* one\n   two */\na {}\n") == b"\n\na {}\n"


def test_every_screen_is_light() -> None:
    """Scripts and sheets that it loads, compressed; all screens together are twice as much."""
    files = static_files()
    sheets = sum(len(file.packed) for name, file in files.items() if name.endswith(".css"))

    def needed(name: str, found: set[str]) -> set[str]:
        if name not in found:
            found.add(name)
            for path in re.findall(rb'^import (?:[^;"]*? from )?"(\.[^"]+)"', files[name].plain, re.MULTILINE):
                needed(posixpath.normpath(posixpath.join(posixpath.dirname(name), path.decode())), found)
        return found

    frame = needed("app.js", set())
    assert frame >= {"vendor/lit.js", *PRELOADED}, "the shell names scripts that are not needed at once"
    for name in files:
        if re.fullmatch(r"screens/\w+\.js", name):
            size = sheets + sum(len(files[each].packed) for each in needed(name, set(frame)))
            assert size < LIGHTER, f"{name}: {size}"


def test_a_screen_is_light_and_comes_once(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        sizes: dict[str, int] = {}

        def came(answer: Response) -> None:
            sizes[answer.url] = int(answer.headers.get("content-length", 0))

        watch.context.on("response", came)
        tab = opened(front, watch, front.folder())
        active(tab, "away")
        expect(tab.locator("rp-entry")).to_contain_text("Mode")
        assert 20_000 < sum(sizes.values()) < LIGHT
        sizes.clear()
        tab.goto(front.page.origin + front.folder("/kept"))
        active(tab, "a.txt")
        again = tab.evaluate("""() => performance.getEntriesByType('resource')
            .filter((each) => each.name.includes('/static/') && each.transferSize > 0).map((each) => each.name)""")
        assert again == []
