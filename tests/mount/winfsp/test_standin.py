"""The stand-in for WinFsp, proven with a file system that is not ours: winfspy's own memfs."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from tests.kit.winfsp import security, standin
from tests.kit.winfsp.caller import Caller
from tests.kit.winfsp.names import matches, win32_path
from tests.kit.winfsp.status import NtError, Status
from tests.kit.winfsp.values import (
    CREATE,
    DELETE_ON_CLOSE,
    DIRECTORY,
    DIRECTORY_FILE,
    NO_INTERMEDIATE_BUFFERING,
    NON_DIRECTORY_FILE,
    OPEN_IF,
    OVERWRITE,
)
from tests.kit.winfsp.volume import FOREVER, IRP_TIMEOUT_DEBUG

ALL_MAY = "O:BAG:BAD:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;WD)"


class Memfs:
    """A mounted memfs, and a caller of it."""

    def __init__(self, **parameters: Any) -> None:
        from winfspy import FileSystem
        from winfspy.memfs import InMemoryFileSystemOperations

        self.operations = InMemoryFileSystemOperations("memfs")
        defaults = {"case_sensitive_search": 1, "um_file_context_is_user_context2": 1, "file_info_timeout": 1000}
        self.system = FileSystem("M:", self.operations, **defaults | parameters)

    def __enter__(self) -> Memfs:
        self.system.start()
        volume = standin.volume_at("M:")
        assert volume is not None
        self.volume = volume
        self.caller = Caller(volume)
        return self

    def __exit__(self, *_error: object) -> None:
        self.system.stop()

    def held(self) -> dict[str, bytes | None]:
        """What memfs itself holds: paths and contents, None for a folder."""
        found = {}
        for path, entry in self.operations._entries.items():
            if path.parts[1:]:
                is_folder = entry.attributes & DIRECTORY
                found[str(path)] = None if is_folder else bytes(entry.data[: entry.file_size])
        return found

    def seen(self) -> dict[str, bytes | None]:
        """The same, as a program sees it."""
        return {
            path: None if info.is_directory else self.caller.read(path, chunk=5000)
            for path, info in self.caller.walk()
        }


@pytest.fixture
def memfs(winfsp: None) -> Iterator[Memfs]:
    with Memfs() as mounted:
        yield mounted


def fails(status: Status, do: Callable[[], object]) -> None:
    with pytest.raises(NtError) as caught:
        do()
    assert caught.value.status == status


# --- memfs through the caller, and in its own memory ---


@pytest.mark.parametrize("cached", [False, True])
def test_a_tree_written_by_programs_is_what_memfs_holds(winfsp: None, cached: bool) -> None:
    chance = random.Random(7)
    expected: dict[str, bytes | None] = {}
    timeouts = {"file_info_timeout": FOREVER} if cached else {}
    with Memfs(**timeouts) as memfs:
        caller = memfs.caller
        for number in range(12):
            folder = f"\\folder {number}"
            caller.make_folder(folder)
            expected[folder] = None
            for name in range(30):
                path = f"{folder}\\файл {name}.{chance.choice(['txt', 'BIN', 'ä'])}"
                content = chance.randbytes(chance.choice([0, 1, 511, 4096, 4097, 20000]))
                caller.write(path, content, chunk=7000)
                expected[path] = content
        for path in [path for path, content in expected.items() if content is not None][::7]:
            moved = str(PureWindowsPath(path).parent / ("moved " + PureWindowsPath(path).name))
            caller.rename(path, moved)
            expected[moved] = expected.pop(path)
        for path in [path for path, content in expected.items() if content is not None][::9]:
            caller.delete(path)
            del expected[path]
        assert len(expected) > 300
        assert memfs.held() == expected
        assert memfs.seen() == expected


def test_a_file_replaced_has_only_the_new_content(memfs: Memfs) -> None:
    memfs.caller.write("\\a", b"x" * 9000)
    memfs.caller.write("\\a", b"short")
    assert memfs.caller.read("\\a") == b"short"
    assert memfs.held() == {"\\a": b"short"}


def test_volume_info_and_label(memfs: Memfs) -> None:
    info = memfs.caller.volume_info()
    assert (info.total, info.label) == (1024 * 16 * 1024 * 1024, "memfs")
    memfs.caller.set_volume_label("Ünïcode 🎈")
    assert memfs.caller.volume_info().label == "Ünïcode 🎈"


def test_times_attributes_and_security_are_kept(memfs: Memfs) -> None:
    caller = memfs.caller
    given = security.from_sddl(ALL_MAY)
    caller.open("\\a", disposition=CREATE, attributes=0x2, descriptor=given).close()
    access = security.FILE_GENERIC_READ | security.FILE_GENERIC_WRITE | security.WRITE_DAC
    with caller.open("\\a", access=access) as handle:
        handle.set_times(created=130000000000000001, written=130000000000000002)
        changed = security.from_sddl("D:(A;;FR;;;WD)(A;;FA;;;BU)")
        assert handle.security() == given
        handle.set_security(security.DACL_INFORMATION, changed)
        assert security.to_sddl(handle.security()) == "O:BAG:BAD:(A;;FR;;;WD)(A;;FA;;;BU)"
    info = caller.stat("\\a")
    assert (info.attributes & 0x2, info.created, info.written) == (2, 130000000000000001, 130000000000000002)


def test_a_folder_that_holds_something_is_not_deleted(memfs: Memfs) -> None:
    memfs.caller.make_folder("\\f")
    memfs.caller.write("\\f\\a", b"")
    fails(Status.DIRECTORY_NOT_EMPTY, lambda: memfs.caller.delete("\\f"))
    memfs.caller.delete("\\f\\a")
    memfs.caller.delete("\\f")
    assert memfs.held() == {}


def test_what_is_read_only_is_not_written(memfs: Memfs) -> None:
    memfs.caller.write("\\a", b"1")
    memfs.operations.read_only = True
    fails(Status.MEDIA_WRITE_PROTECTED, lambda: memfs.caller.write("\\a", b"2"))
    fails(Status.MEDIA_WRITE_PROTECTED, lambda: memfs.caller.make_folder("\\f"))
    fails(Status.MEDIA_WRITE_PROTECTED, lambda: memfs.caller.rename("\\a", "\\b"))
    memfs.operations.read_only = False
    assert memfs.held() == {"\\a": b"1"}


# --- opening ---


def test_names_that_the_kernel_refuses(memfs: Memfs) -> None:
    for path in ["a", "\\a\\\\b", "\\a*", "\\a/b", "\\a:b", "\\" + "x" * 256, "\\\x01", '\\"']:
        fails(Status.OBJECT_NAME_INVALID, partial(memfs.caller.stat, path))
    memfs.caller.write("\\" + "ö" * 255, b"")
    fails(Status.OBJECT_NAME_INVALID, lambda: memfs.caller.stat("\\" + "🎈" * 128))  # two units each
    fails(Status.OBJECT_NAME_NOT_FOUND, lambda: memfs.caller.stat("\\" + "🎈" * 127))


def test_files_and_folders_are_told_apart(memfs: Memfs) -> None:
    caller = memfs.caller
    caller.make_folder("\\f")
    caller.write("\\a", b"")
    fails(Status.NOT_A_DIRECTORY, lambda: caller.open("\\a", options=DIRECTORY_FILE))
    fails(Status.FILE_IS_A_DIRECTORY, lambda: caller.open("\\f", options=NON_DIRECTORY_FILE))
    fails(Status.OBJECT_NAME_INVALID, lambda: caller.open("\\a\\"))
    fails(Status.NOT_A_DIRECTORY, lambda: caller.open("\\a\\b", disposition=CREATE))
    fails(Status.OBJECT_PATH_NOT_FOUND, lambda: caller.open("\\x\\b", disposition=CREATE))
    fails(Status.OBJECT_NAME_COLLISION, lambda: caller.open("\\a", disposition=CREATE))
    fails(Status.OBJECT_NAME_NOT_FOUND, lambda: caller.open("\\b", disposition=OVERWRITE))
    fails(Status.ACCESS_DENIED, lambda: caller.open("\\", disposition=CREATE))
    fails(Status.INVALID_PARAMETER, lambda: caller.open("\\f").read(0, 10))
    caller.open("\\f\\").close()
    caller.open("\\b", disposition=OPEN_IF, options=NON_DIRECTORY_FILE | DELETE_ON_CLOSE).close()
    assert set(memfs.held()) == {"\\f", "\\a"}


def test_access_is_what_the_descriptor_grants(memfs: Memfs) -> None:
    caller, stranger = memfs.caller, Caller(memfs.volume, security.STRANGER)
    mine = f"O:{caller.token.user}G:BUD:P(A;;FA;;;{caller.token.user})"
    for path, options in (("\\f", DIRECTORY_FILE), ("\\f\\a", 0), ("\\b", 0)):
        descriptor = security.from_sddl(mine)
        caller.open(path, disposition=CREATE, options=options, descriptor=descriptor, access=0x1F01FF).close()
    assert caller.read("\\f\\a") == b""
    fails(Status.ACCESS_DENIED, lambda: stranger.read("\\f\\a"))
    fails(Status.ACCESS_DENIED, lambda: stranger.names("\\f"))
    # The folder that it is in lets everybody see a file's attributes, and delete it, but not read it.
    assert stranger.stat("\\b").size == 0
    fails(Status.ACCESS_DENIED, lambda: stranger.stat("\\f\\a"))
    # Most may pass through a folder that they may not list.
    everyone = security.from_sddl(mine + "(A;;FR;;;WD)")
    caller.open("\\f\\open", disposition=CREATE, descriptor=everyone).close()
    assert stranger.read("\\f\\open") == b""
    held_back = Caller(memfs.volume, security.STRANGER._replace(traverse=False))
    fails(Status.ACCESS_DENIED, lambda: held_back.read("\\f\\open"))
    with caller.open("\\b", access=security.MAXIMUM_ALLOWED) as handle:
        assert handle.granted == security.FILE_ALL_ACCESS
    with caller.open("\\b", access=security.FILE_READ_ATTRIBUTES) as handle:
        fails(Status.ACCESS_DENIED, lambda: handle.read(0, 1))


def test_a_long_security_descriptor_comes_whole(memfs: Memfs) -> None:
    aces = "".join(f"(A;;FR;;;S-1-5-21-1-2-3-{number})" for number in range(1000, 1200))
    long = security.from_sddl(f"O:BAG:BAD:P(A;;FA;;;WD){aces}")
    assert len(long) > 1024
    with memfs.caller.open("\\a", disposition=CREATE, descriptor=long) as handle:
        assert handle.security() == long
    assert memfs.caller.stat("\\a").size == 0


# --- reading ---


def test_reads_before_at_and_over_the_end(memfs: Memfs) -> None:
    content = bytes(range(256)) * 20
    memfs.caller.write("\\a", content)
    with memfs.caller.open("\\a") as handle:
        assert handle.read(0, 1) == content[:1]
        assert handle.read(5100, 20) == content[5100:]
        assert handle.read(5000, 65536) == content[5000:]
        assert handle.read(0, 1 << 24) == content
        assert handle.read(9999, 0) == b""
        for offset in (5120, 5121, 1 << 40):
            fails(Status.END_OF_FILE, partial(handle.read, offset, 1))


def test_where_the_kernel_caches_whole_pages_are_read(winfsp: None) -> None:
    with Memfs(file_info_timeout=FOREVER) as memfs:
        memfs.caller.write("\\a", b"abc" * 3000)
        asked = []
        read = memfs.operations.read

        def watched(context: Any, *where: int) -> Any:
            asked.append(where)
            return read(context, *where)

        memfs.operations.read = watched
        with memfs.caller.open("\\a") as handle:
            assert handle.read(4000, 200) == (b"abc" * 3000)[4000:4200]
            assert handle.read(8990, 9000) == (b"abc" * 3000)[8990:]
            fails(Status.END_OF_FILE, lambda: handle.read(9000, 1))
        with memfs.caller.open("\\a", options=NO_INTERMEDIATE_BUFFERING) as handle:
            assert handle.read(4000, 9) == (b"abc" * 3000)[4000:4009]
        assert asked == [(0, 8192), (8192, 4096), (4000, 9)]


def test_many_threads_read_and_list_at_once(memfs: Memfs) -> None:
    contents = {f"\\f{number}": random.Random(number).randbytes(3000 * number) for number in range(24)}
    for path, content in contents.items():
        memfs.caller.write(path, content)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(8):
            path = chance.choice(list(contents))
            assert Caller(memfs.volume).read(path, chunk=1 << chance.randint(9, 20)) == contents[path]
            assert len(Caller(memfs.volume).names("\\", length=chance.choice([200, 2000]))) == 24

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work, seed) for seed in range(8)]:
            future.result()


# --- listing ---


@pytest.mark.parametrize("timeout", [0, 1000])
def test_a_listing_is_whole_whatever_the_buffers(winfsp: None, timeout: int) -> None:
    names = sorted([f"{number:03} with a name" for number in range(120)] + ["🎈.txt", "ß"])
    with Memfs(file_info_timeout=timeout) as memfs:
        memfs.caller.make_folder("\\f")
        for name in names:
            memfs.caller.write(f"\\f\\{name}", b"")
        for length, kind in itertools.product((140, 1000, 65536), ("names", "both", "id_both")):
            found = [entry.name for entry in memfs.caller.list("\\f", length=length, kind=kind)]
            assert sorted(found) == sorted([".", "..", *names])
        assert memfs.caller.names("\\") == ["f"]


def test_a_listing_goes_on_where_it_stopped_and_begins_anew(memfs: Memfs) -> None:
    for number in range(9):
        memfs.caller.write(f"\\{number}", b"")
    with memfs.caller.open("\\", options=DIRECTORY_FILE) as handle:
        one = [handle.query_directory(single=True)[0].name for _ in range(3)]
        assert one == ["0", "1", "2"]
        assert [entry.name for entry in handle.query_directory(length=250)] == ["3", "4"]
        assert [entry.name for entry in handle.query_directory(restart=True)] == list("012345678")
        fails(Status.NO_MORE_FILES, handle.query_directory)
        # Another pattern counts only when the listing restarts.
        assert [entry.name for entry in handle.query_directory("7*", restart=True)] == ["7"]
        fails(Status.NO_MORE_FILES, lambda: handle.query_directory("8*"))
        assert [entry.name for entry in handle.query_directory("8", restart=True)] == ["8"]
        fails(Status.NO_MORE_FILES, handle.query_directory)
        fails(Status.NO_SUCH_FILE, lambda: handle.query_directory("x*", restart=True))


def test_patterns(memfs: Memfs) -> None:
    for name in ["a.txt", "ab.txt", "b.TXT", "c", "d.tar.gz"]:
        memfs.caller.write(f"\\{name}", b"")
    names = memfs.caller.names
    assert names("\\", "*.txt") == ["a.txt", "ab.txt"]
    assert names("\\", "?.txt") == ["a.txt"]
    assert names("\\", "*.*") == ["a.txt", "ab.txt", "b.TXT", "d.tar.gz"]
    assert names("\\", "c") == ["c"]
    assert memfs.caller.find("\\d.tar.gz").info.size == 0
    fails(Status.NO_SUCH_FILE, lambda: memfs.caller.find("\\nothing"))


def test_dos_patterns_match_as_they_do_on_windows() -> None:
    assert matches("<.gz", "d.tar.gz", False)
    assert not matches("<.tar", "d.tar.gz", False)
    assert matches('c"', "c", False)
    assert matches('c"txt', "c.txt", False)
    assert matches("c>>", "c", False)
    assert matches("c>>.txt", "cd.txt", False)
    assert not matches("c??", "c", False)
    assert matches("ÄB*", "äbc", True)


def test_where_case_does_not_matter_the_kernel_asks_in_upper_case(winfsp: None) -> None:
    """winfspy answers with the name as it was asked for: found by its name, a file changes it."""
    with Memfs(case_sensitive_search=0) as memfs:
        memfs.caller.write("\\Name", b"")  # memfs compares as Windows does
        assert memfs.caller.names("\\", "na*") == ["Name"]
        assert memfs.caller.find("\\name").name == "NAME"
        with memfs.caller.open("\\name") as handle:
            assert handle.final_name == "\\NAME"


def test_what_win32_makes_of_names() -> None:
    assert win32_path("\\a. \\b..\\c .txt ") == "\\a\\b\\c .txt"
    assert win32_path("\\a\\..\\.\\b/c") == "\\b\\c"
    assert win32_path("\\a\\nul.txt") is None
    assert win32_path("\\a\\com1") is None
    assert win32_path("\\a\\com0") == "\\a\\com0"


# --- the dispatcher ---


def test_time_outs_are_corrected_as_the_kernel_does(winfsp: None) -> None:
    for given, taken in (
        (0, 300_000),
        (1, 300_000),
        (IRP_TIMEOUT_DEBUG, 142),
        (60_000, 60_000),
        (700_000, 300_000),
    ):
        with Memfs(irp_timeout=given) as memfs:
            assert memfs.volume.parameters.irp_timeout == taken


def test_an_unanswered_request_is_given_up(winfsp: None) -> None:
    with Memfs() as memfs:
        memfs.caller.write("\\a", b"content")
        go_on = threading.Event()
        read = memfs.operations.read

        def slow(context: Any, *where: int) -> Any:
            go_on.wait(30)
            return read(context, *where)

        memfs.operations.read = slow
        with memfs.caller.open("\\a") as handle:
            patience = memfs.volume.parameters.irp_timeout
            memfs.volume.parameters.irp_timeout = IRP_TIMEOUT_DEBUG
            fails(Status.CANCELLED, lambda: handle.read(0, 7))
            memfs.volume.parameters.irp_timeout = patience
            go_on.set()
            assert handle.read(0, 7) == b"content"
    # The buffer of the request that was given up is gone when the answer comes; on Windows that ends the process.
    assert [text for text in standin.faults if "given up" in text]
    standin.faults.clear()


def test_stopping_waits_for_what_is_under_way_and_answers_nobody(winfsp: None) -> None:
    with Memfs() as memfs:
        memfs.caller.write("\\a", b"content")
        inside, go_on, ended = threading.Event(), threading.Event(), threading.Event()
        read = memfs.operations.read

        def slow(context: Any, *where: int) -> Any:
            inside.set()
            go_on.wait(30)
            ended.set()
            return read(context, *where)

        memfs.operations.read = slow
        handle = memfs.caller.open("\\a")
        with ThreadPoolExecutor(2) as pool:
            reading = pool.submit(handle.read, 0, 7)
            assert inside.wait(30)
            stopping = pool.submit(memfs.volume.stop)
            assert not stopping.done()
            go_on.set()
            stopping.result(30)
            assert ended.is_set()
            fails(Status.CANCELLED, lambda: reading.result(30))
        fails(Status.CANCELLED, lambda: memfs.caller.stat("\\a"))


def test_operations_are_guarded_as_winfsp_does(winfsp: None) -> None:
    """Listings and openings share; making files is alone; reads are free of all that."""
    with Memfs() as memfs:
        memfs.caller.write("\\a", b"content")
        inside, go_on = threading.Event(), threading.Event()
        listing = memfs.operations.read_directory

        def slow(*arguments: Any) -> Any:
            inside.set()
            go_on.wait(30)
            return listing(*arguments)

        memfs.operations.read_directory = slow
        handle = memfs.caller.open("\\a")
        with ThreadPoolExecutor(3) as pool:
            names = pool.submit(memfs.caller.names, "\\")
            assert inside.wait(30)
            assert handle.read(0, 3) == b"con"
            memfs.caller.open("\\a").close()
            made = pool.submit(memfs.caller.write, "\\b", b"")
            with pytest.raises(TimeoutError):
                made.result(0.05)
            go_on.set()
            made.result(30)
            assert names.result(30) == ["a"]
        handle.close()


# --- mount points ---


def test_mount_points(winfsp: None, tmp_path: Path) -> None:
    from winfspy import FileSystem, WinFSPyError
    from winfspy.memfs import InMemoryFileSystemOperations

    def system(place: str, **parameters: Any) -> Any:
        return FileSystem(
            place, InMemoryFileSystemOperations("x"), um_file_context_is_user_context2=1, **parameters
        )

    folder = tmp_path / "drive"
    mounted = system(str(folder))
    mounted.start()
    assert folder.is_dir()
    other = system(str(folder))
    with pytest.raises(WinFSPyError, match="COLLISION"):
        other.start()
    standin.lib.FspFileSystemDelete(other._file_system_ptr[0])
    mounted.stop()
    assert not folder.exists()

    network = system("N:", prefix="\\server\\share")
    network.start()
    volume = standin.volume_at("\\\\server\\share")
    assert volume is not None
    assert volume is standin.volume_at("N:")
    network.stop()
    with pytest.raises(WinFSPyError, match="INVALID_PARAMETER"):
        system("N:", prefix="\\server")
    free = system("*:")
    standin.lib.FspFileSystemSetMountPoint(free._file_system_ptr[0], "*:")
    assert standin.volume_at("Z:") is not None
    standin.lib.FspFileSystemDelete(free._file_system_ptr[0])


def test_a_long_name_of_the_file_system_is_cut_as_winfspy_cuts_it(winfsp: None) -> None:
    with Memfs(file_system_name="longer than that") as memfs:
        assert memfs.volume.parameters.file_system_name == "longer "


# --- what would end the process on Windows ---


def test_more_bytes_than_were_asked_for_are_noticed(winfsp: None) -> None:
    with Memfs() as memfs:
        memfs.caller.write("\\a", b"content")
        memfs.operations.read = lambda _context, _offset, length: bytes(length + 1)
        with memfs.caller.open("\\a") as handle:
            fails(Status.UNEXPECTED_IO_ERROR, lambda: handle.read(0, 3))
    assert "4 bytes copied into a buffer with room for 3" in standin.faults[0]
    standin.faults.clear()


def test_one_context_for_all_handles_of_a_file_is_closed_too_often(winfsp: None) -> None:
    """winfspy gives each handle a context of its own, which the volume has to be told."""
    with Memfs(um_file_context_is_user_context2=0) as memfs:
        memfs.caller.write("\\a", b"content")
        first, second = memfs.caller.open("\\a"), memfs.caller.open("\\a")
        first.close()
        second.close()
    assert any("a handle used that is not alive" in text for text in standin.faults)
    standin.faults.clear()


def test_freeing_what_was_not_allocated_is_noticed(winfsp: None) -> None:
    standin.lib.LocalFree(standin.ffi.new("char[]", 8))
    assert "given back" in standin.faults[0]
    standin.faults.clear()


def test_a_volume_left_behind_is_noticed(winfsp: None) -> None:
    Memfs().system.start()
    standin.forget()
    assert standin.faults == ["M: was not deleted"]
    standin.faults.clear()


# --- security descriptors, by winfspy's own class ---


def test_winfspys_own_test_of_security_descriptors(winfsp: None) -> None:
    from winfspy.plumbing import SecurityDescriptor

    descriptor = SecurityDescriptor.from_string(ALL_MAY)
    assert descriptor.is_valid()
    assert descriptor.to_string() == ALL_MAY
    with pytest.raises(RuntimeError):
        SecurityDescriptor.from_string("X:nothing")


def test_a_descriptor_is_laid_out_as_windows_does() -> None:
    raw = security.from_sddl("O:BAG:SYD:PAI(A;OICI;0x1200a9;;;WD)")
    assert raw.hex(" ", 4) == (
        "01000494 30000000 40000000 00000000 14000000 "  # header: owner, group, no SACL, DACL
        "02001c00 01000000 00031400 a9001200 01010000 00000001 00000000 "  # ACL, ACE, S-1-1-0
        "01020000 00000005 20000000 20020000 "  # S-1-5-32-544
        "01010000 00000005 12000000"  # S-1-5-18
    )
    assert security.to_sddl(raw) == "O:BAG:SYD:PAI(A;OICI;0x1200a9;;;WD)"


@pytest.mark.parametrize(
    ("dacl", "desired", "granted"),
    [
        ("", 0x1, None),
        ("(A;;FR;;;WD)", 0x1, 0x1),
        ("(A;;GR;;;WD)", 0x80000000, 0x120089),
        ("(D;;FR;;;BU)(A;;FA;;;WD)", 0x1, None),
        ("(A;;FA;;;WD)(D;;FR;;;BU)", 0x1, 0x1),  # what is granted first stays granted
        ("(A;IO;FA;;;WD)", 0x1, None),
        ("(A;;FR;;;BA)", 0x1, None),
        ("(A;;FR;;;WD)", security.MAXIMUM_ALLOWED, 0x120089),
        ("(A;;FR;;;WD)", 0x3, None),
    ],
)
def test_access_check(dacl: str, desired: int, granted: int | None) -> None:
    raw = security.from_sddl(f"O:SYG:SYD:{dacl}")
    assert security.granted(raw, security.Token(), desired) == granted
