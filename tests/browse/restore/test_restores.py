"""Restores by their own processes: planned, started, followed, ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.jobs.local import LocalJobs
from catalog.store.local import LocalStore
from mount.browse.resources.wire import path64
from tests.browse.restore.conftest import ODD, Machine, Restoring, odd
from tests.kit.browsing import opened_vault, page_of

COUNTS = ("new", "overwritten", "copies", "skipped", "same", "attributes")


def same(one: Path, other: Path) -> None:
    subprocess.run(["diff", "-r", "--no-dereference", one, other], check=True)


def test_a_plan_then_the_restore_that_was_planned(here: Restoring, tmp_path: Path) -> None:
    page = here.page
    page.enter()
    with page.opened.bus.subscribe(lambda: None) as told:
        one = here.planned(here.at(here.source), to=tmp_path / "to")
        plan, top = one["plan"], tmp_path / "to/source"
        assert (one["state"], plan["files"], plan["new"], plan["folders"]) == ("planned", 25, 25, 4)
        assert len(plan["first"]) == 20 and not (tmp_path / "to").exists()
        assert plan["first"][:2] == [
            {"path": f"{top}/", "what": "new", "size": 0}, {"path": f"{top}/empty/", "what": "new", "size": 0},
        ]  # fmt: skip
        (room,) = plan["room"]
        assert room["path"] == str(tmp_path) and room["enough"] and room["needed"] >= plan["bytes"] > 1 << 20
        found = here.done(one["id"])
        batch = told.take()
    assert batch is not None and ("restore", one["id"]) in [(n.type, n.id) for n in batch.notices]
    assert found["state"] == "done" and found["error"] is None and found["started"] <= found["finished"], found
    assert {key: found["result"][key] for key in COUNTS} == {key: plan[key] for key in COUNTS}
    same(here.source, top)
    assert (top / "twin").samefile(top / "sub/01.txt")
    # The record, by which `rpdrive jobs` knows it.
    (job,) = [job for job in LocalJobs(here.cli.home / "state").all() if job.id == one["id"]]
    assert (job.kind, job.outcome, job.session, job.files) == ("restore", "completed", found["session"], 25)
    assert [row["id"] for row in here.cli.json("jobs")["jobs"] if row["kind"] == "restore"] == [one["id"]]
    # Its files are this user's alone; a page that is opened later finds it, and shows no problem lists there.
    folder = here.cli.home / "state/browse-restores"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert here.page.opened.vault.keys.master.hex() not in "".join(p.read_text() for p in folder.iterdir())
    with page_of(opened_vault(here.cli.home, here.cli.vault)) as later:
        (row,) = later.get("/restores")["restores"]
        assert (row["id"], row["state"], row["plan"]["first"]) == (one["id"], "done", [])
        assert later.get(f"/restores/{one['id']}") == here.show(one["id"])
    refused = page.api("POST", f"/restores/{one['id']}/start")
    assert refused.status == 400 and "this restore is done" in refused.json["message"]
    assert page.api("DELETE", f"/restores/{one['id']}").status == 204
    assert page.api("GET", f"/restores/{one['id']}").status == 404 and list(folder.iterdir()) == []


def test_places_of_two_points_with_odd_names_at_once_and_the_same_by_the_command(
    here: Restoring, tmp_path: Path
) -> None:
    places = [
        here.at(odd(here.source)), here.at(here.source / "sub/deep/10:30 notes"),
        here.at(here.source / "gone", here.earlier),
    ]  # fmt: skip
    one = here.plan(*places, to=tmp_path / os.fsdecode(b"to \xff'\n"))
    found = here.start(one["id"])
    assert found["state"] == "done", found
    first, second = (Path(os.fsdecode(bytes(tmp_path) + b"/to \xff'\n" + end)) for end in (b"", b" again"))
    assert sorted(os.listdir(os.fsencode(first))) == sorted([ODD, b"10:30 notes", b"gone"])
    script = f'rpdrive() {{ {sys.executable} -m rpdrive "$@"; }}\nmv "$1" "$2"\n{found["command"]}\n'
    subprocess.run(
        ["bash", "-ec", script, "bash", first, second], env=here.cli.environ, check=True, capture_output=True
    )
    same(first, second)


@pytest.mark.parametrize(
    ("policy", "counts", "left"),
    [
        ("copy", {"copies": 2, "same": 21, "new": 2}, "mine"),
        ("overwrite", {"overwritten": 2, "same": 21, "new": 2}, ""),
        ("skip", {"skipped": 2, "same": 21, "new": 2}, "mine"),
        ("newer", {"overwritten": 1, "skipped": 1, "same": 21, "new": 2}, "mine"),
    ],
)
def test_what_is_planned_is_what_is_done(
    here: Restoring, tmp_path: Path, policy: str, counts: dict[str, int], left: str
) -> None:
    top = tmp_path / "source"
    subprocess.run(["cp", "-a", here.source, top], check=True)
    (top / "sub/02.txt").write_text("mine")  # newer than what was saved
    (top / "sub/03.txt").write_text("old")
    os.utime(top / "sub/03.txt", (1, 1))
    (top / "sub/04.txt").unlink()
    (top / "link").unlink()
    one = here.plan(here.at(here.source), to=tmp_path, on_conflict=policy)
    found = here.start(one["id"])
    expected = dict.fromkeys(COUNTS, 0) | counts
    assert found["state"] == "done", found
    assert {key: found["plan"][key] for key in COUNTS} == expected
    assert {key: found["result"][key] for key in COUNTS} == expected
    assert ((top / "sub/02.txt").read_text() if left else "") == left
    copies = [row["path"] for row in found["plan"]["first"] if row["what"] == "copy"]
    assert len(copies) == counts.get("copies", 0) and all(Path(path).exists() for path in copies)
    if policy == "overwrite":
        same(here.source, top)


def test_in_place_and_another_machine_only_if_that_is_confirmed(here: Restoring, tmp_path: Path) -> None:
    file = here.source / "sub/06.txt"
    saved = file.read_bytes()
    file.write_bytes(b"spoilt")
    os.utime(file, (1, 1))
    one = here.plan(here.at(file), on_conflict="overwrite")
    assert (one["plan"]["overwritten"], one["in_place"], one["to"]) == (1, True, None)
    assert one["plan"]["first"] == [{"path": str(file), "what": "overwrite", "size": len(saved)}]
    assert here.start(one["id"])["state"] == "done" and file.read_bytes() == saved
    other = Machine(LocalStore(here.cli.vault), tmp_path / "state", name="elsewhere", item="data")
    point = other.backup(file).point
    assert point is not None
    there = here.at(file, point.id.hex())
    refused = here.plan(there, on_conflict="overwrite")
    assert refused["state"] == "failed" and "of the machine elsewhere" in refused["error"]["message"]
    assert here.plan(there, on_conflict="overwrite", machine="elsewhere")["plan"]["same"] == 1


def test_a_target_that_changed_since_the_plan(here: Restoring, tmp_path: Path) -> None:
    file = here.source / "sub/05.txt"
    one = here.plan(here.at(file), to=tmp_path, on_conflict="overwrite")
    assert (one["plan"]["new"], one["changed"]) == (1, None)
    (tmp_path / "05.txt").write_text("came since")
    again = here.start(one["id"])
    assert again["state"] == "planned" and "has changed" in again["changed"]
    assert (again["plan"]["new"], again["plan"]["overwritten"]) == (0, 1)
    assert (tmp_path / "05.txt").read_text() == "came since"
    assert here.start(one["id"])["state"] == "done" and (tmp_path / "05.txt").read_bytes() == file.read_bytes()


def test_restores_that_are_refused(here: Restoring, tmp_path: Path) -> None:
    page, place, to = here.page, here.at(here.source), path64(bytes(tmp_path))
    page.enter()
    vault, state = (path64(os.fsencode(path)) for path in (here.cli.vault / "x", here.cli.home / "state"))
    (tmp_path / "way").symlink_to(here.cli.vault)
    for wish, status, words in (
        ({"places": [place], "to": vault}, 400, "is in the vault"),
        ({"places": [place], "to": path64(bytes(tmp_path / "way"))}, 400, "is in the vault"),
        ({"places": [place], "to": state}, 400, "rpdrive's own folder"),
        ({"places": [], "to": to}, 400, "nothing was chosen"),
        ({"places": [place]}, 400, "either into a folder or in place"),
        ({"places": [place], "to": to, "in_place": True}, 400, "either into a folder or in place"),
        ({"places": [place], "to": "cmVsYXRpdmU"}, 400, "malformed"),
        ({"places": [place], "to": to, "on_conflict": "all"}, 400, "malformed"),
        ({"places": [place], "to": to, "exact": True}, 400, "malformed"),
        ({"places": [place | {"at": path64(b"/a/../b")}], "to": to}, 400, "malformed"),
        ({"places": [place | {"point": "latest"}], "to": to}, 404, "no such recovery point"),
        ({"places": [place | {"point": "0" * 32}], "to": to}, 404, "no recovery point"),
        ({"places": [place | {"at": "Lw"}] * 2001, "to": to}, 400, "more than 2,000 places"),
    ):
        answer = page.api("POST", "/restores", wish)
        assert answer.status == status and words in answer.json["message"], (wish, answer)
    for bad in ("0" * 32, "nothing", "0" * 31 + "G"):
        assert page.api("GET", f"/restores/{bad}").status == 404
        assert page.api("POST", f"/restores/{bad}/start").status == 404
        assert page.api("DELETE", f"/restores/{bad}").status == 404
    one = here.plan(here.at(here.source / "none"), to=tmp_path)
    assert one["state"] == "failed" and one["error"]["kind"] == "NotFound", one
    page.api("DELETE", f"/restores/{one['id']}")


def test_a_page_that_is_read_only(here: Restoring, tmp_path: Path) -> None:
    with page_of(opened_vault(here.cli.home, here.cli.vault, read_only=True)) as page:
        page.enter()
        wish = {"places": [here.at(here.source)], "to": path64(bytes(tmp_path))}
        for method, path, body in (
            ("POST", "/restores", wish), ("POST", f"/restores/{'0' * 32}/start", None),
            ("DELETE", f"/restores/{'0' * 32}", None), ("GET", "/local/folders", None),
            ("POST", "/local/folders", {"at": path64(bytes(tmp_path)), "name": "x"}), ("POST", "/drives", {}),
            ("DELETE", f"/drives/{'0' * 16}", None),
        ):  # fmt: skip
            answer = page.api(method, path, body)
            assert (answer.status, answer.json["kind"]) == (403, "AccessDenied"), (method, path, answer)
        assert "restores" in page.get("/restores") and page.get("/drives")["refused"] is not None
        assert list(tmp_path.iterdir()) == []
