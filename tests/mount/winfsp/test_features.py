"""What the stand-in for WinFsp offers beyond what memfs needs: links, streams, answers that come later."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.kit.winfsp import security, standin
from tests.kit.winfsp.bindings import ffi, lib
from tests.kit.winfsp.caller import Caller
from tests.kit.winfsp.reparse import RELATIVE, TAG_MOUNT_POINT, TAG_SYMLINK
from tests.kit.winfsp.status import NtError, Status
from tests.kit.winfsp.values import (
    CREATE,
    DIRECTORY,
    NON_DIRECTORY_FILE,
    OPEN_REPARSE_POINT,
    REPARSE_POINT,
    Reparsed,
    Stream,
)
from tests.kit.winfsp.volume import FOREVER, IRP_TIMEOUT_DEBUG, Kind, Volume

ALL_MAY = security.from_sddl("O:BAG:BAD:P(A;;FA;;;WD)")
_BY_NAME = "NTSTATUS(FSP_FILE_SYSTEM *, PVOID, PWSTR, BOOLEAN, PVOID, PSIZE_T)"


def symlink(target: str, flags: int = RELATIVE) -> bytes:
    path = target.encode("utf-16-le")
    return struct.pack("<IHHHHHHI", TAG_SYMLINK, 12 + len(path), 0, 0, len(path), 0, len(path), flags) + path


def fails(status: Status, do: Callable[[], object]) -> None:
    with pytest.raises(NtError) as caught:
        do()
    assert caught.value.status == status


def make(tree: dict[str, Any], **parameters: Any) -> Any:
    """A mounted file system of these paths: None is a folder, bytes a file or a stream, [reparse data] a link.

    Its class is made here, for winfspy can be imported only once the stand-in is there.
    """
    from winfspy import BaseFileSystemOperations, FileSystem, NTStatusError
    from winfspy.plumbing import NTSTATUS

    class Tree(BaseFileSystemOperations):  # type: ignore[misc]  # winfspy has no types
        def __init__(self) -> None:
            super().__init__()
            self.tree = tree | {"\\": None}
            self.file_system = ffi.NULL
            self.by_name = ffi.callback(_BY_NAME, self._reparse_by_name)

        def find(self, name: str) -> Any:
            if name not in self.tree:
                index = ffi.new("UINT32 *")
                text = ffi.new("WCHAR[]", name)
                if lib.FspFileSystemFindReparsePoint(self.file_system, self.by_name, ffi.NULL, text, index):
                    raise NTStatusError(NTSTATUS(Status.REPARSE))
                raise NTStatusError(NTSTATUS.STATUS_OBJECT_NAME_NOT_FOUND)
            return self.tree[name]

        def get_volume_info(self) -> dict[str, Any]:
            return {"total_size": 1, "free_size": 0, "volume_label": "tree"}

        def get_security_by_name(self, name: str) -> tuple[int, Any, int]:
            return self.info(name, self.find(name))["file_attributes"], ALL_MAY, len(ALL_MAY)

        def info(self, name: str, value: Any) -> dict[str, int]:
            is_link = isinstance(value, list)
            attributes = DIRECTORY if value is None else REPARSE_POINT if is_link else 0x80
            size = len(value) if isinstance(value, bytes) else 0
            tag = int.from_bytes(value[0][:4], "little") if is_link else 0
            return {"file_attributes": attributes, "file_size": size, "reparse_tag": tag}

        def open(self, name: str, create_options: int, granted_access: int) -> Any:
            self.find(name)
            return [name]

        def close(self, context: Any) -> None:
            pass

        def get_file_info(self, context: Any) -> dict[str, int]:
            return self.info(context[0], self.tree[context[0]])

        def read(self, context: Any, offset: int, length: int) -> bytes:
            content: bytes = self.tree[context[0]]
            if offset >= len(content):
                raise NTStatusError(NTSTATUS.STATUS_END_OF_FILE)
            return content[offset : offset + length]

        def _reparse_by_name(
            self, _system: Any, _context: Any, name: Any, _folder: Any, buffer: Any, size: Any
        ) -> int:
            value = self.tree.get(ffi.string(name), b"") if ffi.string(name) in self.tree else ...
            if value is ...:
                return Status.OBJECT_NAME_NOT_FOUND
            if not isinstance(value, list):
                return Status.NOT_A_REPARSE_POINT
            if buffer != ffi.NULL:
                ffi.memmove(buffer, value[0], len(value[0]))
                size[0] = len(value[0])
            return Status.SUCCESS

        def resolve_reparse_points(
            self, name: str, index: int, last: bool, block: Any, buffer: Any, size: Any
        ) -> None:
            text = ffi.new("WCHAR[]", name)
            status = lib.FspFileSystemResolveReparsePoints(
                self.file_system, self.by_name, ffi.NULL, text, index, last, block, buffer, size
            )
            if status != Status.REPARSE:
                raise NTStatusError(NTSTATUS(status))

        def get_reparse_point(self, context: Any, name: str, buffer: Any, size: Any) -> None:
            ffi.memmove(buffer, self.tree[context[0]][0], len(self.tree[context[0]][0]))
            size[0] = len(self.tree[context[0]][0])

        def ll_get_stream_info(self, context: Any, buffer: Any, length: int, count: Any) -> int:
            name = ffi.from_handle(context)[0]
            streams = {path.partition(":")[2]: path for path in self.tree if path.partition(":")[0] == name}
            for stream, path in sorted(streams.items()):
                encoded = stream.encode("utf-16-le")
                size = len(self.tree[path])
                raw = ffi.from_buffer(struct.pack("<H6xQQ", 24 + len(encoded), size, size) + encoded)
                if not lib.FspFileSystemAddStreamInfo(
                    ffi.cast("FSP_FSCTL_STREAM_INFO *", raw), buffer, length, count
                ):
                    return 0
            lib.FspFileSystemAddStreamInfo(ffi.NULL, buffer, length, count)
            return 0

    operations = Tree()
    system = FileSystem(
        "T:", operations, um_file_context_is_user_context2=1, case_sensitive_search=1, reparse_points=1,
        named_streams=1, post_cleanup_when_modified_only=1, **parameters,
    )  # fmt: skip
    operations.file_system = system._file_system_ptr[0]
    system.start()
    return system


@pytest.fixture
def mounted(winfsp: None) -> Iterator[Callable[..., Caller]]:
    systems = []

    def mount(tree: dict[str, Any], **parameters: Any) -> Caller:
        systems.append(make(tree, **parameters))
        return Caller(the_volume())

    yield mount
    for system in systems:
        system.stop()


def the_volume() -> Volume:
    volume = standin.volume_at("T:")
    assert volume is not None
    return volume


# --- links ---


def test_links_are_followed_within_the_volume(mounted: Callable[..., Caller]) -> None:
    caller = mounted(
        {
            "\\a": b"content",
            "\\f": None,
            "\\f\\b": b"deeper",
            "\\f\\🎈": [symlink("b")],
            "\\link": [symlink("a")],
            "\\again": [symlink(".\\f\\..\\link")],
            "\\folder": [symlink("f")],
            "\\up": [symlink("folder\\..\\a")],
            "\\rooted": [symlink("\\f\\b")],
            "\\nowhere": [symlink("f\\c")],
            "\\round": [symlink("round")],
        }
    )
    assert caller.read("\\link") == b"content"
    assert caller.read("\\again") == b"content"
    assert caller.read("\\folder\\b") == b"deeper"
    assert caller.read("\\folder\\🎈") == b"deeper"
    assert caller.read("\\up") == b"content"
    assert caller.read("\\rooted") == b"deeper"
    fails(Status.OBJECT_NAME_NOT_FOUND, lambda: caller.read("\\nowhere"))
    fails(Status.OBJECT_NAME_NOT_FOUND, lambda: caller.read("\\folder\\nothing"))
    fails(Status.REPARSE_POINT_NOT_RESOLVED, lambda: caller.read("\\round"))
    assert caller.stat("\\link").is_reparse_point
    assert caller.stat("\\folder\\🎈").is_reparse_point
    assert not caller.stat("\\link", follow=True).is_reparse_point
    with caller.open("\\link", options=OPEN_REPARSE_POINT) as handle:
        assert handle.reparse_point() == symlink("a")


def test_links_that_lead_away_are_windows_business(mounted: Callable[..., Caller]) -> None:
    junction = (
        struct.pack("<IHHHHHH", TAG_MOUNT_POINT, 8 + 12, 0, 0, 8, 10, 0) + "\\??\\".encode("utf-16-le") + bytes(4)
    )
    caller = mounted(
        {
            "\\away": [symlink("\\??\\C:\\x", flags=0)],
            "\\junction": [junction],
            "\\tag": [struct.pack("<IHH", 0x80000099, 2, 0) + b"ab"],
        }
    )
    with pytest.raises(Reparsed) as caught:
        caller.read("\\away\\below")
    assert caught.value.tag == TAG_SYMLINK
    assert caught.value.data == symlink("\\??\\C:\\x\\below", flags=0)
    with pytest.raises(Reparsed) as caught:
        caller.read("\\junction\\below")
    assert caught.value.tag == TAG_MOUNT_POINT
    assert caught.value.data == junction[:6] + struct.pack("<H", 2 * len("\\below")) + junction[8:]
    with pytest.raises(Reparsed) as caught:
        caller.read("\\tag")
    assert caught.value.tag == 0x80000099


# --- streams ---


def test_streams_are_told_and_read(mounted: Callable[..., Caller]) -> None:
    caller = mounted({"\\a": b"main", "\\a:one": b"first", "\\a:zwei ß": b"2" * 9000, "\\f": None, "\\f:s": b"f"})
    with caller.open("\\a") as handle:
        assert handle.streams() == [Stream("", 4, 4), Stream("one", 5, 5), Stream("zwei ß", 9000, 9000)]
    with caller.open("\\f") as handle:
        assert handle.is_directory
    assert caller.read("\\a:one") == b"first"
    assert caller.read("\\a:zwei ß:$DATA") == b"2" * 9000
    assert caller.read("\\a::$DATA") == b"main"
    assert caller.read("\\f:s") == b"f"
    fails(Status.OBJECT_NAME_NOT_FOUND, lambda: caller.read("\\a:two"))
    fails(Status.OBJECT_NAME_NOT_FOUND, lambda: caller.read("\\b:one"))
    for path in ("\\a:", "\\a:one:$INDEX", "\\a:x\\b"):
        fails(Status.OBJECT_NAME_INVALID, partial(caller.read, path))


def test_winfspys_own_listing_of_streams_cannot_work(winfsp: None) -> None:
    """Why a driver has to bring its own ll_get_stream_info."""
    from winfspy import BaseFileSystemOperations

    operations = BaseFileSystemOperations()
    handle = ffi.new_handle(object())
    status = operations.ll_get_stream_info(handle, ffi.NULL, 0, ffi.NULL)
    assert status == Status.UNEXPECTED_IO_ERROR


# --- answers that come later ---


class Later:
    """Answers reads from a thread of its own, when it is told to."""

    def __init__(self, system: Any) -> None:
        self.system = system
        self.asked = threading.Event()
        self.held: list[tuple[int, Any, Any, int, int]] = []
        operations = system.operations
        operations.ll_read = self.read

    def read(self, context: Any, buffer: Any, offset: int, length: int, count: Any) -> int:
        request = lib.FspFileSystemGetOperationContext().Request
        _version, _size, kind, hint = struct.unpack_from("<HHIQ", ffi.buffer(request, 16))
        assert kind == Kind.READ
        self.held.append((hint, ffi.from_handle(context), buffer, offset, length))
        self.asked.set()
        return int(Status.PENDING)

    def answer(self, content: bytes, status: int = 0) -> None:
        hint, _context, buffer, offset, length = self.held.pop(0)
        part = content[offset : offset + length]
        ffi.memmove(buffer, part, len(part))
        response = ffi.new("FSP_FSCTL_TRANSACT_RSP *")
        size = ffi.sizeof("FSP_FSCTL_TRANSACT_RSP")
        ffi.buffer(response, 24)[:] = struct.pack("<HHIQII", 0, size, Kind.READ, hint, len(part), status)
        lib.FspFileSystemSendResponse(self.system._file_system_ptr[0], response)


@pytest.mark.parametrize("timeout", [0, FOREVER])
def test_a_read_answered_later_by_another_thread(winfsp: None, timeout: int) -> None:
    system = make({"\\a": b"content"}, file_info_timeout=timeout)
    later = Later(system)
    with Caller(the_volume()).open("\\a") as handle:
        got: list[bytes] = []
        reading = threading.Thread(target=lambda: got.append(handle.read(2, 100)))
        reading.start()
        assert later.asked.wait(30)
        assert Caller(the_volume()).stat("\\a").size == 7  # no thread of the dispatcher is held
        later.answer(b"content")
        reading.join(30)
        assert got == [b"ntent"]
    assert the_volume().left_pending == 1
    system.stop()


def test_an_answer_after_the_time_out_comes_to_nobody(winfsp: None) -> None:
    system = make({"\\a": b"content"})
    later = Later(system)
    with Caller(the_volume()).open("\\a") as handle:
        patience = the_volume().parameters.irp_timeout
        the_volume().parameters.irp_timeout = IRP_TIMEOUT_DEBUG
        fails(Status.CANCELLED, lambda: handle.read(0, 7))
        the_volume().parameters.irp_timeout = patience
        with pytest.raises(MemoryError):
            later.answer(b"content")
    system.stop()
    assert "whose request was given up" in standin.faults[0]
    standin.faults.clear()


def test_stopping_does_not_wait_for_what_was_left_pending(winfsp: None) -> None:
    system = make({"\\a": b"content"})
    later = Later(system)
    handle = Caller(the_volume()).open("\\a")
    statuses: list[int] = []

    def read() -> None:
        try:
            handle.read(0, 7)
        except NtError as error:
            statuses.append(error.status)

    reading = threading.Thread(target=read)
    reading.start()
    assert later.asked.wait(30)
    system.stop()
    reading.join(30)
    assert statuses == [Status.CANCELLED]
    with pytest.raises(MemoryError):
        later.answer(b"content")
    assert "given up" in standin.faults[0]
    standin.faults.clear()


def test_only_reads_writes_and_listings_may_be_answered_later(winfsp: None) -> None:
    system = make({"\\a": b""})
    system.operations.ll_open = lambda *_arguments: int(Status.PENDING)
    fails(Status.INTERNAL_ERROR, lambda: Caller(the_volume()).open("\\a"))
    system.stop()
    assert "STATUS_PENDING for CREATE" in standin.faults[0]
    standin.faults.clear()


# --- directory buffers ---


def test_a_directory_buffer_sorts_and_goes_on_after_a_name(winfsp: None) -> None:
    place, status = ffi.new("PVOID *"), ffi.new("NTSTATUS *")
    assert lib.FspFileSystemAcquireDirectoryBuffer(place, 1, status) == 1
    names = ["b", "..", "ä", "a", ".", "B"]
    for name in names:
        raw = name.encode("utf-16-le")
        block = ffi.from_buffer(bytearray(struct.pack("<H102x", 104 + len(raw)) + raw))
        entry = ffi.cast("FSP_FSCTL_DIR_INFO *", block)
        assert lib.FspFileSystemFillDirectoryBuffer(place, entry, status) == 1
    lib.FspFileSystemReleaseDirectoryBuffer(place)
    assert lib.FspFileSystemAcquireDirectoryBuffer(place, 0, status) == 0

    def listed(marker: str | None, room: int) -> list[str]:
        buffer, count = ffi.new("char[]", room), ffi.new("ULONG *")
        after = ffi.NULL if marker is None else ffi.new("WCHAR[]", marker)
        lib.FspFileSystemReadDirectoryBuffer(place, after, buffer, room, count)
        from tests.kit.winfsp.listing import entries

        raw = bytes(ffi.buffer(buffer, count[0]))
        return [entry[104:].decode("utf-16-le") for entry in entries(raw, 104)]

    assert listed(None, 4096) == [".", "..", "B", "a", "b", "ä", ""]  # the last is the end mark
    assert listed("a", 4096) == ["b", "ä", ""]
    assert listed("aa", 230) == ["b", "ä", ""]
    assert listed("a", 120) == ["b"]
    lib.FspFileSystemDeleteDirectoryBuffer(place)
    assert place[0] == ffi.NULL


# --- what is refused ---


def test_what_a_file_system_lacks_is_an_invalid_request(winfsp: None) -> None:
    system = make({"\\a": b""})
    system._file_system_interface.Read = ffi.NULL
    with Caller(the_volume()).open("\\a") as handle:
        fails(Status.INVALID_DEVICE_REQUEST, lambda: handle.read(0, 1))
    system.stop()


def test_a_raised_error_is_an_io_error_and_not_a_success(winfsp: None) -> None:
    system = make({"\\a": b"content"})
    system.operations.read = lambda *_arguments: 1 / 0
    with Caller(the_volume()).open("\\a") as handle:
        fails(Status.UNEXPECTED_IO_ERROR, lambda: handle.read(0, 1))
    fails(Status.UNEXPECTED_IO_ERROR, lambda: Caller(the_volume()).open("\\b", disposition=CREATE))
    system.stop()


def test_a_name_that_differs_in_more_than_case_is_refused(winfsp: None) -> None:
    system = make({"\\a": b"content"})
    volume = the_volume()
    volume.parameters.set -= {"case_sensitive_search"}
    said = "\\A"
    plain = type(system.operations).ll_open

    def ll_open(name: Any, options: int, access: int, context: Any, info: Any) -> int:
        status: int = plain(system.operations, name, options, access, context, info)
        opened = ffi.cast("FSP_FSCTL_OPEN_FILE_INFO *", info)
        raw = said.encode("utf-16-le")
        ffi.memmove(opened.NormalizedName, raw, len(raw))
        opened.NormalizedNameSize = len(raw)
        return status

    system.operations.ll_open = ll_open
    with Caller(volume).open("\\a", options=NON_DIRECTORY_FILE) as handle:
        assert handle.final_name == "\\A"
    said = "\\b"
    fails(Status.OBJECT_NAME_INVALID, lambda: Caller(volume).open("\\a"))
    system.stop()
