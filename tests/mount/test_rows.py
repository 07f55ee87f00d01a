"""What processes know of each other's drives: rows of the registry and answers about a drive's status, as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from catalog.access.settings import Settings
from mount.process.posix import PosixProcesses
from mount.process.registry import Registry
from mount.process.rows import DriveInfo, DriveRow, DriveStatus, Endpoint, from_json, info_json, to_json

# As the version before wrote them.
WRITTEN: dict[str, Any] = {
    "mount_point": "/mnt/drive", "pid": 4711, "process_start": "123456", "vault": "file:///vault",
    "vault_id": "00ff", "point": None, "point_time": None, "machine": "box", "item": None,
    "since": "2026-11-27T00:00:00Z", "socket": "/run/drive.sock",
}  # fmt: skip
ANSWERED: dict[str, Any] = {
    "mount_point": "R:", "pid": 4711, "vault": "file:///vault", "vault_id": "00ff", "point": "ab",
    "point_time": "2026-11-26T00:00:00Z", "machine": "box", "item": "data", "since": "2026-11-27T00:00:00Z",
    "fold": True, "idle": 1800.0, "idle_left": 12.5, "for": None, "for_left": None, "uptime": 3,
    "store_requests": 5, "bytes_fetched": 6, "bytes_served": 7, "calls": 8, "errors": 1, "overdue": 2,
    "recent_errors": [{"time": 1, "path": "/a", "kind": "Damaged", "message": "…"}],
    "driver": {"name": "winfsp", "handles": 2}, "cache": {"store_requests": 5, "disk": None},
}  # fmt: skip


def test_rows_written_before_are_read() -> None:
    row = from_json(DriveRow, json.dumps(WRITTEN).encode())
    assert row is not None and to_json(row) == WRITTEN
    assert (row.machine, row.socket, row.pipe, row.fold) == ("box", "/run/drive.sock", None, None)
    least = from_json(DriveRow, b'{"mount_point": "R:", "pid": 1, "process_start": null}')
    assert least is not None and (least.point, least.pipe, least.token) == (None, None, None)


def test_answers_have_the_fields_they_had() -> None:
    status = from_json(DriveStatus, json.dumps(ANSWERED).encode())
    assert status is not None and to_json(status) == ANSWERED
    assert list(to_json(status)) == list(ANSWERED)
    assert (status.total, status.idle_left, status.fold) == (None, 12.5, True)


def test_fields_of_a_later_version_are_ignored() -> None:
    row = from_json(DriveRow, json.dumps(WRITTEN | {"colour": "blue"}).encode())
    assert row is not None and to_json(row) == WRITTEN


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b"null", b"\xff", b'{"pid": 1, "process_start": "1"}',
        json.dumps(WRITTEN | {"pid": "4711"}).encode(), json.dumps(WRITTEN | {"machine": ["box"]}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_row_is_none(data: bytes) -> None:
    assert from_json(DriveRow, data) is None


def test_the_list_of_drives_shows_no_way_in() -> None:
    row = from_json(DriveRow, json.dumps(WRITTEN | {"pipe": "name", "token": "00"}).encode())
    assert row is not None
    assert set(info_json(row)) == {known.name for known in fields(DriveInfo)} - {"fold"}


def test_a_drive_of_a_living_process_is_found(tmp_path: Path) -> None:
    registry = Registry(Settings({"RPDRIVE_HOME": str(tmp_path)}), PosixProcesses())
    info = DriveInfo(mount_point="/mnt/drive", pid=os.getpid(), vault="file:///vault")
    registry.add(Path("/mnt/drive"), info, Endpoint(socket="/run/drive.sock"))
    row = registry.drive_at(Path("/mnt/drive"))
    assert row is not None
    assert (row.vault, row.socket) == (info.vault, "/run/drive.sock")
    assert row.process_start == PosixProcesses().started(os.getpid())
    (path,) = (tmp_path / "state" / "drives").iterdir()
    path.write_text(json.dumps(to_json(row) | {"process_start": "1"}))  # the id was used again
    assert registry.drives() == [] and not path.exists()
