"""Restores whose page, server or process comes to an end, and restores that are stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.browse.restore.conftest import SECONDS, Elsewhere, Gate, Restoring
from tests.kit.drives import alive, eventually, kill, noise
from tests.kit.restoring import temporaries

MIB = 1 << 20


def process_of(here: Restoring, one: str) -> int:
    status = json.loads((here.cli.home / "state/browse-restores" / f"{one}.json").read_bytes())
    return int(status["pid"])


def same(one: Path, other: Path) -> None:
    subprocess.run(["diff", "-r", "--no-dereference", one, other], check=True)


def test_a_restore_goes_on_when_its_server_is_killed(here: Restoring, tmp_path: Path) -> None:
    one = here.plan(here.at(here.source), to=tmp_path / "to")["id"]
    with (
        Gate(here.cli, tmp_path) as gate,
        subprocess.Popen(
            here.cli.command("browse", "--json"), env=here.cli.environ, stdout=subprocess.PIPE
        ) as server,
    ):
        assert server.stdout is not None
        text = b""
        while not text.rstrip().endswith(b"}"):
            text += server.stdout.readline()
        Elsewhere(json.loads(text)["url"]).post(f"/restores/{one}/start")
        gate.reached()
        server.kill()
        server.wait()
        # Another page finds it, and tells of it although it did not start it.
        here.page.enter()
        with here.page.opened.bus.subscribe(lambda: None) as told:
            assert [(row["id"], row["state"]) for row in here.page.get("/restores")["restores"]] == [
                (one, "running")
            ]
            pid = process_of(here, one)
            assert alive(pid) and os.getsid(pid) == pid
            environment, command = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
            for secret in (here.page.opened.vault.keys.master, here.page.opened.vault.keys.master.hex().encode()):
                assert secret not in environment + command
            assert b"RPDRIVE_PASSPHRASE" not in environment
            gate.open()
            found = here.ended(one)
            eventually(
                lambda: "restore" in {n.type for n in getattr(told.take(), "notices", [])}, "a notice", SECONDS
            )
    assert found["state"] == "done", found
    same(here.source, tmp_path / "to/source")
    here.page.api("DELETE", f"/restores/{one}")


def test_a_restore_that_is_killed_or_stopped(here: Restoring, tmp_path: Path) -> None:
    def begun() -> str:
        one: str = here.plan(here.at(here.source / "sub"), to=tmp_path / "to")["id"]
        here.page.post(f"/restores/{one}/start")
        gate.reached()
        (tmp_path / "reached").unlink()
        return one

    with Gate(here.cli, tmp_path) as gate:
        killed = begun()
        kill(process_of(here, killed))
        found = here.show(killed)
        assert (found["state"], found["error"]["kind"], found["progress"]) == ("stopped", "Killed", None)
        jobs = {job["id"]: job["outcome"] for job in here.cli.json("jobs")["jobs"]}
        assert jobs[killed] == "killed"
        # A process that has the number of the dead one by now is not taken for it.
        path = here.cli.home / "state/browse-restores" / f"{killed}.json"
        path.write_bytes(
            path.read_bytes().replace(b'"pid":%d' % process_of(here, killed), b'"pid":%d' % os.getpid())
        )
        assert here.show(killed)["state"] == "stopped"
        assert here.page.api("DELETE", f"/restores/{killed}").status == 204
        stopped = begun()
        answer = here.page.api("DELETE", f"/restores/{stopped}")
        assert (answer.status, answer.json["state"]) == (200, "running")
        found = here.ended(stopped)
        assert (found["state"], found["error"]) == ("stopped", None), found
        assert here.cli.json("jobs", stopped)["outcome"] == "interrupted"
    assert temporaries(tmp_path) == []
    again = here.start(here.plan(here.at(here.source / "sub"), to=tmp_path / "to")["id"])
    assert again["state"] == "done"
    same(here.source / "sub", tmp_path / "to/sub")


def test_a_plan_that_is_dropped_while_it_is_made(here: Restoring, tmp_path: Path) -> None:
    wish = {"places": [here.at(here.source)], "to": here.at(tmp_path)["at"]}
    one = here.page.post("/restores", wish)["id"]
    pid = process_of(here, one)
    assert here.page.api("DELETE", f"/restores/{one}").status == 204
    eventually(lambda: not alive(pid), "its process ends", SECONDS)
    assert here.page.api("GET", f"/restores/{one}").status == 404
    assert not [path for path in (here.cli.home / "state/browse-restores").iterdir() if path.name.startswith(one)]


@pytest.mark.needs_root
def test_a_target_that_is_full(here: Restoring, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path / "small"], check=True)
    try:
        one = here.plan(here.at(here.source / "sub"), here.at(here.source / "sub/deep"), to=tmp_path / "small")
        (room,) = one["plan"]["room"]
        assert room["path"] == str(tmp_path / "small") and room["needed"] > room["free"] and not room["enough"]
        found = here.start(one["id"])
        assert (found["state"], found["error"]["kind"]) == ("failed", "LocalError"), found
        assert (
            "No space left on device" in found["error"]["message"] and "free some space" in found["error"]["advice"]
        )
        assert found["result"]["files"] < 20
    finally:
        subprocess.run(["umount", tmp_path / "small"], check=True)


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restore_that_ends_in_the_middle_of_a_file_is_continued(
    here: Restoring, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "large").write_bytes(noise(160 * MIB))
    point = here.cli.json("backup", tmp_path / "large")["point"]
    place: dict[str, Any] = {"point": point, "at": here.at(tmp_path / "large")["at"]}
    to = tmp_path / "to"
    one = here.plan(place, to=to)["id"]
    here.page.post(f"/restores/{one}/start")

    def some_written() -> bool:
        parts = to.glob(".rpdrive-*.part") if to.exists() else ()
        return here.show(one)["state"] != "running" or any(p.stat().st_blocks * 512 > 10 * MIB for p in parts)

    eventually(some_written, "nothing was written", SECONDS)
    os.kill(process_of(here, one), number)
    assert here.ended(one)["state"] == "stopped"
    assert not (to / "large").exists()
    assert here.start(here.plan(place, to=to)["id"])["state"] == "done"
    assert (to / "large").read_bytes() == (tmp_path / "large").read_bytes() and temporaries(to) == []
