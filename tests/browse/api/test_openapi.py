"""The specification says what the interface does: every route, every bound, and the form of every answer."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from starlette.routing import Route

from mount.browse.api.openapi import specification
from mount.browse.api.operations import OPERATIONS, Query
from mount.browse.api.routes import ROUTES
from tests.kit.browsing import Page, opened_vault, page_of
from tests.kit.cli import Cli


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("openapi")
    cli = Cli(folder)
    source = folder / "source"
    source.mkdir()
    (source / "a.txt").write_text("hello")
    cli.ok("vault", "create")
    cli.ok("backup", source)
    with page_of(opened_vault(cli.home, cli.vault)) as found:
        found.enter()
        yield found


@pytest.fixture(scope="module")
def ids(page: Page) -> dict[str, str]:
    """An id for each name in a route, of something that is there."""
    (point,) = page.get("/points")["points"]
    places = [{"point": point["id"], "at": base64.urlsafe_b64encode(b"/").decode().rstrip("=")}]
    target = base64.urlsafe_b64encode(bytes(page.opened.session.settings.where("state"))).decode().rstrip("=")
    wish = {"in_place": False, "on_conflict": "copy", "verify": False, "permissions": True}
    restore = page.api("POST", "/restores", wish | {"places": places, "to": target})
    return {
        "point": point["id"],
        "job": page.get("/jobs")["jobs"][0]["id"],
        "search": page.post("/searches", {"text": "a"})["id"],
        "id": restore.json.get("id", "0" * 32),
    }


def routes() -> set[tuple[str, str]]:
    found = set()
    for route in ROUTES:
        assert isinstance(route, Route)
        found |= {(method, route.path) for method in (route.methods or set()) - {"HEAD"}}
    return found


def test_every_route_is_specified_and_nothing_else() -> None:
    assert routes() == set(OPERATIONS), "describe it in mount/browse/api/operations.py"


def test_the_document_is_whole(page: Page) -> None:
    document = page.get("/openapi.json")
    assert document == msgspec.json.decode(msgspec.json.encode(specification()))
    assert document["openapi"] == "3.1.0"
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', str(document).replace("'", '"')))
    assert references <= set(document["components"]["schemas"])
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations) == len(OPERATIONS)
    for path, methods in document["paths"].items():
        for one in methods.values():
            named = {p["name"] for p in one.get("parameters", ()) if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


READS = [(path, one) for (method, path), one in OPERATIONS.items() if method == "GET" and path != "/events"]


@pytest.mark.parametrize(("path", "operation"), READS, ids=[path for path, _one in READS])
def test_answers_have_the_form_that_is_specified(
    page: Page, ids: dict[str, str], path: str, operation: Any
) -> None:
    def asked(**query: Any) -> Any:
        return page.api("GET", path.format(**ids), **query)

    found, about = asked(), dict[str, str]()
    point = ids["point"]
    if path.endswith(("/text", "/hex")):
        found = asked(at=at_of(page, point))
    elif path in ("/versions", "/diff", "/compare"):
        (row,) = page.get("/points")["points"]
        about = {"machine": row["machine"], "item": row["item"], "before": point, "after": point}
        about["at"] = at_of(page, point)
        found = asked(**about)
    assert found.status == 200 or path == "/restores/{id}", found
    assert found.headers["content-type"].partition(";")[0] == operation.media
    if operation.answer not in (bytes, dict) and found.status == 200:
        msgspec.json.decode(found.body, type=operation.answer)
    for query in operation.query:
        for value in too_much(query):
            answer = asked(**{query.name: value})
            assert answer.status == 400 and answer.json["message"], (query, value, answer)
        for value in just_enough(query):
            answer = asked(**{**about, query.name: value})
            assert answer.status in (200, 404, 409), (query, value, answer)


def at_of(page: Page, point: str) -> str:
    """The path of the only file of a point."""
    at = None
    while True:
        (row,) = page.get(f"/points/{point}/folder", at=at)["rows"]
        path = page.get(f"/points/{point}/entry", n=row["n"])["path64"]
        if row["kind"] == "file":
            return str(path)
        at = path


def too_much(query: Query) -> list[Any]:
    schema = query.schema
    if schema["type"] == "integer" and "enum" not in schema:
        return [schema["maximum"] + 1, schema["minimum"] - 1, "x", "", "٣", "1e3"]
    return ["nonsense"] if "enum" in schema else ["x" * (schema["maxLength"] + 1)]


def just_enough(query: Query) -> list[Any]:
    schema = query.schema
    if "enum" in schema:
        return list(schema["enum"])
    return [schema["minimum"]] if schema["type"] == "integer" and query.name not in ("wait", "cursor") else []


@pytest.mark.soak
def test_an_interface_that_is_asked_at_random_answers_as_specified(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is drawn might open a drive or make a folder, so the page is read-only meanwhile."""
    import schemathesis
    from hypothesis import HealthCheck, given, settings

    schema = schemathesis.openapi.from_dict(specification())
    schema.config.base_url = f"{page.origin}/api/v1"
    headers = {"Sec-Fetch-Site": "same-origin", "Cookie": page._cookie, "X-Rpdrive-Key": page._key}
    checks = [
        schemathesis.checks.not_a_server_error, schemathesis.checks.response_schema_conformance,
        schemathesis.checks.content_type_conformance,
    ]  # fmt: skip
    monkeypatch.setattr(page.opened, "read_only", True)
    answered: Counter[int] = Counter()
    every: Any = schema.get_all_operations()
    for operation in (one.ok() for one in every):
        if operation.path == "/events" or (operation.method == "delete" and operation.path == "/session"):
            continue

        @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def ask(case: Any) -> None:
            answered[case.call_and_validate(headers=headers, checks=checks).status_code] += 1

        ask()
    assert answered[200] > 100 and answered[400] > 100, answered
    assert not {401, 405, 413, 415} & set(answered), answered
