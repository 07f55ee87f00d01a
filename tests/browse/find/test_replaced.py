"""The vault changes under the page: that is said, and not that nothing is there, or that the store is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.alerts.health import health_text
from mount.browse.resources.alerts import alerts
from mount.browse.resources.looks import looks_of
from mount.browse.resources.wire import path64
from mount.view.all_points import AllPointsView
from tests.browse.find.vaults import made
from tests.kit.browsing import opened_as, page_of
from tests.kit.drives import ITEM, MACHINE
from tests.kit.vaults import Remote

ONE: dict[str, object] = {"machine": MACHINE.hex(), "item": ITEM.hex()}


def test_another_vault_at_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, other = made(), Remote()
    point, text = vault.points[0], path64(b"/texts/lines.txt")
    opened = opened_as(tmp_path, vault.remote.opened())
    opened._view = AllPointsView(opened.vault, opened.reader, forgotten=True, fresh=0, after_failure=0)
    monkeypatch.setattr("mount.browse.resources.opened._SAME", 0.0)
    asked: list[tuple[str, dict[str, object]]] = [
        ("/points", {}), ("/points", ONE), ("/calendar", {"year": 2026, **ONE}), ("/versions", {"at": text, **ONE}),
        (f"/points/{'1' * 32}", {}), (f"/points/{point}", {}), (f"/points/{point}/text", {"at": text}),
    ]  # fmt: skip
    with page_of(opened) as page:
        listed = page.get("/points")["points"]
        kept = dict(vault.remote.memory.objects)
        vault.remote.memory.objects.clear()
        vault.remote.memory.objects.update(other.memory.objects)
        for path, params in asked:
            answer = page.api("GET", path, **params)
            assert answer.status == 503, (path, params, answer)
            assert answer.json["message"].startswith("another vault is at "), (path, params, answer)
        vault.remote.memory.objects.clear()
        vault.remote.memory.objects.update(kept)
        assert page.get("/points")["points"] == listed
        assert page.get(f"/points/{point}/text", at=text)["text"]


def test_a_point_that_was_pruned_is_gone_and_not_away(tmp_path: Path) -> None:
    vault = made()
    point = vault.points[0]
    with page_of(opened_as(tmp_path, vault.remote.opened())) as page:
        page.get("/points")
        for name in [name for name in vault.remote.memory.objects if name.startswith("points/") and point in name]:
            del vault.remote.memory.objects[name]
        for path in (f"/points/{point}/folder", f"/points/{point}"):
            answer = page.api("GET", path)
            assert (answer.status, answer.json["kind"]) == (404, "NotFound"), answer
            assert "the calendar" in answer.json["advice"]


def test_alerts_call_an_empty_vault_what_the_start_does(tmp_path: Path) -> None:
    opened = opened_as(tmp_path, Remote().vault)
    assert alerts(opened, 30).state == "unknown"
    found = looks_of(opened).state().found
    assert found is not None
    assert health_text(found.health).startswith("NOTHING YET: 0 items, no open alert")
    assert found.health.code == 0
    opened.close()
