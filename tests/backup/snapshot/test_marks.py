"""The files that remember snapshots: what a killed job left is found and removed, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backup.snapshot.base import OTHER, Found, Mark, Snapshot, Volume
from backup.snapshot.marks import FOLDER, JobMark, clean, is_ours, marked
from catalog.errors import LocalError, SnapshotFailed
from tests.kit.cli import ROOT
from tests.kit.disks import mounted


class Remembering:
    """A provider of snapshots that are names in a list."""

    name = "remembering"

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.reached, self.fails = True, False

    def takes(self, volume: Volume) -> str:
        return OTHER

    def within(self, volume: Volume) -> list[Volume]:
        return []

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        raise NotImplementedError

    def found(self) -> list[Found]:
        return [Found(self.name, name, name.partition("/")[2]) for name in self.names]

    def reaches(self, name: str) -> bool:
        return self.reached

    def remove(self, found: Found) -> None:
        if self.fails:
            raise SnapshotFailed("it is busy")
        self.names.remove(found.name)


def killed(state: Path, *names: str) -> str:
    """A job that notes snapshots and is killed. Names end with its tag. Returns the tag."""
    program = (
        "import os, sys; from pathlib import Path; from backup.snapshot.marks import JobMark\n"
        "m = JobMark(Path(sys.argv[1])); m.note('remembering', *(f'{n}/{m.tag}' for n in sys.argv[2:]))\n"
        "print(m.tag, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, state, *names], stdout=subprocess.PIPE, cwd=ROOT, check=False
    )
    assert done.returncode == -9
    return done.stdout.decode().strip()


def files(state: Path) -> list[Path]:
    return sorted((state / FOLDER).iterdir())


def test_what_a_killed_job_noted_is_removed_once_and_nothing_else(tmp_path: Path) -> None:
    tag = killed(tmp_path, "a", "b")
    others = [f"c/{tag}", "a/rpdrive-" + "0" * 32, "mine"]
    provider = Remembering(f"a/{tag}", *others)  # `b` was not made any more
    assert clean(tmp_path, [provider]) == []
    assert provider.names == others
    assert files(tmp_path) == []


def test_a_running_job_is_left_alone(tmp_path: Path) -> None:
    mark = JobMark(tmp_path)
    mark.note("remembering", f"a/{mark.tag}")
    provider = Remembering(f"a/{mark.tag}")
    assert clean(tmp_path, [provider]) == []
    assert provider.names == [f"a/{mark.tag}"]
    (found,) = marked(tmp_path)
    assert found.is_running
    assert is_ours(provider.found()[0], [found]) is found
    mark.forget("remembering", f"a/{mark.tag}")
    mark.close()
    assert files(tmp_path) == []


def test_a_job_without_snapshots_writes_no_file(tmp_path: Path) -> None:
    JobMark(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_removed_stays_noted(tmp_path: Path) -> None:
    tag = killed(tmp_path, "a")
    provider = Remembering(f"a/{tag}")
    provider.fails = True
    assert clean(tmp_path, [provider]) == ["it is busy"]
    assert clean(tmp_path, []) == []  # a provider that is not there
    assert len(files(tmp_path)) == 1
    provider.fails = False
    assert clean(tmp_path, [provider]) == []
    assert (provider.names, files(tmp_path)) == ([], [])


def test_a_disk_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    killed(tmp_path, "a")
    provider = Remembering()
    provider.reached = False
    clean(tmp_path, [provider])
    assert len(files(tmp_path)) == 1
    provider.reached = True
    clean(tmp_path, [provider])
    assert files(tmp_path) == []


def test_the_same_mark_in_another_jobs_name_is_not_ours(tmp_path: Path) -> None:
    tag = killed(tmp_path, "a")
    stranger = Found("remembering", f"a/{tag}", "rpdrive-" + "1" * 32)
    assert is_ours(stranger, marked(tmp_path)) is None


@pytest.mark.parametrize("cut", [0, 1, 40, -2, -5])
def test_a_line_that_was_cut_off_costs_no_more_than_itself(tmp_path: Path, cut: int) -> None:
    tag = killed(tmp_path, "a", "b")
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    provider = Remembering(f"a/{tag}", f"b/{tag}")
    assert clean(tmp_path, [provider]) == []
    # What a file no longer names is not touched.
    left = [f"b/{tag}"] if cut < 0 else [f"a/{tag}", f"b/{tag}"]
    assert (provider.names, files(tmp_path)) == (left, [])


def test_another_process_of_the_same_number_is_not_the_job(tmp_path: Path) -> None:
    killed(tmp_path, "a")
    (path,) = files(tmp_path)
    first, *rest = path.read_bytes().split(b"\n")
    maker = json.loads(first) | {"pid": 1}
    path.write_bytes(b"\n".join([json.dumps(maker).encode(), *rest]))
    assert not marked(tmp_path)[0].is_running


@pytest.mark.needs_root
def test_a_disk_with_room_for_a_part_of_the_names(tmp_path: Path) -> None:
    """No snapshot may be made whose name is not on disk."""
    with mounted("none", tmp_path / "state", "-t", "tmpfs", "-o", "size=16k") as state:
        mark = JobMark(state)
        with pytest.raises(LocalError, match="No space left"):
            mark.note("btrfs", *(f"name-{n:0100}" for n in range(1000)))
        mark.close()
