"""Drives of this user on this machine: which are open, opening one, closing it. No passphrase is asked for."""

from __future__ import annotations

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from catalog.access.settings import private_folder
from catalog.errors import LocalError, MountFailed, NotFound, RpdriveError, UsageError
from catalog.format.records import Outcome
from catalog.jobs.local import LocalJob, LocalJobs, new_job_id
from catalog.mountinfo import mounts
from catalog.screen.text import local_time
from mount.browse.resources.local_folders import local_path
from mount.browse.resources.opened import Opened
from mount.browse.resources.restores import refuse_read_only
from mount.browse.resources.wire import id_of, path64
from mount.drivers.choice import check_system
from mount.opening import Request, open_in_background
from mount.place.mounted import FILE_SYSTEM, is_stale
from mount.place.this import PLACES
from mount.process.background import BackgroundDrive
from mount.process.control.this import CONTROL
from mount.process.files import DriveFiles
from mount.process.registry import Registry
from mount.process.rows import DriveRow, DriveStatus
from mount.process.this import PROCESSES

MOST_DRIVES = 100
_ASKING = 1.0  # seconds to wait for the answer of a drive
_ASKED = 8  # drives at once
_LEFT = 600.0  # seconds; by then no process still opens a drive in an empty folder
_ID = re.compile("[0-9a-f]{16}")
_NOT_IN_NAMES = re.compile(r"[^\w .,()+-]")


