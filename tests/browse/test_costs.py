"""What each screen asks of the store: exactly what docs/browse.md says, at first and again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from catalog.store.metered import Traffic
from mount.browse.resources.wire import path64
from mount.view.all_points import AllPointsView
from tests.browse.find.vaults import made
from tests.kit.browsing import Page, opened_as, page_of
from tests.kit.drives import ITEM, MACHINE

DOCS = Path(__file__).parents[2] / "docs" / "browse.md"
_ROW = re.compile(r"\| ([^|]+) \| (\d+) \| (\d+) \|")


def _searched(page: Page, **scope: object) -> None:
    found = page.post("/searches", {"text": "*.txt", "regex": False, "ignore_case": True, **scope})["id"]
    while page.get(f"/searches/{found}")["state"] == "running":
        time.sleep(0.01)


def test_screens_cost_what_the_manual_says(tmp_path: Path) -> None:
    vault = made()
    meter, (first, second, _empty) = vault.remote.meter, vault.points
    opened = opened_as(tmp_path, vault.remote.opened())
    # Listings are renewed after seconds: here never, so that a slow machine counts as a quick one does.
    opened._view = AllPointsView(opened.vault, opened.reader, forgotten=True, fresh=1e6)
    text = path64(b"/texts/lines.txt")
    one = {"machine": MACHINE.hex(), "item": ITEM.hex()}
    with page_of(opened) as page:
        page.get("/machines")  # the first thing that any screen asks
        screens: dict[str, Callable[[], object]] = {
            "the calendar of an item": lambda: page.get("/calendar", year=2026, **one),
            "the points of a day": lambda: page.get("/points", **one),
            "a folder of 1,000 names, six folders down": lambda: page.get(
                f"/points/{second}/folder", at=path64(b"/a/b/c/d/e/many")
            ),
            "the same folder in the point before": lambda: page.get(
                f"/points/{first}/folder", at=path64(b"/a/b/c/d/e/many")
            ),
            "a file's metadata": lambda: page.get(f"/points/{second}/entry", at=text),
            "a preview of a text": lambda: (
                page.get(f"/points/{second}/preview", at=text), page.get(f"/points/{second}/text", at=text)
            ),
            "the versions of a path": lambda: page.get("/versions", at=text, **one),
            "the difference of two versions, when the contents are equal": lambda: page.get(
                "/diff", before=first, after=second, at=text
            ),
            "two points compared": lambda: page.get("/compare", before=first, after=second, at=path64(b"/")),
            "a link to a folder as tar": lambda: page.post(
                f"/points/{second}/link", {"at": path64(b"/texts"), "as": "tar"}
            ),
            "a search in one point": lambda: _searched(page, point=second),
            "drives": lambda: page.get("/drives"),
            "restores": lambda: page.get("/restores"),
        }  # fmt: skip

        def cost(screen: Callable[[], object]) -> int:
            before: Traffic = meter.snapshot()
            screen()
            return (meter.snapshot() - before).requests

        at_first = {name: cost(screen) for name, screen in screens.items()}
        again = {name: cost(screen) for name, screen in screens.items()}
    rows = {name: (int(a), int(b)) for name, a, b in _ROW.findall(DOCS.read_text())}
    assert {name: (at_first[name], again[name]) for name in screens} == rows
