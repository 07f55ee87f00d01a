"""Searches over HTTP: a search from its start to its hits, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from catalog.store.memory import MemoryStore
from mount.browse.resources.wire import path64
from tests.browse.search.many import ManyPoints
from tests.kit.browsing import Page, opened_as, page_of
from tests.kit.drives import ITEM, MACHINE
from tests.kit.vaults import new_vault

NOWHERE = "0" * 32
HERE: dict[str, Any] = {"text": "file-001.txt"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    many = ManyPoints(new_vault(MemoryStore()), folders=3, each=5)
    for n in range(3):
        many.commit(1 if n else 0)
    with page_of(opened_as(tmp_path_factory.mktemp("search"), many.vault)) as found:
        found.enter()
        yield found


def ended(page: Page, search: str) -> Any:
    while (answer := page.get(f"/searches/{search}"))["state"] == "running":
        time.sleep(0.01)
    return answer


def test_a_search_and_its_hits(page: Page) -> None:
    search = page.post("/searches", HERE | {"machine": MACHINE.hex(), "item": ITEM.hex()})["id"]
    answer = ended(page, search)
    assert answer["state"] == "done" and answer["total"] == 3 and answer["next"] is None and answer["error"] is None
    assert answer["scope"] == {"point": None, "machine": MACHINE.hex(), "item": ITEM.hex(), "below": None}
    hit = answer["hits"][0]
    assert hit["path"] == "/folder-00000/file-001.txt" and hit["path64"] == path64(b"/folder-00000/file-001.txt")
    assert hit["points"] == 3 and hit["kind"] == "file" and hit["size"] == 901 and "name_bytes" not in hit
    assert hit["first"] < hit["last"] and hit["machine"] == MACHINE.hex() and hit["item"] == ITEM.hex()
    assert page.get(f"/searches/{search}", after=1, count=1)["hits"] == answer["hits"][1:2]
    assert page.get(f"/searches/{search}", after=9)["hits"] == []
    assert page.get("/searches")["searches"][0]["id"] == search
    assert page.api("DELETE", f"/searches/{search}").status == 204
    assert page.get(f"/searches/{search}")["state"] == "done"


@pytest.mark.parametrize("text", ["(a+)+$", "^(([a-z0-9/.-])+)+!$", "(.*a){12}b"])
def test_a_pattern_that_would_run_away_does_not(page: Page, text: str) -> None:
    assert ended(page, page.post("/searches", {"text": text, "regex": True})["id"])["state"] == "done"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({}, 400), ({"text": ""}, 400), ({"text": 1}, 400), ({"text": "a" * 2000}, 400), ({"text": "\ud800"}, 400),
        ({"text": "(", "regex": True}, 400), ({"text": r"(a)\1", "regex": True}, 400), (HERE | {"other": 1}, 400),
        (HERE | {"regex": "yes"}, 400), (HERE | {"below": "!"}, 400), (HERE | {"below": path64(b"/a/../b")}, 400),
        (HERE | {"below": path64(b"a")}, 400), (HERE | {"below": path64(b"/a\0")}, 400),
        (HERE | {"item": ITEM.hex()}, 400), (HERE | {"point": NOWHERE, "machine": MACHINE.hex()}, 400),
        (HERE | {"point": NOWHERE}, 404), (HERE | {"point": "../x"}, 404), (HERE | {"machine": "x"}, 404),
        (HERE | {"machine": MACHINE.hex(), "item": "?"}, 404), ([], 400), ("x", 400),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_for(page: Page, value: Any, status: int) -> None:
    answer = page.api("POST", "/searches", value)
    assert answer.status == status and set(answer.json) == {"kind", "message", "advice"}, answer
    assert "\n" not in answer.json["message"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("after=-1", 400), ("after=x", 400), ("after=99999999999999999999", 400), ("count=501", 400),
        ("after=1&after=2", 400),
    ],
)  # fmt: skip
def test_bad_numbers(page: Page, query: str, status: int) -> None:
    search = page.post("/searches", HERE)["id"]
    assert page.api("GET", f"/searches/{search}?{query}").status == status


@pytest.mark.parametrize("search", [NOWHERE, "x", "a" * 5000])
def test_a_search_that_is_not_kept(page: Page, search: str) -> None:
    assert page.api("GET", f"/searches/{search}").status == 404
    assert page.api("DELETE", f"/searches/{search}").status == 404


def test_a_machine_without_points_has_no_hits(page: Page) -> None:
    answer = page.api("POST", "/searches", HERE | {"machine": NOWHERE})
    assert answer.status == 404 or ended(page, answer.json["id"])["total"] == 0
