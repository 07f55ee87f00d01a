"""WinFsp's DLL: file systems, their mount points and dispatchers (src/dll/fs.c, mount.c).

What would corrupt memory or crash on Windows is noted in `faults` instead, as far as it can be seen: a copy past
the end of a buffer that WinFsp lent, a file context used after Close, memory given back twice. Every test should
end with `faults` empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.kit.winfsp import listings, memory, reparse, security, win32
from tests.kit.winfsp.bindings import NULL, ffi, function, lib
from tests.kit.winfsp.layout import ARGUMENTS, FLAGS, NUMBERS, TIMEOUT_FLAGS, TIMEOUTS, types
from tests.kit.winfsp.memory import address, fault, kept, where
from tests.kit.winfsp.status import NtError, Status
from tests.kit.winfsp.volume import Parameters, Volume, current

__all__ = ["drives_taken", "faults", "ffi", "forget", "lib", "stat", "version", "volume_at", "volume_of", "volumes"]
PARTS = (listings, reparse, win32)  # each adds functions to `lib`

version = (2, 1)  # what FspVersion says: major, minor
drives_taken: set[str] = {"C:"}  # letters that something else has
faults = memory.faults
_volumes: dict[int, Volume] = {}


def volume_of(file_system: Any) -> Volume:
    return _volumes[address(file_system)]


def volume_at(mount_point: str) -> Volume | None:
    """The volume whose mount point this is: a drive, a folder or \\\\server\\share."""
    wanted = mount_point.rstrip("\\").casefold()
    for volume in _volumes.values():
        names = {volume.mount_point.casefold()} if volume.mount_point is not None else set()
        if volume.network:
            names.add("\\" + volume.parameters.prefix.casefold())
        if wanted in names:
            return volume
    return None


def volumes() -> list[Volume]:
    return list(_volumes.values())


def forget(kept: Iterable[Volume] = ()) -> None:
    """Take down what a test left mounted, all but `kept`; each is a fault."""
    for place, volume in list(_volumes.items()):
        if volume not in kept:
            fault(f"{volume.mount_point or 'a volume'} was not deleted")
            volume.stop()
            _unmount(volume)
            del _volumes[place]
    if not _volumes:
        memory.forget()


_TYPES = dict.fromkeys(ARGUMENTS[:3], "UINT16") | {"volume_creation_time": "UINT64"}
_TYPES |= {"prefix": "WCHAR *", "file_system_name": "WCHAR *"}


@function(f"void(*)(FSP_FSCTL_VOLUME_PARAMS *, {', '.join(_TYPES.get(name, 'UINT32') for name in ARGUMENTS)})")
def configure_FSP_FSCTL_VOLUME_PARAMS(volume_params: Any, *arguments: Any) -> None:
    """As winfspy's C helper does it, with its slip: it takes the two texts' room for half of what it is."""
    values = dict(zip(ARGUMENTS, arguments, strict=True))
    volume_params.Version = types.sizeof("FSP_FSCTL_VOLUME_PARAMS")
    for name, field in (NUMBERS | TIMEOUTS).items():
        setattr(volume_params, field, values[name])
    volume_params._Flags = sum(bit for name, bit in FLAGS.items() if values[name])
    volume_params._TimeoutFlags = sum(bit for name, bit in TIMEOUT_FLAGS.items() if values[name])
    for name, field, room in (("prefix", "Prefix", 192), ("file_system_name", "FileSystemName", 16)):
        fits = types.string(values[name]).encode("utf-16-le")[: room - 2]
        setattr(volume_params, field, fits.decode("utf-16-le", "ignore"))


@function("NTSTATUS(*)(PUINT32)")
def FspVersion(result: Any) -> int:
    result[0] = version[0] << 16 | version[1]
    return Status.SUCCESS


@function("NTSTATUS(*)(PWSTR, PWSTR)")
def FspFileSystemPreflight(device: Any, mount_point: Any) -> int:
    if types.string(device) not in ("WinFsp.Disk", "WinFsp.Net"):
        return Status.NO_SUCH_DEVICE
    if mount_point == NULL:
        return Status.SUCCESS
    wanted = types.string(mount_point)
    taken = wanted.upper() in _drives() if _is_drive(wanted) else Path(wanted).exists()
    return Status.OBJECT_NAME_COLLISION if taken else Status.SUCCESS


@function(
    "NTSTATUS(*)(PWSTR, const FSP_FSCTL_VOLUME_PARAMS *, const FSP_FILE_SYSTEM_INTERFACE *, FSP_FILE_SYSTEM **)"
)
def FspFileSystemCreate(device: Any, volume_params: Any, interface: Any, result: Any) -> int:
    result[0] = NULL
    parameters = Parameters(volume_params)
    if parameters.um_file_context_is_user_context2 and parameters.um_file_context_is_full_context:
        return Status.INVALID_PARAMETER
    network = types.string(device) == "WinFsp.Net"
    if not network and types.string(device) != "WinFsp.Disk":
        return Status.NO_SUCH_DEVICE
    prefix = parameters.prefix
    if network and not (prefix.startswith("\\") and prefix[1:2] not in ("", "\\") and "\\" in prefix[1:]):
        return Status.INVALID_PARAMETER
    raw = types.new("FSP_FILE_SYSTEM *")
    raw.Interface = interface
    raw.VolumeName = "\\Device\\Volume{00000000-0000-0000-0000-000000000000}"
    raw.UmFileContextIsUserContext2 = parameters.um_file_context_is_user_context2
    raw.UmFileContextIsFullContext = parameters.um_file_context_is_full_context
    kept[address(raw)] = raw
    _volumes[address(raw)] = Volume(raw, parameters, interface, network)
    result[0] = raw
    return Status.SUCCESS


@function("void(*)(FSP_FILE_SYSTEM *)")
def FspFileSystemDelete(file_system: Any) -> None:
    volume = _volumes.pop(address(file_system), None)
    if volume is None:
        fault(f"FspFileSystemDelete of a file system that is gone, at {where()}")
        return
    if volume.running:
        fault(f"FspFileSystemDelete while its dispatcher runs, at {where()}")
    _unmount(volume)
    kept.pop(address(file_system))


def _is_drive(mount_point: str) -> bool:
    return len(mount_point) == 2 and mount_point[0].isalpha() and mount_point[1] == ":"


def _drives() -> set[str]:
    mounted = (volume.mount_point for volume in _volumes.values())
    return drives_taken | {point for point in mounted if point and _is_drive(point)}


@function("NTSTATUS(*)(FSP_FILE_SYSTEM *, PWSTR)")
def FspFileSystemSetMountPoint(file_system: Any, mount_point: Any) -> int:
    return _set_mount_point(file_system, mount_point)


@function("NTSTATUS(*)(FSP_FILE_SYSTEM *, PWSTR, PSECURITY_DESCRIPTOR)")
def FspFileSystemSetMountPointEx(file_system: Any, mount_point: Any, _descriptor: Any) -> int:
    return _set_mount_point(file_system, mount_point)


def _set_mount_point(file_system: Any, mount_point: Any) -> int:
    """A letter, `*:` for the next free one from Z down, or a folder, which must not exist: it is made, and goes.

    WinFsp sets a letter that is taken before what had it; here that is refused, as FspFileSystemPreflight would.
    """
    volume = volume_of(file_system)
    if volume.mount_point is not None:
        return Status.INVALID_PARAMETER
    wanted = "*:" if mount_point == NULL else types.string(mount_point)
    if wanted == "*:":
        free = [f"{chr(letter)}:" for letter in range(ord("Z"), ord("C"), -1) if f"{chr(letter)}:" not in _drives()]
        if not free:
            return Status.NO_SUCH_DEVICE
        wanted = free[0]
    elif _is_drive(wanted):
        if wanted.upper() in _drives():
            return Status.OBJECT_NAME_COLLISION
        wanted = wanted.upper()
    else:
        if volume.network:
            return Status.NETWORK_ACCESS_DENIED
        try:
            Path(wanted).mkdir()
        except FileExistsError:
            return Status.OBJECT_NAME_COLLISION
        except FileNotFoundError:
            return Status.OBJECT_PATH_NOT_FOUND
    volume.mount_point = wanted
    text = types.new("WCHAR[]", wanted)
    kept[address(file_system)] = (kept[address(file_system)], text)
    file_system.MountPoint = text
    return Status.SUCCESS


@function("void(*)(FSP_FILE_SYSTEM *)")
def FspFileSystemRemoveMountPoint(file_system: Any) -> None:
    _unmount(volume_of(file_system))


def _unmount(volume: Volume) -> None:
    if volume.mount_point is not None and not _is_drive(volume.mount_point):
        Path(volume.mount_point).rmdir()
    volume.mount_point = None
    volume.raw.MountPoint = NULL


@function("NTSTATUS(*)(FSP_FILE_SYSTEM *, ULONG)")
def FspFileSystemStartDispatcher(file_system: Any, threads: int) -> int:
    return volume_of(file_system).start(threads)


@function("void(*)(FSP_FILE_SYSTEM *)")
def FspFileSystemStopDispatcher(file_system: Any) -> None:
    volume_of(file_system).stop()


@function("void(*)(FSP_FILE_SYSTEM *, UINT32)")
def FspFileSystemSetDebugLogF(file_system: Any, mask: int) -> None:
    file_system.DebugLog = mask


@function("void(*)(HANDLE)")
def FspDebugLogSetHandle(_handle: Any) -> None:
    pass


@function("void(*)(FSP_FILE_SYSTEM *, FSP_FILE_SYSTEM_OPERATION_GUARD_STRATEGY)")
def FspFileSystemSetOperationGuardStrategyF(file_system: Any, strategy: int) -> None:
    file_system.OpGuardStrategy = strategy


@function("FSP_FILE_SYSTEM_OPERATION_CONTEXT *(*)(void)")
def FspFileSystemGetOperationContext() -> Any:
    return getattr(current, "context", types.cast("FSP_FILE_SYSTEM_OPERATION_CONTEXT *", NULL))


@function("void(*)(FSP_FILE_SYSTEM *, FSP_FSCTL_TRANSACT_RSP *)")
def FspFileSystemSendResponse(file_system: Any, response: Any) -> None:
    volume = _volumes.get(address(file_system))
    if volume is None:
        fault(f"an answer to a file system that is deleted, at {where()}")
        return
    volume.respond(bytes(types.buffer(response, types.sizeof("FSP_FSCTL_TRANSACT_RSP"))))


@function("PWSTR(*)(FSP_FILE_SYSTEM *)")
def FspFileSystemMountPointF(file_system: Any) -> Any:
    return file_system.MountPoint


def stat(path: str | os.PathLike[str]) -> os.stat_result:
    """os.stat of a mount point, as winfspy does it after the start: it opens the volume's root."""
    from tests.kit.winfsp.caller import Caller

    volume = volume_at(os.fspath(path))
    if volume is None:
        return os.stat(path)
    try:
        Caller(volume).open("\\", access=security.FILE_READ_ATTRIBUTES).close()
    except NtError as error:
        raise WindowsError(22 if error.status == Status.CANCELLED else 5, str(error), error.status) from error
    return os.stat("/")


class WindowsError(OSError):
    """OSError as it is on Windows."""

    def __init__(self, errno: int, text: str, status: int) -> None:
        super().__init__(errno, text)
        self.winerror = {Status.CANCELLED: 995, Status.ACCESS_DENIED: 5, Status.OBJECT_NAME_NOT_FOUND: 2}.get(
            Status(status), 1117
        )
