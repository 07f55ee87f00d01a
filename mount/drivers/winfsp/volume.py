"""The parameters and the label of a drive's volume."""

from __future__ import annotations

import zlib
from typing import Any

from catalog.names import time_in_name
from catalog.windows.times import to_filetime
from mount.drivers.winfsp.tree import UNIT
from mount.place.spelling import Place
from mount.view.nodes import NEGATIVE_SHORT, SHORT, View
from mount.view.point import PointView

FOREVER = 0xFFFFFFFF  # ms; the only file_info_timeout with which Windows caches data and reads ahead
IRP_TIMEOUT = 600  # seconds, the maximum, after which WinFsp's driver gives up a request
DISPATCHERS = 16  # threads of WinFsp; they don't wait for reads and listings
MOST_SECONDS = 480.0  # time limit of a request: well below IRP_TIMEOUT
LABEL_UNITS = 32  # UTF-16
FILE_SYSTEM = "rpdrive"  # at most 7 characters: winfspy truncates longer names


def label(view: View) -> str:
    """The machine and the date of a point, in at most 32 UTF-16 units."""
    if not isinstance(view, PointView):
        return "Recovery points"
    date = time_in_name(view.point.time)
    room = LABEL_UNITS - len(date) - 1
    name = view.point.machine_name
    while len(name.encode("utf-16-le", "replace")) // 2 > room:
        name = name[:-1]
    return f"{name} {date}"


def volume_parameters(view: View, place: Place) -> dict[str, Any]:
    """The parameters of a volume; with longer timeouts if nothing on it can change."""
    point = view.point if isinstance(view, PointView) else None
    listings = FOREVER if point is not None else NEGATIVE_SHORT * 1000
    return {
        "sector_size": 512,
        "sectors_per_allocation_unit": UNIT // 512,
        "max_component_length": 255,
        "volume_creation_time": to_filetime(point.time) if point is not None else 0,
        "volume_serial_number": zlib.crc32(point.id) if point is not None else zlib.crc32(place.prefix.encode()),
        "irp_timeout": IRP_TIMEOUT * 1000,
        "read_only_volume": 1,
        "case_sensitive_search": 0 if view.folds else 1,
        "case_preserved_names": 1,
        "unicode_on_disk": 1,
        "persistent_acls": 1,
        "reparse_points": 1,
        "named_streams": 1,
        "pass_query_directory_file_name": 1,
        "um_file_context_is_user_context2": 1,
        "file_info_timeout": FOREVER,
        "dir_info_timeout_valid": 1,
        "dir_info_timeout": listings,
        "volume_info_timeout_valid": 1,
        "volume_info_timeout": FOREVER if point is not None else SHORT * 1000,
        "security_timeout_valid": 1,
        "security_timeout": FOREVER,
        "stream_info_timeout_valid": 1,
        "stream_info_timeout": FOREVER,
        "prefix": place.prefix,
        "file_system_name": FILE_SYSTEM,
    }
