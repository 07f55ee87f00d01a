"""Snapshots of ZFS datasets by the program zfs: those of one pool are of one instant.

A snapshot carries the job's mark as a user property of its own (one that is inherited says nothing: a dataset hands
it on to all its snapshots, also to those of others). It is read through a private mount, not through .zfs,
which mounts it for everybody. Written by the manual, and tried on a double of zfs only.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from backup.snapshot import mounting, tool
from backup.snapshot.base import OTHER, Found, Mark, Options, Snapshot, Volume, tag_in
from backup.snapshot.tool import Run
from catalog.errors import SnapshotFailed, SnapshotLost
from catalog.screen.text import safe_text

PROPERTY = "rpdrive:mark"
SECONDS = 60.0  # for a listing or a removal
BUSY = 20.0  # seconds that a removal is tried again while something uses the snapshot
_PAUSE = 0.5
_MOST = 20_000  # lines of a listing
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.: \-]*(/[A-Za-z0-9_.:][A-Za-z0-9_.: \-]*)*")
_IS_GONE = ("does not exist", "could not find any snapshots")
_DENIED = ("permission denied", "Permission denied")

Open = Callable[[str, Volume], int]


def opened(snapshot: str, volume: Volume) -> int:
    """A descriptor of the folder `volume.root` in a snapshot, mounted for it alone. Raises SnapshotFailed."""
    try:
        top = mounting.mounted(snapshot.encode(), "zfs", {}, read_only=True)
        try:
            return mounting.folder_below(top, volume.root)
        finally:
            os.close(top)
    except OSError as e:
        raise mounting.failed(f"the snapshot {snapshot} can't be opened", e) from e


class Zfs:
    """The Provider of ZFS. A dataset that is not mounted has no files to save, so none of its properties matter."""

    name = "zfs"

    def __init__(self, options: Options, open_snapshot: Open = opened, run: Run = tool.run) -> None:
        self._options = options
        self._open = open_snapshot
        self._run = run
        self._numbers = count()  # of the instants of one job

    def takes(self, volume: Volume) -> str:
        if volume.file_system != "zfs":
            return OTHER
        if tool.missing("zfs"):
            return "the program zfs can't be found: install zfsutils-linux"
        if os.geteuid() != 0:
            # `zfs allow` can delegate making and removing, but Linux lets root alone mount what was made.
            return "only root can mount a snapshot of ZFS on Linux, whatever `zfs allow` grants"
        try:
            self._dataset(volume)
        except SnapshotFailed as e:
            return str(e)
        return ""

    def _dataset(self, volume: Volume) -> str:
        """The dataset that a volume is, as zfs shows it. Raises SnapshotFailed."""
        dataset = os.fsdecode(volume.source)
        if "@" in dataset:
            raise SnapshotFailed(f"{safe_text(dataset)} is itself a snapshot")
        if not _DATASET.fullmatch(dataset) or len(dataset) > 255:
            raise SnapshotFailed(f"{safe_text(dataset)} is no name of a dataset")
        ended = self._run(
            "zfs", "list", "-H", "-p", "-t", "filesystem", "-o", "name,mounted", dataset, seconds=SECONDS
        )
        if ended.code or list(_lines(ended.output, 2)) != [[dataset, "yes"]]:
            raise SnapshotFailed(f"zfs doesn't show the dataset {dataset} as mounted: {ended.said or 'no such'}")
        return dataset

    def within(self, volume: Volume) -> list[Volume]:
        return []

    def make(self, volumes: list[Volume], mark: Mark) -> list[Snapshot]:
        end = time.monotonic() + self._options.timeout
        pools: dict[str, list[str]] = {}
        datasets = [self._dataset(volume) for volume in volumes]
        for dataset in dict.fromkeys(datasets):
            pools.setdefault(dataset.partition("/")[0], []).append(dataset)
        made: dict[str, _Made] = {}  # by dataset: it may be mounted at several places
        label = f"{mark.tag}-{next(self._numbers)}"
        try:
            for members in pools.values():
                names = [f"{dataset}@{label}" for dataset in members]
                mark.note(Zfs.name, *names)
                instant = time.time_ns()
                for dataset, name in zip(members, names, strict=True):
                    made[dataset] = _Made(self._run, mark, name, instant)
                # Several names of one pool: one transaction, all or none.
                ended = self._run(
                    "zfs", "snapshot", "-o", f"{PROPERTY}={mark.tag}", *names,
                    seconds=max(end - time.monotonic(), 1.0), changes=True,
                )  # fmt: skip
                if ended.code:
                    raise SnapshotFailed(f"zfs could make no snapshot of {', '.join(members)}: {_told(ended)}")
                for dataset in members:
                    made[dataset].find()
        except tool.StillRuns:
            raise  # it may yet make them: the mark keeps their names, and the next start removes them
        except BaseException:
            for each in made.values():
                _remove_quietly(each)
            raise
        return [ZfsSnapshot(volume, made[d], self._open) for volume, d in zip(volumes, datasets, strict=True)]

    def found(self) -> list[Found]:
        if tool.missing("zfs"):
            return []
        ended = self._run(
            "zfs", "get", "-H", "-p", "-t", "snapshot", "-s", "local", "-o", "name,value", PROPERTY, seconds=SECONDS
        )
        if ended.code:
            raise SnapshotFailed(f"zfs can't list snapshots: {_told(ended)}")
        shown = []
        for name, value in _lines(ended.output, 2):
            tag = tag_in(value)
            if tag and tag == value and _is_snapshot(name):
                shown.append(Found(Zfs.name, name, tag, name.partition("@")[0], self._created(name)))
        return shown

    def _created(self, name: str) -> int:
        ended = self._run("zfs", "get", "-H", "-p", "-o", "value", "creation", name, seconds=SECONDS)
        text = ended.output.decode(errors="replace").strip()
        return int(text) * 10**9 if not ended.code and re.fullmatch(r"[0-9]{1,12}", text) else 0

    def reaches(self, name: str) -> bool:
        """Whether the dataset is there: its pool may be exported."""
        if not _is_snapshot(name) or tool.missing("zfs"):
            return False
        dataset = name.partition("@")[0]
        ended = self._run("zfs", "list", "-H", "-o", "name", dataset, seconds=SECONDS)
        return ended.code == 0 and list(_lines(ended.output, 1)) == [[dataset]]

    def remove(self, found: Found) -> None:
        if _is_snapshot(found.name) and tag_in(found.tag) == found.tag != "":
            _remove(self._run, found.name, found.tag)


class _Made:
    """A snapshot of ours: dataset@name. `instant`: ns, UTC, from before it was made."""

    def __init__(self, run: Run, mark: Mark, name: str, instant: int) -> None:
        self.name = name
        self.instant = instant
        self._run = run
        self._mark = mark
        self._guid = ""
        self._is_gone = False

    def find(self) -> None:
        """Raises SnapshotFailed if it isn't there."""
        self._guid = self._shown()
        if not self._guid:
            raise SnapshotFailed(f"zfs made no snapshot {self.name}")

    def check(self) -> None:
        """Raises SnapshotLost if it is gone. It does not fill up: the pool keeps what it refers to."""
        if self._shown() != self._guid:
            raise SnapshotLost(f"the snapshot {self.name} was removed while it was read")

    def _shown(self) -> str:
        ended = self._run(
            "zfs", "list", "-H", "-p", "-t", "snapshot", "-o", "name,guid", self.name, seconds=SECONDS
        )
        rows = list(_lines(ended.output, 2))
        return rows[0][1] if not ended.code and len(rows) == 1 and rows[0][0] == self.name else ""

    def remove(self) -> None:
        if not self._is_gone:
            _remove(self._run, self.name, self._mark.tag)
            self._mark.forget(Zfs.name, self.name)
            self._is_gone = True


