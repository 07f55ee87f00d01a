"""Many readers of one drive while the kernel drops what it knows, and signals arrive: none waits for ever.

Runs for RPDRIVE_STRESS seconds (an hour: 3600; 600 if not set). A reader that waits for two minutes fails it. One
that gets no processor, beside other work at a higher priority, does not wait: it is ready to run.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.kit.drives import ROOT, Home, noise
from tests.kit.vaults import make_vault

pytestmark = [pytest.mark.needs_fuse, pytest.mark.needs_root, pytest.mark.soak]

READERS = 12
PATIENCE = 120.0  # seconds without a step and without processor time
_GROUPS = Path("/sys/fs/cgroup/memory")


class Memory:
    """Memory of some processes, of which the kernel is made to reclaim what it can; else of the whole machine."""

    def __init__(self) -> None:
        group = _GROUPS / f"rpdrive-stress-{os.getpid()}"
        self.group: Path | None = None
        if (_GROUPS / "memory.force_empty").exists():  # version 1: spares everybody else
            group.mkdir()
            self.group = group

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command whose process belongs to this memory."""
        if self.group is None:
            return list(command)
        script = f'echo $$ > {self.group}/cgroup.procs; exec "$@"'
        return ["sh", "-c", script, "sh", *command]

    def reclaim(self) -> None:
        with contextlib.suppress(OSError):  # busy: it reclaimed what it could
            if self.group is not None:
                (self.group / "memory.force_empty").write_text("0")
            else:
                Path("/proc/sys/vm/drop_caches").write_text("2")

    def close(self) -> None:
        if self.group is not None:
            for pid in (self.group / "cgroup.procs").read_text().split():
                (_GROUPS / "cgroup.procs").write_text(pid)
            self.group.rmdir()


def fill(source: Path) -> None:
    """Small files in order, some with a second name next to them, links, empty files, a folder of many names."""
    for folder in range(6):
        (source / f"folder {folder}").mkdir(parents=True)
        for n in range(200):
            path = source / f"folder {folder}" / f"file {n:03}"
            path.write_bytes(noise(random.Random(n).randrange(9000), folder * 1000 + n))
            if n % 7 == 0:
                os.link(path, path.with_name(f"file {n:03} again"))
            if n % 50 == 0:
                path.with_name(f"link {n:03}").symlink_to(path.name)
    (source / "many").mkdir()
    for n in range(20_000):
        (source / "many" / f"name {n:05}").touch()
    (source / "big").write_bytes(noise(24 << 20))


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.close()


@pytest.mark.timeout(24 * 3600)
@pytest.mark.parametrize("options", [["--point", "latest"], []], ids=["a point", "all points"])
def test_no_reader_waits_for_ever(tmp_path: Path, memory: Memory, options: list[str]) -> None:
    make_vault(tmp_path / "vault")
    home = Home(tmp_path, tmp_path / "vault")
    source = tmp_path / "source"
    fill(source)
    home.run("backup", source)
    place = home.mount_point()
    command = home.command("mount", place, "--driver", "kernel", "--read-timeout", "30", *options)
    subprocess.run(memory.inside(command), env=home.environment, check=True)
    item = [] if options else [*next(place.glob("*/*")).relative_to(place).parts, "latest"]
    top = place.joinpath(*item) / str(source).lstrip("/")
    counters = tmp_path / "counters"
    counters.write_bytes(bytes(8 * READERS))

    def start(number: int) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "tests.mount.kernel.stress_reader", top, source, counters, number]
        command = memory.inside([str(word) for word in words])
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)

    rng = random.Random(1)
    readers = [start(n) for n in range(READERS)]
    begun = time.monotonic()
    seconds = float(os.environ.get("RPDRIVE_STRESS", "600"))
    steps = reclaims = killed = 0
    known: list[tuple[object, float]] = [(None, begun)] * READERS
    counts = [0] * READERS
    try:
        with counters.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as rows:
            while (now := time.monotonic()) < begun + seconds:
                memory.reclaim()
                reclaims += 1
                time.sleep(rng.random() * 0.5)
                for n, count in enumerate(struct.unpack_from(f"={READERS}Q", rows)):
                    steps += max(count - counts[n], 0)
                    counts[n] = count
                    ready, used = processor(readers[n].pid)
                    before, since = known[n]
                    if ready or (count, used) != before:
                        known[n] = (count, used), now
                    elif now - since > PATIENCE:
                        pytest.fail(f"reader {n} waits for ever: {diagnosis(home, readers[n].pid)}")
                number = rng.randrange(READERS)
                reader = readers[number]
                assert reader.poll() is None, reader.communicate()
                if rng.random() < 0.2:
                    reader.send_signal(signal.SIGUSR1)
                elif rng.random() < 0.05:
                    reader.kill()
                    reader.communicate(timeout=PATIENCE)
                    readers[number], known[number] = start(number), (None, time.monotonic())
                    killed += 1
        (row,) = home.mounts()
        print(f"{steps} steps, {reclaims} reclaims, {killed} killed; {row['driver']}")
        assert (row["errors"], row["overdue"]) == (0, 0)
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate(timeout=PATIENCE)
        home.close()


def processor(pid: int) -> tuple[bool, int]:
    """Whether a process runs or is ready to, and the processor time that it has used (clock ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] == "R", int(fields[11]) + int(fields[12])


def diagnosis(home: Home, reader: int) -> str:
    """Where a reader waits, the requests that the drive has not answered, and where its threads are."""
    (row,) = home.mounts()
    parts = [f"{row['driver']}, errors: {row['recent_errors']}"]
    for pid in (reader, int(row["pid"])):
        for task in Path(f"/proc/{pid}/task").iterdir():
            parts.append(f"{pid} {task.name}:\n" + (task / "stack").read_text())
    return "\n".join(parts)
