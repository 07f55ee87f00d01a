"""The endpoints of points, folders and entries, by HTTP: what they answer, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mount.browse.resources.folders import SAFE
from mount.browse.resources.wire import path64
from tests.browse.find.vaults import LINES, Made, made
from tests.kit.browsing import Page, opened_as, page_of
from tests.kit.drives import ITEM, MACHINE

DEEP = path64(b"/a/b/c/d/e/many")
LINES_AT = path64(b"/texts/lines.txt")


@pytest.fixture(scope="module")
def vault() -> Made:
    return made()


@pytest.fixture(scope="module")
def page(vault: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_of(opened_as(tmp_path_factory.mktemp("home"), vault.remote.opened())) as found:
        yield found


def test_from_a_machine_to_a_line_of_a_file(page: Page, vault: Made) -> None:
    (machine,) = page.get("/machines")["machines"]
    (item,) = machine["items"]
    assert (machine["id"], item["id"], item["points"]) == (MACHINE.hex(), ITEM.hex(), None)
    year = int(page.get("/calendar", machine=machine["id"], item=item["id"])["last"][:4])
    days = page.get("/calendar", machine=machine["id"], item=item["id"], year=year)["days"]
    assert sum(day["points"] for day in days) == 3
    last = days[-1]["date"]
    rows = page.get("/points", machine=machine["id"], item=item["id"], **{"from": "2000-01-01", "to": last})[
        "points"
    ]
    assert [row["id"] for row in rows] == vault.points[::-1]
    point = rows[-1]["id"]
    assert page.get(f"/points/{point}")["next"] == vault.points[1]
    while True:
        folder = page.get(f"/points/{point}/folder", at=DEEP, order="name", desc=1, count=3, **{"from": 2})
        if folder["state"] == "whole":
            break
    assert [row["name"] for row in folder["rows"]] == ["00997", "00996", "00995"]
    assert (folder["from"], folder["total"], folder["desc"]) == (2, 1000, True)
    assert page.get(f"/points/{point}/rank", at=DEEP, prefix="005") == {
        "from": 500,
        "found": True,
        "state": "whole",
    }
    entry = page.get(f"/points/{point}/entry", n=folder["rows"][0]["n"])
    assert entry["path"] == "/a/b/c/d/e/many/00997"
    assert page.get(f"/points/{point}/preview", at=LINES_AT)["kind"] == "text"
    text = page.get(f"/points/{point}/text", at=LINES_AT)
    assert text["text"].startswith(LINES[:1000])
    assert page.get(f"/points/{point}/text", at=LINES_AT, **{"from": text["next"]})["from"] == text["next"]
    assert page.get(f"/points/{point}/hex", at=LINES_AT, count=3)["bytes"] == "bGlu"


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/points", {"count": 501}, 400),
        ("/points", {"count": 0}, 400),
        ("/points", {"machine": "zz"}, 404),
        ("/points", {"item": "0" * 32}, 400),
        ("/points", {"from": "never"}, 400),
        ("/points", {"cursor": "1.1.x"}, 400),
        ("/calendar", {"year": 10_000}, 400),
        ("/calendar", {"year": "²"}, 400),
        ("/points/0", {}, 404),
        ("/points/" + "0" * 32 + "/folder", {}, 404),
        ("/points/{}/folder", {"order": "colour"}, 400),
        ("/points/{}/folder", {"desc": 2}, 400),
        ("/points/{}/folder", {"filter": "x" * 256}, 400),
        ("/points/{}/folder", {"from": -1}, 400),
        ("/points/{}/folder", {"from": SAFE + 1}, 400),
        ("/points/{}/folder", {"count": 501}, 400),
        ("/points/{}/folder", {"at": path64(b"/../etc")}, 400),
        ("/points/{}/folder", {"at": path64(b"/a//b")}, 400),
        ("/points/{}/folder", {"at": path64(b"/a\0")}, 400),
        ("/points/{}/folder", {"at": "Lw="}, 400),
        ("/points/{}/folder", {"n": 0}, 404),
        ("/points/{}/folder", {"n": SAFE}, 404),
        ("/points/{}/folder", {"n": "0x1"}, 400),
        ("/points/{}/rank", {"prefix": "x" * 256}, 400),
        ("/points/{}/rank", {"at": LINES_AT, "prefix": "x"}, 404),
        ("/points/{}/entry", {"at": path64(b"/none")}, 404),
        ("/points/{}/preview", {"at": path64(b"/none")}, 404),
        ("/points/{}/text", {"at": path64(b"/texts")}, 404),
        ("/points/{}/text", {"at": LINES_AT, "from": "x"}, 400),
        ("/points/{}/hex", {"at": LINES_AT, "count": 65_537}, 400),
    ],
)
def test_bad_requests(page: Page, vault: Made, path: str, params: dict[str, object], status: int) -> None:
    page.enter()
    answer = page.api("GET", path.format(vault.points[0]), **params)
    assert answer.status == status
    assert answer.json["kind"] in ("UsageError", "NotFound")
    assert answer.json["message"]


def test_a_path_that_a_point_does_not_have_is_an_answer(page: Page, vault: Made) -> None:
    found = page.get(f"/points/{vault.points[1]}/folder", at=path64(b"/turned/inside"))
    assert (found["missing"], found["nearest"], found["previous"]) == (True, "Lw", vault.points[0])


def test_a_path_of_this_machine_that_is_no_text_is_named_in_an_error(page: Page, vault: Made) -> None:
    page.enter()
    place = {"point": vault.points[0], "at": path64(b"/")}
    answer = page.api("POST", "/restores", {"places": [place], "to": path64(b"/vault/\xff")})
    assert (answer.status, answer.json["kind"]) == (400, "UsageError"), answer
    assert "/vault/\N{REPLACEMENT CHARACTER}" in answer.json["message"]