class ZfsSnapshot:
    """The Snapshot of a volume; those of one dataset share what was made."""

    def __init__(self, volume: Volume, made: _Made, open_snapshot: Open) -> None:
        self.volume = volume
        self.name = made.name
        self.time = made.instant
        self._made = made
        self._open = open_snapshot
        self._device = 0

    @property
    def device(self) -> int:
        return self._device

    def open(self) -> int:
        descriptor = self._open(self.name, self.volume)
        self._device = os.fstat(descriptor).st_dev
        return descriptor

    def block_device(self) -> Path | None:
        return None

    def check(self) -> None:
        self._made.check()

    def remove(self) -> None:
        self._made.remove()


def _remove(run: Run, name: str, tag: str) -> None:
    """Destroy one snapshot, if it carries this mark itself; no effect if it is gone. Raises SnapshotFailed.

    Never with -r, -R or -f: a clone of it, or a hold on it, is somebody's.
    """
    end = time.monotonic() + BUSY
    while True:
        marked = run(
            "zfs", "get", "-H", "-p", "-t", "snapshot", "-o", "value,source", PROPERTY, name, seconds=SECONDS
        )
        if marked.code == 0 and list(_lines(marked.output, 2)) != [[tag, "local"]]:
            return  # not ours, or no longer
        ended = marked
        if marked.code == 0:
            ended = run("zfs", "destroy", name, seconds=SECONDS, changes=True)
        if ended.code == 0 or any(words in ended.said for words in _IS_GONE):
            return
        if "busy" not in ended.said or time.monotonic() > end:
            break
        time.sleep(_PAUSE)
    raise SnapshotFailed(
        f"the snapshot {name} can't be removed: {_told(ended)}",
        "see what uses it (zfs holds, mount, clones), then run `rpdrive snapshots --remove`",
    )


def _remove_quietly(made: _Made) -> None:
    """Remove after a failure, which is the error to report: what stays is removed at the next start."""
    try:
        made.remove()
    except SnapshotFailed:
        pass


def _told(ended: tool.Ended) -> str:
    """Why zfs failed, with what to do where a right is missing."""
    said = ended.said or f"exit code {ended.code}"
    if any(words in said for words in _DENIED):
        return f"{said} (zfs allow … snapshot,destroy,mount,userprop)"
    return said


def _is_snapshot(name: str) -> bool:
    dataset, _, label = name.partition("@")
    return (
        len(name) <= 255
        and _DATASET.fullmatch(dataset) is not None
        and re.fullmatch(r"[A-Za-z0-9_.:\-]+", label) is not None
    )


def _lines(output: bytes, fields: int) -> Iterator[list[str]]:
    """The rows of a listing by -H, which has tabs between the fields; malformed ones are left out."""
    for line in output.decode(errors="replace").split("\n")[:_MOST]:
        row = line.split("\t")
        if line and len(row) == fields:
            yield row
