"""Logical volumes as `lvs` reports them: parsed, bounded, and found by their ids.

An id of LVM is 32 letters and digits. /sys/dev/block/MAJOR:MINOR/dm/uuid has those of the volume group and the
volume behind a device, `LVM-<group><volume>`; `lvs` prints each with hyphens. Names are for people and for command
lines; a volume is recognised by its ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from backup.snapshot.tool import Run, read_small
from catalog.errors import SnapshotFailed

SECONDS = 60.0  # for a report; it waits while another LVM command changes the volume group
_MOST = 20_000  # volumes in a report
_FIELDS = (
    "vg_name,vg_uuid,vg_clustered,vg_shared,vg_exported,vg_partial,vg_extent_size,vg_free_count,lv_name,lv_uuid,"
    "lv_size,lv_layout,lv_role,lv_tags,lv_time,lv_active,lv_kernel_major,lv_kernel_minor,lv_snapshot_invalid,"
    "lv_merging,lv_health_status,data_percent,metadata_percent,origin,origin_uuid,pool_lv_uuid,metadata_lv_uuid,"
    "thin_id"
)
_CONFIG = 'report { list_item_separator="," time_format="%s" compact_output=0 }'
_NAME = re.compile(r"[A-Za-z0-9_+.][A-Za-z0-9_+.\-]{0,126}")
_PLAIN = re.compile(r"[A-Za-z0-9]{32}")
_HYPHENS = (6, 10, 14, 18, 22, 26, 32)  # ends of the groups of an id: 6-4-4-4-4-4-6
_IN_USE = ("in use", "busy", "Unable to deactivate", "not deactivated")


class LogicalVolume(NamedTuple):
    """A logical volume at the time of the report. Sizes are bytes, percentages None where LVM knows none."""

    group: str  # name of the volume group
    group_id: str
    name: str
    id: str
    size: int
    layout: frozenset[str]  # lvs -o lv_layout, e.g. linear, thin, cache, raid1
    role: frozenset[str]  # lvs -o lv_role, e.g. public, origin, thicksnapshot
    tags: frozenset[str]
    time: int  # ns, UTC; 0 if it is not known
    is_active: bool
    number: str  # of its device, e.g. "253:4"; empty if it is not active
    invalid: bool  # a thick snapshot that has filled up
    is_merging: bool
    health: str
    data: float | None
    metadata: float | None
    origin: str
    origin_id: str
    pool_id: str
    metadata_id: str
    thin_id: int | None
    # of its volume group
    extent: int
    free: int  # extents
    faults: frozenset[str]  # some of clustered, shared, exported, partial

    @property
    def path(self) -> str:
        """Its name for people and tools: GROUP/NAME."""
        return f"{self.group}/{self.name}"

    @property
    def is_snapshot(self) -> bool:
        return "snapshot" in self.role


class _Row(msgspec.Struct):
    vg_name: str = ""
    vg_uuid: str = ""
    vg_clustered: str = ""
    vg_shared: str = ""
    vg_exported: str = ""
    vg_partial: str = ""
    vg_extent_size: str = ""
    vg_free_count: str = ""
    lv_name: str = ""
    lv_uuid: str = ""
    lv_size: str = ""
    lv_layout: str = ""
    lv_role: str = ""
    lv_tags: str = ""
    lv_time: str = ""
    lv_active: str = ""
    lv_kernel_major: str = ""
    lv_kernel_minor: str = ""
    lv_snapshot_invalid: str = ""
    lv_merging: str = ""
    lv_health_status: str = ""
    data_percent: str = ""
    metadata_percent: str = ""
    origin: str = ""
    origin_uuid: str = ""
    pool_lv_uuid: str = ""
    metadata_lv_uuid: str = ""
    thin_id: str = ""


class _Part(msgspec.Struct):
    lv: list[msgspec.Raw] = []
    vg: list[dict[str, str]] = []


class _Report(msgspec.Struct):
    report: list[_Part]


def volumes(run: Run, select: str = "") -> list[LogicalVolume]:
    """The visible logical volumes that a selection (lvmreport(7)) finds. Raises SnapshotFailed."""
    arguments = [
        "--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "--config", _CONFIG,
        "--options", _FIELDS,
    ]  # fmt: skip
    ended = run("lvs", *arguments, *(["--select", select] if select else []), seconds=SECONDS)
    report = _decoded(ended.output, ended.said or f"exit code {ended.code}", "lvs")
    rows = [row for part in report.report for row in part.lv][:_MOST]
    if ended.code and not rows:
        raise SnapshotFailed(f"lvs failed: {ended.said or f'exit code {ended.code}'}")
    # A row for each segment, as thin_id is a segment's: a volume that is in several places has several.
    return list({volume.id: volume for volume in map(_volume, rows) if volume is not None}.values())


def groups(run: Run) -> set[str]:
    """The names of the volume groups that are attached. Raises SnapshotFailed."""
    ended = run("vgs", "--reportformat", "json", "--options", "vg_name", seconds=SECONDS)
    report = _decoded(ended.output, ended.said or f"exit code {ended.code}", "vgs")
    names = {row.get("vg_name", "") for part in report.report for row in part.vg[:_MOST]}
    return {name for name in names if is_name(name)}


def by_id(run: Run, *ids: str) -> dict[str, LogicalVolume]:
    """The volumes with these ids, by id; those that are not there are left out. Raises SnapshotFailed."""
    select = " || ".join(f'lv_uuid="{hyphened(i)}"' for i in ids)
    return {volume.id: volume for volume in volumes(run, select) if volume.id in ids}


def with_tag(group: str, name: str, tag: str) -> str:
    """The selection of one volume that carries a tag."""
    return f'vg_name="{group}" && lv_name="{name}" && lv_tags={{"{tag}"}}'


def behind(number: str, sys: Path = Path("/sys")) -> tuple[str, str] | None:
    """The ids of the volume group and the logical volume that a block device ("253:0") is; None if it is none."""
    found = re.fullmatch(
        r"LVM-([A-Za-z0-9]{32})([A-Za-z0-9]{32})", read_small(sys / "dev/block" / number / "dm/uuid")
    )
    return (found[1], found[2]) if found is not None else None


def device(volume: LogicalVolume, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> Path | None:
    """The device of an active volume, as the kernel names it (/dev/dm-4), which needs no udev."""
    if not volume.number or behind(volume.number, sys) != (volume.group_id, volume.id):
        return None
    try:
        name = (sys / "dev/block" / volume.number).resolve(strict=True).name
    except OSError:
        return None
    return dev / name if re.fullmatch(r"dm-[0-9]{1,7}", name) else None


def is_name(text: str) -> bool:
    """Whether LVM allows a name: nothing else goes into a command line or a selection."""
    return _NAME.fullmatch(text) is not None and text not in {".", ".."}


def hyphened(plain: str) -> str:
    """An id as LVM prints it."""
    return "-".join(plain[start:end] for start, end in zip((0, *_HYPHENS), _HYPHENS, strict=False))


def is_in_use(said: str) -> bool:
    """Whether a tool failed since something has the volume open."""
    return any(words in said for words in _IN_USE)


def names(volumes: Iterable[LogicalVolume]) -> str:
    """Volumes for people."""
    return ", ".join(volume.path for volume in volumes)


def _decoded(output: bytes, said: str, tool: str) -> _Report:
    try:
        return msgspec.json.decode(output, type=_Report)
    except msgspec.MsgspecError as e:
        raise SnapshotFailed(f"{tool} gave no report that can be read: {said}") from e


def _volume(raw: msgspec.Raw) -> LogicalVolume | None:
    """A volume from a row of the report; None if the row is malformed."""
    try:
        row = msgspec.json.decode(raw, type=_Row)
        faults = {
            "clustered": row.vg_clustered, "shared": row.vg_shared, "exported": row.vg_exported,
            "partial": row.vg_partial,
        }  # fmt: skip
        volume = LogicalVolume(
            group=row.vg_name, group_id=_id(row.vg_uuid), name=row.lv_name.strip("[]"), id=_id(row.lv_uuid),
            size=_number(row.lv_size), layout=_words(row.lv_layout), role=_words(row.lv_role),
            tags=_words(row.lv_tags), time=_number(row.lv_time, "0") * 10**9, is_active=row.lv_active == "active",
            number=_device_number(row), invalid=row.lv_snapshot_invalid == "1", is_merging=row.lv_merging == "1",
            health=row.lv_health_status[:64], data=_percent(row.data_percent),
            metadata=_percent(row.metadata_percent), origin=row.origin.strip("[]"),
            origin_id=_id(row.origin_uuid, optional=True), pool_id=_id(row.pool_lv_uuid, optional=True),
            metadata_id=_id(row.metadata_lv_uuid, optional=True),
            thin_id=_number(row.thin_id) if row.thin_id else None, extent=_number(row.vg_extent_size),
            free=_number(row.vg_free_count), faults=frozenset(n for n, value in faults.items() if value == "1"),
        )  # fmt: skip
    except (msgspec.MsgspecError, ValueError):
        return None
    if not is_name(volume.group) or not is_name(volume.name) or (volume.origin and not is_name(volume.origin)):
        return None
    return volume


def _id(text: str, optional: bool = False) -> str:
    plain = text.replace("-", "")
    if optional and not plain:
        return ""
    if not _PLAIN.fullmatch(plain):
        raise ValueError(text)
    return plain


def _number(text: str, missing: str = "") -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text or missing):
        raise ValueError(text)
    return int(text or missing)


def _percent(text: str) -> float | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", text):
        raise ValueError(text)
    return float(text)


def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in text.split(",") if word)


def _device_number(row: _Row) -> str:
    if row.lv_kernel_major in {"", "-1"} or row.lv_kernel_minor in {"", "-1"}:
        return ""
    return f"{_number(row.lv_kernel_major)}:{_number(row.lv_kernel_minor)}"
