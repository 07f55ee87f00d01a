"""Drives from the page: opened, read, listed, closed."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mount.browse.resources.wire import path64
from tests.browse.restore.conftest import Restoring
from tests.kit.drives import children, eventually, kill

pytestmark = pytest.mark.needs_fuse


def test_a_drive_in_a_folder_of_its_own_is_read_and_closed(here: Restoring) -> None:
    page = here.page
    made = page.post("/drives", {"point": here.point, "idle": "1h", "total": 7200})
    place = Path(made["place"])
    inside = place / str(here.source).lstrip("/")
    subprocess.run(["diff", "-r", "--no-dereference", here.source, inside], check=True)
    (drive,) = page.get("/drives")["drives"]
    assert (drive["id"], drive["place"], drive["point"], drive["own"]) == (made["id"], str(place), here.point, True)
    assert drive["answers"] and not drive["stale"] and drive["served"] > 0 and drive["calls"] > 0
    assert 0 < drive["idle_left"] <= 3600 and 3600 < drive["total_left"] <= 7200
    jobs = here.cli.json("jobs")["jobs"]
    assert ("drive", str(place)) in [(job["kind"], job["target"]) for job in jobs]
    with (inside / "sub/00.txt").open("rb"):
        refused = page.api("DELETE", f"/drives/{made['id']}")
        assert (refused.status, refused.json["kind"]) == (500, "MountFailed")
        assert "in use" in refused.json["message"]
        assert page.api("DELETE", f"/drives/{made['id']}", lazy=1).status == 204
    # Its process ends once the file is closed, and takes the row away.
    eventually(lambda: page.get("/drives")["drives"] == [] and not place.exists(), "the drive is gone")
    assert page.api("DELETE", f"/drives/{made['id']}").status == 404


def test_a_drive_whose_process_died_is_closed(here: Restoring, tmp_path: Path) -> None:
    page, place = here.page, tmp_path / "a \u00fc\n place"
    place.mkdir()
    for row_is_gone in (False, True):
        made = page.post("/drives", {"place": path64(os.fsencode(place))})
        (drive,) = page.get("/drives")["drives"]
        assert drive["point"] is None and drive["place64"] == path64(os.fsencode(place)) and not drive["own"]
        (row,) = here.cli.json("mounts")
        for process in (*children(row["pid"]), row["pid"]):  # what would unmount it first
            kill(process)
        if row_is_gone:
            assert here.cli.json("mounts") == []
        (drive,) = page.get("/drives")["drives"]
        assert drive["stale"] and not drive["answers"] and drive["id"] == made["id"]
        assert page.api("DELETE", f"/drives/{made['id']}").status == 204
        assert page.get("/drives")["drives"] == [] and list(place.iterdir()) == []


def test_drives_that_are_refused(here: Restoring, tmp_path: Path) -> None:
    page = here.page
    page.enter()
    (tmp_path / "full/x").mkdir(parents=True)
    wishes: list[tuple[dict[str, object], int, str]] = [
        ({"place": path64(os.fsencode(here.cli.vault))}, 500, "overlaps the vault"),
        ({"place": path64(bytes(tmp_path / "full"))}, 500, "not empty"),
        ({"place": path64(bytes(tmp_path / "none"))}, 500, "does not exist"),
        ({"place": "Lw=="}, 400, "malformed"),
        ({"point": "0" * 32}, 404, "no recovery point"),
        ({"machine": "box"}, 404, "no such machine"),
        ({"idle": "soon"}, 400, "not a length of time"),
        ({"item": "0" * 32}, 404, "no item"),
        ({"driver": "x"}, 400, "malformed"),
    ]
    for wish, status, words in wishes:
        answer = page.api("POST", "/drives", wish)
        assert answer.status == status and words in answer.json["message"], (wish, answer)
    assert page.get("/drives") == {"drives": [], "refused": None}
    assert page.api("DELETE", "/drives/nonsense").status == 404


@pytest.mark.soak
def test_many_drives_at_once(here: Restoring) -> None:
    page = here.page
    page.enter()
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _n: page.post("/drives", {"point": here.point}), range(25)))
    assert len({drive["place"] for drive in made}) == 25
    rows = page.get("/drives")["drives"]
    assert len(rows) == 25 and all(row["answers"] for row in rows)
    for drive in made:
        assert page.api("DELETE", f"/drives/{drive['id']}").status == 204
    assert page.get("/drives")["drives"] == []
