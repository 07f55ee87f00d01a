"""The command: killed and run again, in place, from a drive; what it prints and records."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from catalog.jobs.local import LocalJobs
from tests.kit.drives import Home, eventually, noise
from tests.kit.restoring import assert_same_trees, temporaries
from tests.kit.vaults import make_vault

MIB = 1 << 20


class Backed(Home):
    """A folder with a large file and many small ones, backed up."""

    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.source = folder / "source"
        (self.source / "small").mkdir(parents=True)
        for n in range(400):
            (self.source / "small" / f"{n:03d}").write_bytes(noise(2000 + n, n))
        (self.source / "large").write_bytes(noise(160 * MIB))
        self.run("backup", self.source, "--item", "data")
        self.path = f"latest:{self.source}"

    def received(self, *args: str | Path) -> int:
        """Bytes that a restore fetched."""
        done = self.run("restore", *args, "-v")
        found = re.search(r"requests, (\d+) bytes received", done.stderr)
        assert found is not None, done.stderr
        return int(found[1])


@pytest.fixture(scope="module")
def backed(tmp_path_factory: pytest.TempPathFactory) -> Backed:
    return Backed(tmp_path_factory.mktemp("restore"))


@pytest.mark.needs_program("rsync")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_run_again(backed: Backed, tmp_path: Path, number: signal.Signals) -> None:
    arguments = ("restore", backed.path, "--to", tmp_path)
    run = subprocess.Popen(
        backed.command(*arguments), env=backed.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    begun = tmp_path / "source"

    def some_written() -> bool:
        return run.poll() is not None or any(
            path.stat().st_blocks * 512 > 10 * MIB for path in begun.glob(".rpdrive-*.part")
        )

    eventually(some_written, "nothing was written")
    run.send_signal(number)
    _out, err = run.communicate(timeout=60)
    assert run.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), err
    # A file with its final name is complete.
    for path in begun.rglob("*"):
        if path.is_file() and not path.name.startswith(".rpdrive-"):
            assert path.read_bytes() == (backed.source / path.relative_to(begun)).read_bytes()
    assert not (begun / "large").exists() and len(temporaries(tmp_path)) >= 1
    moved = backed.received(backed.path, "--to", tmp_path)
    assert moved < 155 * MIB, "what was there was fetched again"
    assert_same_trees(begun, backed.source)
    assert temporaries(tmp_path) == []
    assert backed.received(backed.path, "--to", tmp_path, "--verify") < MIB


@pytest.mark.needs_root
def test_in_place(backed: Backed) -> None:
    source, before = backed.source, backed.folder / "before"
    subprocess.run(["cp", "-a", source / "small", before], check=True)
    shutil.rmtree(source / "small")
    backed.run("restore", f"{backed.path}/small/007", "--in-place")
    assert [p.name for p in (source / "small").iterdir()] == ["007"]
    backed.run("restore", f"{backed.path}/small", "--in-place")
    assert_same_trees(source / "small", before)
    (source / "small/001").write_bytes(b"spoilt")
    backed.run("restore", f"{backed.path}/small", "--in-place", "--on-conflict", "overwrite")
    assert_same_trees(source / "small", before)
    # A path that leads through a symlink by now is refused.
    (source / "small").rename(backed.folder / "elsewhere")
    (source / "small").symlink_to(backed.folder / "elsewhere")
    (backed.folder / "elsewhere/007").unlink()
    done = backed.run(
        "restore", f"{backed.path}/small/007", "--in-place", "--on-conflict", "overwrite", exit_code=3
    )
    assert "something else exists where this folder belongs" in done.stdout
    assert not (backed.folder / "elsewhere/007").exists()
    (source / "small").unlink()
    shutil.rmtree(backed.folder / "elsewhere")
    backed.run("restore", f"{backed.path}/small", "--in-place")
    assert_same_trees(source / "small", before)


@pytest.mark.needs_fuse
@pytest.mark.needs_root
def test_from_a_drive(backed: Backed, tmp_path: Path) -> None:
    try:
        everything = backed.mount(name="all")
        one = backed.mount("--point", "latest", name="one")
        inside = str(backed.source / "small").lstrip("/")
        (machine,) = (name for name in os.listdir(everything) if not name.startswith("."))
        item = everything / machine / "data"
        (point,) = (p.name for p in item.iterdir() if p.name not in ("latest", ".versions"))
        ways = (item / "latest" / inside, item / point / inside, one / inside)
        for n, path in enumerate(ways):
            environment = {k: v for k, v in backed.environment.items() if k != "RPDRIVE_VAULT"}
            done = subprocess.run(
                backed.command("restore", path, "--to", tmp_path / str(n)), env=environment, capture_output=True,
                check=False, cwd=tmp_path,
            )  # fmt: skip
            assert done.returncode == 0, done
            assert_same_trees(tmp_path / str(n) / "small", backed.source / "small")
        name = min(p.name for p in (backed.source / "small").iterdir())
        version = item / ".versions" / inside / name / (point + os.path.splitext(name)[1])
        backed.run("restore", version, "--to", tmp_path / "version")
        assert (tmp_path / "version" / name).read_bytes() == (backed.source / "small" / name).read_bytes()
        # A point means the same if the current folder is in a drive; what is there means itself.
        for n, spec in enumerate((f"latest:{backed.source}/small/007", "small/007", "./small/007")):
            done = subprocess.run(
                backed.command("restore", spec, "--to", tmp_path / f"inside{n}"), env=backed.environment,
                capture_output=True, check=False, cwd=one / str(backed.source).lstrip("/"),
            )  # fmt: skip
            assert done.returncode == 0, done
            assert (tmp_path / f"inside{n}" / "007").exists()
        refused = backed.run("restore", item, "--to", tmp_path / "x", exit_code=2)
        assert "holds many recovery points" in refused.stderr
        refused = backed.run("restore", item / "2001-01-01 00.00.00" / "x", "--to", tmp_path / "x", exit_code=4)
    finally:
        backed.close()


@pytest.mark.needs_root
def test_what_is_printed_and_recorded(backed: Backed, tmp_path: Path) -> None:
    began = time.time_ns()
    report = json.loads(backed.run("restore", f"{backed.path}/small", "--to", tmp_path, "--json").stdout)
    assert (report["written"], report["problem_count"], report["outcome"]) == (400, 0, "complete")
    assert report["written_bytes"] == sum(p.stat().st_size for p in (backed.source / "small").iterdir())
    job = LocalJobs(backed.folder / "home" / "state").all()[-1]
    assert (job.id, job.kind, job.item, job.files) == (report["job"], "restore", "data", 400)
    assert (
        began <= job.started <= job.finished and job.outcome == "completed" and job.bytes == report["written_bytes"]
    )
    count = len(LocalJobs(backed.folder / "home" / "state").all())
    done = backed.run("restore", f"{backed.path}/small", "--to", tmp_path, "--dry-run", "--on-conflict", "skip")
    assert done.stdout.count("same ") == 400 and "nothing was written" in done.stdout
    assert len(LocalJobs(backed.folder / "home" / "state").all()) == count, "a dry run is no job"
    done = backed.run("restore", f"{backed.path}/small", "--to", tmp_path)
    assert "400 there already" in done.stdout
    (tmp_path / "folder").write_bytes(b"a file")
    done = backed.run("restore", "latest", "--to", tmp_path / "folder", exit_code=11)
    assert LocalJobs(backed.folder / "home" / "state").all()[-1].outcome == "failed"


@pytest.mark.needs_program("rsync")
@pytest.mark.slow
def test_a_folder_of_many_names(tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for n in range(20_000):
        os.close(os.open(many / f"name {n}", os.O_CREAT | os.O_WRONLY))
    make_vault(tmp_path / "vault")
    home = Home(tmp_path, tmp_path / "vault")
    home.run("backup", many)
    home.run("restore", f"latest:{many}", "--to", tmp_path / "to")
    assert_same_trees(tmp_path / "to/many", many)


def test_hard_links_of_two_points_at_once(tmp_path: Path) -> None:
    """A file with several names has the same number in the next point, and is another file there."""
    make_vault(tmp_path / "vault")
    home = Home(tmp_path, tmp_path / "vault")
    source = tmp_path / "source"
    names = [source / day / name for day in ("monday", "tuesday") for name in ("one", "two")]
    places = []
    for day in ("monday", "tuesday"):
        (source / day).mkdir(parents=True)
        names[0].write_text(day)
        for name in names[1:]:
            if name.parent.exists() and not name.exists():
                os.link(names[0], name)
        home.run("backup", source, "--item", "data")
        (newest,) = json.loads(home.run("points", "--json", "--last", "1").stdout)["points"]
        places.append(f"{newest['id']}:{source / day}")
    home.run("restore", *places, "--to", tmp_path / "to")
    for day in ("monday", "tuesday"):
        one, two = (tmp_path / "to" / day / name for name in ("one", "two"))
        assert one.read_text() == two.read_text() == day and one.samefile(two)
