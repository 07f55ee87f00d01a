"""The files between a restore's process and the page, and the words of its command, in themselves."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.access.settings import Settings
from catalog.errors import NotFound
from catalog.systems.this import SYSTEM
from mount.browse.resources.shell_words import line
from mount.browse.running.files import KEPT, RestoreFiles
from mount.browse.running.plan import plan_of
from mount.browse.running.space import Space
from mount.browse.running.status import LONGEST, Request, Status
from mount.process.this import PROCESSES
from mount.restore.report import Planned as Row
from mount.restore.report import Report
from tests.kit.vaults import home_of


@pytest.fixture
def files(tmp_path: Path) -> RestoreFiles:
    return RestoreFiles(Settings(home_of(tmp_path, "file:///vault")))


def status(number: int, made: int | None = None, **fields: Any) -> Status:
    found = Status(
        id=f"{number:032x}", vault="v", request=Request(places=[], to=None), state="done",
        made=time.time_ns() if made is None else made,
    )  # fmt: skip
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def test_nothing_is_made_only_to_be_read(files: RestoreFiles, tmp_path: Path) -> None:
    assert files.all("v") == [] and files.versions() == {}
    with pytest.raises(NotFound):
        files.read(f"{1:032x}")
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept(files: RestoreFiles) -> None:
    now = time.time_ns()
    old = now - 31 * 86_400 * 10**9
    here: dict[str, Any] = {"pid": os.getpid(), "process": PROCESSES.started(os.getpid()) or ""}
    files.write(status(0, old))
    files.write(status(1, old, state="running", **here))  # as long as it takes
    files.write(status(2, now, vault="another"))
    for n in range(10, 10 + KEPT + 5):
        files.write(status(n, now + n))
    found = files.all("v")
    assert len(found) == KEPT + 1 and found[0].id == f"{10 + KEPT + 4:032x}"
    assert found[-1].id == f"{1:032x}" and found[-1].state == "running"
    assert len(list(files.folder.iterdir())) == KEPT + 1


def test_files_that_say_nothing(files: RestoreFiles, tmp_path: Path) -> None:
    files.write(status(1))
    garbled = (
        b"",
        b"{",
        b"[]",
        b'{"id": 1}',
        b"[" * 100_000,
        b'{"id":"x","vault":"v","request":{"places":[],"to":1}}',
    )
    for n, data in enumerate(garbled):
        (files.folder / f"{n + 2:032x}.json").write_bytes(data)
    (files.folder / f"{40:032x}.json").write_bytes((files.folder / f"{1:032x}.json").read_bytes())  # of another id
    (files.folder / f"{41:032x}.json").symlink_to(tmp_path)
    (files.folder / "name.json").write_bytes(b"{}")
    assert [found.id for found in files.all("v")] == [f"{1:032x}"]
    for one in ("", "..", "name", f"{2:032x}", f"{40:032x}", f"{41:032x}", "a" * 31 + "/"):
        with pytest.raises(NotFound):
            files.read(one)


def test_a_target_on_another_file_system_is_another_plan(tmp_path: Path) -> None:
    """As when a disk is mounted or unmounted at an empty target between the plan and its start."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    report = Report()
    report.planned.append(Row(b"file", "write", 5, b""))
    target = tmp_path / "target"
    target.symlink_to(tmp_path)
    before = plan_of(report, os.fsencode(target)).digest
    assert plan_of(report, os.fsencode(target)).digest == before
    target.unlink()
    target.symlink_to(other)
    assert plan_of(report, os.fsencode(target)).digest != before


def test_what_names_and_reasons_may_be_made_of(files: RestoreFiles) -> None:
    report = Report()
    report.refusals = ["a \udcff refusal"]
    report.problem(b"\xff\n" * 10_000, "why \ud800" * 10_000)
    report.planned.append(Row(b"folder/\xff" + b"x" * 20_000, "copy", 5, b"copy \xff"))
    report.planned.append(Row(b"folder/", "what a later version writes", 0))
    found = status(1, plan=plan_of(report, b"/to"))
    files.write(found)
    back = files.read(found.id).plan
    assert back is not None and back == found.plan and back.digest == plan_of(report, b"/to").digest
    assert back.first[0].path == b"/to/folder/copy \xff" and len(back.problems[0].path) == LONGEST
    assert back.refusals == ["a ? refusal"] and back.problems[0].reason.startswith("why ?")


def test_a_process_that_writes_its_last_words_as_it_is_looked_for(files: RestoreFiles) -> None:
    files.write(status(1, state="running", pid=(1 << 22) + 1, process="1"))
    assert files.read(f"{1:032x}").state == "stopped"
    files.note(status(1, state="done"))
    assert files.read(f"{1:032x}").state == "done"
    here: dict[str, Any] = {"pid": os.getpid(), "process": PROCESSES.started(os.getpid()) or ""}
    for boot, state in (
        ("", "running"),
        (SYSTEM.boot_id(), "running"),
        ("another start of the machine", "stopped"),
    ):
        files.set_aside(f"{2:032x}")
        files.write(status(2, state="running", boot=boot, **here))
        assert files.read(f"{2:032x}").state == state
    (files.folder / f"{2:032x}.json.{(1 << 22) + 1}.tmp").write_bytes(b"half")
    files.all("v")
    assert {path.name for path in files.folder.iterdir()} == {f"{1:032x}.json", f"{2:032x}.json"}


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=40).map(lambda word: word.replace(b"\0", b"")), min_size=1, max_size=3))
def test_a_line_means_its_words_to_a_shell(words: list[bytes]) -> None:
    text = line(words)
    assert text.isprintable() or all(c.isprintable() or ord(c) > 0x9F for c in text)
    assert "\n" not in text and "\x1b" not in text
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    assert done.stdout.split(b"\0")[:-1] == words


def test_the_room_that_is_needed_counts_both_of_a_file_that_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(os.urandom(64 << 10))
    space = Space()
    space.add(bytes(tmp_path / "missing/deep/new"), 100 << 10, replaces=False)
    space.add(bytes(tmp_path / "there"), 64 << 10, replaces=True)
    space.add(bytes(tmp_path / "there too"), 0, replaces=False)
    (room,) = space.rooms()
    assert room.place == bytes(tmp_path) or Path(os.fsdecode(room.place)).is_relative_to(tmp_path)
    assert (100 + 64) << 10 <= room.needed < (100 + 64 + 16) << 10 and room.free > 0