class DriveWish(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A drive to open: at `place`, a path64, or in a new folder; of one point, or of those of a machine or an item.

    `idle` and `total` close it by themselves: seconds, or text such as 30m.
    """

    place: str | None = None
    point: str | None = None
    machine: str | None = None
    item: str | None = None
    idle: int | str | None = None
    total: int | str | None = None


class DriveOpened(msgspec.Struct, kw_only=True):
    """A drive that was opened, and what one should know of it."""

    id: str
    place: str
    place64: str
    notices: list[str]


class Drive(msgspec.Struct, kw_only=True):
    """An open drive. Sizes in bytes, times in seconds, None where there is no limit, or no answer (`answers`).

    `stale`: its process has died, and nothing can be read there. `own`: it is in a folder that goes with it.
    `elsewhere`: in another namespace of mounts, e.g. a container.
    """

    id: str
    place: str
    place64: str
    point: str | None = None
    point_time: str | None = None
    machine: str | None = None
    item: str | None = None
    vault: str = ""
    since: str | None = None
    answers: bool = False
    calls: int = 0
    fetched: int = 0
    served: int = 0
    errors: int = 0
    overdue: int = 0
    idle_left: float | None = None
    total_left: float | None = None
    forgotten_until: str | None = None
    stale: bool = False
    own: bool = False
    elsewhere: bool = False


class Drives(msgspec.Struct, kw_only=True):
    """The open drives. `refused` says why none can be opened here."""

    drives: list[Drive]
    refused: str | None


# --- what can be done ---------------------------------------------------------------------------------------------


def drives(opened: Opened) -> Drives:
    """The drives of this user, of all vaults, by their places. Raises LocalError."""
    registry, places = _registry(opened), _mounted()
    found: list[Drive] = []
    alive: list[tuple[str, DriveRow]] = []
    known = set()
    for one, row, lives in registry.rows():
        known.add(one)
        if lives:
            alive.append((one, row))
        elif one in places:
            found.append(_stale(opened, one, places[one], row))
    with ThreadPoolExecutor(_ASKED, "drives") as pool:
        answers = pool.map(lambda pair: CONTROL.ask(pair[1], _ASKING), alive)
        for (one, row), status in zip(alive, answers, strict=True):
            found.append(_shown(opened, registry, one, places.get(one), row, status))
        lost = [one for one in places if one not in known]
        for one, stale in zip(lost, pool.map(lambda one: _has_died(places[one]), lost), strict=True):
            if stale:  # its row was removed since, e.g. by `rpdrive mounts`
                found.append(_stale(opened, one, places[one], None))
    _remove_left(opened, {one for one, _row in alive} | set(places))
    return Drives(drives=sorted(found, key=lambda drive: drive.place), refused=_refused(opened))


def open_drive(opened: Opened, wish: DriveWish, session: str) -> DriveOpened:
    """Open a drive, in a process of its own that outlives the page. `session` is that of the page.

    Raises AccessDenied on a page that is read-only, UsageError, NotFound, MountFailed, LocalError and StoreError.
    """
    refuse_read_only(opened)
    if sum(lives for _one, _row, lives in _registry(opened).rows()) >= MOST_DRIVES:
        raise UsageError(f"{MOST_DRIVES} drives are open already", "close one first")
    if wish.point is not None:
        opened.name(wish.point)
    machine = None if wish.machine is None else id_of(wish.machine, "machine").hex()
    item = None if wish.item is None else id_of(wish.item, "item").hex()
    place, own = (_new_place(opened, wish), True) if wish.place is None else (_given(wish.place), False)
    request = Request(
        place, wish.point, machine, item, False, os.environ.get("RPDRIVE_DRIVER") or "auto", None, 60.0,
        _duration(wish.idle), _duration(wish.total), False,
    )  # fmt: skip
    job = _job(opened, wish, place, session)
    folder = place if own and os.name != "nt" else None

    def follow(drive: BackgroundDrive) -> None:
        threading.Thread(target=_await_end, args=(opened, drive, place, folder), name="drive", daemon=True).start()

    try:
        found = open_in_background(opened.session, request, opened.vault, follow)
        job.outcome, job.target = Outcome.COMPLETED, str(found.place).encode(errors="backslashreplace").decode()
    except RpdriveError as e:
        job.error = str(e).encode(errors="backslashreplace").decode()
        _remove(folder)
        raise
    finally:
        job.finished = time.time_ns()
        with suppress(LocalError):
            LocalJobs(opened.session.settings.state).add(job)
    one = DriveFiles.id_of(found.place)
    opened.bus.publish("drive", one)
    return DriveOpened(
        id=one, place=_text(found.place), place64=path64(os.fsencode(found.place)), notices=list(found.notices)
    )


def close_drive(opened: Opened, one: str, *, lazy: bool) -> None:
    """Close a drive; with `lazy`, even if files on it are open. Raises MountFailed, NotFound and LocalError."""
    refuse_read_only(opened)
    registry = _registry(opened)
    place = _place_of(registry, one)
    CONTROL.close(registry, place, lazy=lazy)
    if _is_own(opened, place):
        _remove(place)
    opened.bus.publish("drive", one)


# --- parts ----------------------------------------------------------------------------------------------------


def _registry(opened: Opened) -> Registry:
    return Registry(opened.session.settings, PROCESSES)


def _mounted() -> dict[str, Path]:
    """The places of all drives in the table of mounts, by the ids that drives there have; {} without a table."""
    with suppress(OSError):
        places = (Path(os.fsdecode(m.place)) for m in mounts() if m.file_system == FILE_SYSTEM)
        return {DriveFiles.id_of(place): place for place in places}
    return {}


def _place_of(registry: Registry, one: str) -> Path:
    """The place of the drive with an id. The table of mounts has it in bytes, the registry only as text."""
    if not _ID.fullmatch(one):
        raise NotFound("there is no such drive", "see the list of drives")
    place = _mounted().get(one)
    if place is not None:
        return place
    row = next((row for key, row, lives in registry.rows() if key == one and lives), None)
    if row is None:
        raise NotFound("this drive is closed already", "see the list of drives")
    return Path(row.mount_point)


def _duration(given: int | str | None) -> str | None:
    """A time as `rpdrive mount` takes it."""
    if isinstance(given, int):
        return f"{given}s"
    return given or None


def _given(place: str) -> Path:
    return Path(os.fsdecode(local_path(place)))


def _new_place(opened: Opened, wish: DriveWish) -> Path:
    """A new folder for a drive, which goes with it; on Windows the next free letter. Raises LocalError."""
    if os.name == "nt":
        return Path("*")
    folder = private_folder(_own_folder(opened))
    name = "all recovery points"
    if wish.point is not None:
        point = opened.point(wish.point)
        name = f"{point.machine_name} {point.item_name} {local_time(point.time).replace(':', '.')}"
    name = _NOT_IN_NAMES.sub("_", name).strip(" .")[:60] or "drive"
    for number in range(1, 1000):
        path = folder / (name if number == 1 else f"{name} ({number})")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as e:
            raise LocalError(f"the folder {path} can't be made: {e.strerror}", "name a place for the drive") from e
        return path
    raise LocalError(f"{folder} is full of folders", "close some drives")


def _own_folder(opened: Opened) -> Path:
    """The folder of those folders. Beside rpdrive's own ones, and not in them: no drive is mounted there."""
    settings = opened.session.settings
    run, state = settings.where("run"), settings.where("state")
    beside = state if run.is_relative_to(state) else run
    return beside.with_name(f"{beside.name}-drives")


def _is_own(opened: Opened, place: Path) -> bool:
    return place.parent == Path(os.path.realpath(_own_folder(opened)))


def _remove(folder: Path | None) -> None:
    """Remove an empty folder."""
    if folder is not None:
        with suppress(OSError):
            folder.rmdir()


def _await_end(opened: Opened, drive: BackgroundDrive, place: Path, folder: Path | None) -> None:
    """Wait for the end of a drive's process, however it is closed."""
    drive.wait()
    place = Path(os.path.realpath(place))
    if folder is not None and DriveFiles.id_of(place) not in _mounted():
        _remove(folder)
    opened.bus.publish("drive", DriveFiles.id_of(place))


def _remove_left(opened: Opened, used: set[str]) -> None:
    """Remove the folders of drives that have closed while nobody was there to do so."""
    with suppress(OSError):
        for path in Path(os.path.realpath(_own_folder(opened))).iterdir():
            if DriveFiles.id_of(path) not in used and time.time() - path.lstat().st_mtime > _LEFT:
                _remove(path)


def _job(opened: Opened, wish: DriveWish, place: Path, session: str) -> LocalJob:
    """The record of the opening, which `rpdrive jobs` lists."""
    point = None if wish.point is None else opened.point(wish.point)
    return LocalJob(
        id=new_job_id(), kind="drive", vault=opened.vault.id.hex(), point=wish.point or "",
        machine="" if point is None else point.machine_name, item="" if point is None else point.item_name,
        target=str(place).encode(errors="backslashreplace").decode(), started=time.time_ns(), finished=0, bytes=0,
        files=0, warnings=[], warning_count=0, outcome=Outcome.FAILED, session=session,
    )  # fmt: skip


def _has_died(place: Path) -> bool:
    """Whether a drive without a row has lost its process. A drive that doesn't answer is not waited for."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(is_stale(place)), name="stale", daemon=True)
    thread.start()
    thread.join(_ASKING)
    return bool(found) and found[0]


def _refused(opened: Opened) -> str | None:
    if opened.read_only:
        return "this page only shows and downloads"
    try:
        check_system()
        PLACES.check(allow_other=False)
    except MountFailed as e:
        return f"{e}: {e.advice}" if e.advice else str(e)
    return None


# --- as the page shows it ---------------------------------------------------------------------------------------


def _shown(
    opened: Opened, registry: Registry, one: str, place: Path | None, row: DriveRow, status: DriveStatus | None
) -> Drive:
    at = place if place is not None else Path(row.mount_point)
    drive = Drive(id=one, place=_text(at), place64=path64(os.fsencode(at)), own=_is_own(opened, at))
    _tell(drive, row)
    drive.elsewhere = registry.is_elsewhere(row)
    if status is not None:
        drive.answers = True
        drive.calls, drive.fetched, drive.served = status.calls, status.bytes_fetched, status.bytes_served
        drive.errors, drive.overdue = status.errors, status.overdue
        drive.idle_left, drive.total_left = status.idle_left, status.total_left
        drive.forgotten_until = status.forgotten_until
    return drive


def _stale(opened: Opened, one: str, place: Path, row: DriveRow | None) -> Drive:
    drive = Drive(id=one, place=_text(place), place64=path64(os.fsencode(place)), own=_is_own(opened, place))
    drive.stale = True
    if row is not None:
        _tell(drive, row)
    return drive


def _tell(drive: Drive, row: DriveRow) -> None:
    """Take what the registry knows."""
    drive.point, drive.point_time = row.point, _local(row.point_time)
    drive.machine, drive.item = row.machine, row.item
    drive.vault, drive.since = row.vault, _local(row.since)


def _local(iso: str | None) -> str | None:
    """A time as a drive tells it, in UTC, with this machine's offset."""
    try:
        return None if iso is None else datetime.fromisoformat(iso).astimezone().isoformat()
    except (ValueError, OverflowError):
        return None


def _text(place: Path) -> str:
    return os.fsencode(place).decode(errors="replace")
