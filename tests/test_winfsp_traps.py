"""What goes wrong with WinFsp and winfspy unless it is known: each of it, on the stand-in for WinFsp."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from cache.reader import Reader, WouldWait
from catalog.errors import Damaged, MountFailed
from catalog.format.trees import NodeKind
from catalog.format.windows import Stream, Windows
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.metered import MeteredStore
from catalog.store.wrapper import Request, StoreWrapper
from catalog.vault import Vault, create_vault
from catalog.windows.reparse import Link
from mount import ntstatus
from mount.all_points import AllPointsView
from mount.ntstatus import status_of
from mount.view import PointView
from mount.winfsp_reparse import symlink
from tests.drives import PASSPHRASE, QUICK_KDF, Maker, add_machine, add_point, eventually, noise
from tests.faults import UnreachableStore
from tests.winfsp_drives import Served, serving

# winfspy is loaded by now.
from mount import winfsp, winfsp_waiting  # isort: skip
from mount.winfsp_operations import Operations  # isort: skip
from mount.winfsp_place import Place  # isort: skip
from mount.winfsp_volume import FOREVER, label, volume_parameters  # isort: skip
from mount.winfsp_waiting import TookTooLong, Waiting  # isort: skip
from tests.winfsp import security, standin  # isort: skip
from tests.winfsp.status import NtError  # isort: skip

SECOND = 10**9
AT = 1_790_000_000 * SECOND
MANY = 20_000
CLOUD = b"\x1a\x90\x00\x90\x04\x00\x00\x00abcd"  # IO_REPARSE_TAG_CLOUD_9


class Gate(StoreWrapper):
    """While it is shut, reads of data wait at it."""

    def __init__(self, inner: Store, prefix: str = "packs/") -> None:
        super().__init__(inner)
        self.open = threading.Event()
        self.open.set()
        self.waiting = 0
        self._prefix = prefix
        self._lock = threading.Lock()

    def _pass_on(self, request: Request, call: Any) -> Any:
        if request.name.startswith(self._prefix) and not self.open.is_set():
            with self._lock:
                self.waiting += 1
            self.open.wait(60)
        return call()


def a_vault(store: Store) -> Vault:
    vault = create_vault(store, PASSPHRASE, QUICK_KDF)
    add_machine(vault)
    return vault


def a_view(
    vault: Vault, reader: Reader, nodes: list[Any], maker: Maker, *, distinct: bool = True, **fields: Any
) -> PointView:
    point = add_point(vault, maker.root(nodes), 1, AT, **fields)
    return PointView(reader, msgspec.structs.replace(point, distinct_names=distinct))


def refused(status: int, function: Any, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(NtError) as caught:
        function(*args, **kwargs)
    assert caught.value.status == status


# --- volume parameters ------------------------------------------------------------------------------------------


@pytest.fixture
def small() -> Iterator[tuple[PointView, Reader]]:
    vault = a_vault(MemoryStore())
    m = Maker(vault)
    reader = Reader(vault)
    yield a_view(vault, reader, [m.file(b"a", b"x"), m.file(b"b", b"y")], m), reader
    reader.close()


def test_a_volume_that_never_changes_is_kept_for_ever(small: tuple[PointView, Reader]) -> None:
    with serving(*small) as served:
        found = served.volume.parameters
        assert found.read_only_volume and found.case_preserved_names and found.unicode_on_disk
        assert found.persistent_acls and found.reparse_points and found.named_streams
        assert not found.case_sensitive_search
        # The kernel caches data, and reads ahead, for this one value only.
        assert found.file_info_timeout == 0xFFFFFFFF and found.cached
        for name in ("dir_info_timeout", "security_timeout", "volume_info_timeout", "stream_info_timeout"):
            assert getattr(found, name) == 0xFFFFFFFF
        # A handle each: two of one file must not end each other.
        assert found.um_file_context_is_user_context2
        assert found.pass_query_directory_file_name and not found.pass_query_directory_pattern
        # Whoever asks whether the drive is in use has to be told of each handle that is closed.
        assert not found.post_cleanup_when_modified_only
        assert found.max_component_length == 255
        assert found.sector_size * found.sectors_per_unit == 4096
        assert found.file_system_name == "rpdrive"
        assert found.irp_timeout == 600_000 > 1000 * served.drive.operations.waiting.seconds


def test_each_valid_bit_is_set_for_the_timeout_it_belongs_to(small: tuple[PointView, Reader]) -> None:
    found = volume_parameters(small[0], Place.of("R:"))
    for name in ("dir_info", "security", "volume_info", "stream_info"):
        assert found[f"{name}_timeout_valid"] == 1 and found[f"{name}_timeout"] == FOREVER


def test_case_counts_where_names_of_a_point_may_differ_in_nothing_else() -> None:
    vault = a_vault(MemoryStore())
    m = Maker(vault)
    nodes = [m.file(b"readme", b"small"), m.file(b"README", b"large"), m.file(b"alone", b"x")]
    reader = Reader(vault)
    view = a_view(vault, reader, nodes, m, distinct=False)
    with serving(view, reader) as served:
        assert served.volume.parameters.case_sensitive_search
        assert served.caller.read("\\readme") == b"small" and served.caller.read("\\README") == b"large"
        refused(ntstatus.OBJECT_NAME_NOT_FOUND, served.caller.open, "\\Readme")


def test_of_all_points_listings_grow_old(small: tuple[PointView, Reader]) -> None:
    reader = small[1]
    vault = reader.vault
    view = AllPointsView(vault, reader, vault.point_names)
    with serving(view, reader, r"\\rpdrive\all") as served:
        found = served.volume.parameters
        assert found.dir_info_timeout == 1000 and found.volume_info_timeout == 3000
        assert found.file_info_timeout == found.security_timeout == 0xFFFFFFFF
        (day,) = (name for name in served.caller.names("\\box\\home") if name not in ("latest", ".versions"))
        assert served.caller.read(f"\\box\\home\\{day}\\a") == b"x"
        assert served.caller.read("\\box\\home\\latest\\a") == b"x"
        for path, info in served.caller.walk():
            assert served.caller.stat(path).index == info.index != 0


def test_an_absolute_link_stays_in_its_point() -> None:
    vault = a_vault(MemoryStore())
    m = Maker(vault)
    link = m.node(b"link", NodeKind.SYMLINK, content=b"/folder/file")
    add_point(vault, m.root([link, m.folder(b"folder", [m.file(b"file", b"of then")])]), 1, AT)
    reader = Reader(vault)
    with serving(AllPointsView(vault, reader, vault.point_names), reader) as served:
        assert served.caller.read("\\box\\home\\latest\\link") == b"of then"
        (day,) = (name for name in served.caller.names("\\box\\home") if name not in ("latest", ".versions"))
        assert served.caller.read(f"\\box\\home\\{day}\\link") == b"of then"
        assert served.drive.operations.tree.resolve("\\box\\home\\latest\\link", True)[1] == symlink(
            Link(f"\\box\\home\\{day}\\folder\\file", relative=True)
        )


def test_the_label_has_room_for_the_date(small: tuple[PointView, Reader]) -> None:
    for name in ("x", "a machine with a name that is far too long for it", "\U0001f4be" * 40):
        view = small[0]
        view.point = msgspec.structs.replace(view.point, machine_name=name)
        text = label(view)
        assert (
            len(text.encode("utf-16-le")) <= 64 and text.split(" ", 1)[0] and text[-5:].replace(".", "").isdigit()
        )


# --- places -----------------------------------------------------------------------------------------------------


def test_places() -> None:
    assert Place.of("r:") == Place.of("R:\\") == Place("R:", "\\rpdrive\\R", "R:")
    assert Place.of("R:", disk=True) == Place("R:", "", "R:")
    assert Place.of("*", free_letter=lambda: "Q").shown == "Q:"
    assert Place.of(r"\\rpdrive\docs") == Place("", r"\rpdrive\docs", r"\\rpdrive\docs")
    assert Place.of("//RPDRIVE/docs/") == Place("", r"\rpdrive\docs", r"\\rpdrive\docs")
    folder = Place.of(r"C:\Users\anna\drive\\")
    assert folder == Place(r"C:\Users\anna\drive", "", r"C:\Users\anna\drive") and folder.is_folder
    assert (folder.root, Place.of("R:").root) == (r"C:\Users\anna\drive", "R:\\")
    for wrong in ("", "R", "drive", r"\\server\share", r"\\rpdrive", r"\\rpdrive\a\b", "C:drive", r"\drive", "1:"):
        with pytest.raises(MountFailed):
            Place.of(wrong)
    with pytest.raises(MountFailed, match="no drive letter"):
        Place.of("*")


def test_a_prefix_is_never_longer_than_winfspy_can_take() -> None:
    longest = "n" * (95 - len(r"\rpdrive" + "\\"))
    assert len(Place.of(rf"\\rpdrive\{longest}").prefix) == 95
    with pytest.raises(MountFailed, match="too long"):
        Place.of(rf"\\rpdrive\{longest}n")
    place = Place.of(rf"\\rpdrive\{longest}")
    vault = a_vault(MemoryStore())
    m = Maker(vault)
    reader = Reader(vault)
    with serving(a_view(vault, reader, [m.file(b"a", b"x")], m), reader, place.shown) as served:
        assert served.volume.parameters.prefix == place.prefix and served.volume.network
        assert served.volume.parameters.file_system_name == "rpdrive"


def test_a_letter_is_one_of_the_network_unless_it_shall_not_be(small: tuple[PointView, Reader]) -> None:
    with serving(*small, "R:") as served:
        assert served.volume.network and served.volume.mount_point == "R:"
    with serving(*small, "S:", disk=True) as served:
        assert not served.volume.network and served.volume.mount_point == "S:"


def test_an_empty_folder_is_taken_away_and_put_back(small: tuple[PointView, Reader], tmp_path: Any) -> None:
    folder = tmp_path / "drive"
    folder.mkdir()
    place = Place(str(folder), "", str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Place, "of", classmethod(lambda cls, text, **_how: place))
        with serving(*small, str(folder)) as served:
            assert served.volume.mount_point == str(folder)
            assert served.caller.read("\\a") == b"x"
        assert folder.is_dir()
        (folder / "file").touch()
        with pytest.raises(MountFailed, match="not an empty folder"), serving(*small, str(folder)):
            pass
        assert (folder / "file").exists()


def test_a_letter_that_is_taken(small: tuple[PointView, Reader]) -> None:
    with serving(*small, "R:"), pytest.raises(MountFailed, match=r"R:.*COLLISION"), serving(*small, "R:"):
        pass


def test_an_old_winfsp_is_refused(small: tuple[PointView, Reader], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standin, "version", (1, 11))
    with pytest.raises(MountFailed, match=r"1\.11 is too old") as caught, serving(*small):
        pass
    assert "https://winfsp.dev/rel/" in caught.value.advice
    monkeypatch.setattr(standin, "version", (1, 12))
    with serving(*small):
        pass


# --- large folders ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> Iterator[tuple[Served, MeteredStore, list[str]]]:
    store = MeteredStore(MemoryStore())
    vault = a_vault(store)
    m = Maker(vault)
    rng = random.Random(5)
    names = sorted({rng.randbytes(rng.randrange(3, 40)).hex() for _ in range(MANY)})
    folder = m.folder(b"many", [m.node(name.encode(), content=[]) for name in names])
    reader = Reader(vault)
    view = a_view(vault, reader, [folder, m.file(b"small", b"x")], m)
    with serving(view, reader) as served:
        yield served, store, names


@pytest.mark.parametrize("length", [1000, 65_536])
def test_a_large_folder_lists_every_name_once(large: tuple[Served, MeteredStore, list[str]], length: int) -> None:
    served, _store, names = large
    assert served.caller.names("\\many", length=length) == names


def test_a_large_folder_is_read_on_from_any_marker(large: tuple[Served, MeteredStore, list[str]]) -> None:
    served, store, names = large
    tree = served.drive.operations.tree
    folder = tree.find("\\many")
    rng = random.Random(1)
    before = store.snapshot()
    for place in [0, len(names) - 1, *(rng.randrange(len(names)) for _ in range(50))]:
        following = [name for name, _info in zip_short(tree.entries(folder, names[place]), 5)]
        assert following == names[place + 1 : place + 6]
    assert (store.snapshot() - before).requests == 0
    assert [name for name, _ in zip_short(tree.entries(folder, "."), 2)] == ["..", names[0]]
    assert [name for name, _ in zip_short(tree.entries(folder, ".."), 1)] == [names[0]]


def zip_short(entries: Iterator[tuple[str, Any]], count: int) -> list[tuple[str, Any]]:
    return [row for row, _n in zip(entries, range(count), strict=False)]


def test_a_name_in_a_large_folder_costs_a_page_and_not_the_folder() -> None:
    store = MeteredStore(MemoryStore())
    vault = a_vault(store)
    m = Maker(vault)
    names = [f"{n:06x}" for n in range(MANY)]
    folder = m.folder(b"many", [m.node(name.encode(), content=[]) for name in names])
    reader = Reader(vault)
    with serving(a_view(vault, reader, [folder], m), reader) as served:
        before = store.snapshot()
        assert served.caller.find("\\many\\" + names[12_345]).name == names[12_345]
        spent = store.snapshot() - before
        assert spent.requests <= 3
        # Windows asked in upper case; the folder was not listed for that.
        assert not len(served.drive.operations.tree._names._indexes)
        before = store.snapshot()
        served.caller.stat("\\many\\" + names[12_345])
        assert (store.snapshot() - before).requests == 0


def test_a_buffer_without_room_for_one_name_is_no_end(small: tuple[PointView, Reader]) -> None:
    with serving(*small) as served:
        opened = served.drive.operations.open("\\", 0, 0)
        with pytest.raises(ntstatus.Status) as caught:
            served.drive.operations._rows(opened, None, 100, False)
        assert caught.value.number == ntstatus.BUFFER_TOO_SMALL
        rows, whole = served.drive.operations._rows(opened, None, 112, False)
        assert len(rows) == 1 and not whole


# --- streams ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def from_windows() -> Iterator[Served]:
    """A point made on Windows: attributes, streams, descriptors, links."""
    vault = a_vault(MemoryStore())
    m = Maker(vault)
    descriptor = security.from_sddl("O:BAG:BAD:P(A;;FA;;;BA)(A;;FR;;;WD)")
    aces = "".join(f"(A;;FR;;;S-1-5-21-1-2-3-{n})" for n in range(100))
    huge = security.from_sddl(f"O:BAG:BAD:P(A;;FR;;;WD){aces}")
    assert len(huge) > 1024

    def stream(name: str, data: bytes) -> Stream:
        extents = m.data.block([data])
        m.data.finish()
        return Stream(name, len(data), extents)

    def link(target: str, on_volume: bool) -> bytes:
        return symlink(Link(target, on_volume))

    streams = [stream("Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n"), stream("b", b"second" * 1000)]
    nodes = [
        m.file(b"plain", b"data", windows=Windows(attributes=0x23, created=AT, security=descriptor)),
        m.file(b"streams", b"main", windows=Windows(attributes=0x20, security=descriptor, streams=streams)),
        m.file(b"huge", b"x", windows=Windows(attributes=0x20, security=huge)),
        m.folder(
            b"OneDrive",
            [m.file(b"in it", b"there", windows=Windows(attributes=0x420, reparse=CLOUD))],
            windows=Windows(attributes=0x410, reparse=CLOUD),
        ),
        m.file(b"secret", b"raw export of EFS", windows=Windows(attributes=0x4020, efs=5)),
        m.file(b"cloud", b"at hand", windows=Windows(attributes=0x401600 | 0x800)),
        m.folder(
            b"C",
            [
                m.folder(b"there", [m.file(b"file", b"from the root")]),
                m.folder(
                    b"here",
                    [
                        m.node(
                            b"link", NodeKind.SYMLINK, content=b"../there/file",
                            windows=Windows(attributes=0x420, reparse=link("\\there\\file", True)),
                        )
                    ],
                ),
            ],
            windows=Windows(attributes=0x10),
        ),
        m.folder(b"folder", [m.file(b"in", b"y")], windows=Windows(attributes=0x12, streams=streams[:1])),
        m.node(
            b"link", NodeKind.SYMLINK, content=b"plain",
            windows=Windows(attributes=0x420, reparse=link("PLAIN", True)),
        ),
        m.node(
            b"away", NodeKind.SYMLINK, content=b"C:/x",
            windows=Windows(attributes=0x410, reparse=link("\\??\\C:\\x", False)),
        ),
        m.node(
            b"opaque", NodeKind.FILE, content=[],
            windows=Windows(attributes=0x420, reparse=b"\x17\0\0\x80\x04\0\0\0abcd"),
        ),
    ]  # fmt: skip
    reader = Reader(vault)
    with serving(a_view(vault, reader, nodes, m, system="Windows"), reader) as served:
        yield served


def test_streams_can_be_listed_and_read(from_windows: Served) -> None:
    caller = from_windows.caller
    with caller.open("\\streams") as handle:
        assert [(s.name, s.size) for s in handle.streams()] == [("", 4), ("Zone.Identifier", 26), ("b", 6000)]
    assert caller.read("\\streams:Zone.Identifier") == b"[ZoneTransfer]\r\nZoneId=3\r\n"
    assert caller.read("\\streams:zone.IDENTIFIER:$DATA") == b"[ZoneTransfer]\r\nZoneId=3\r\n"
    assert caller.read("\\streams:b") == b"second" * 1000
    assert caller.stat("\\streams:b").size == 6000
    assert caller.read("\\streams::$DATA") == b"main"
    assert caller.read("\\folder:Zone.Identifier").startswith(b"[Zone")
    with caller.open("\\folder") as handle:
        assert [s.name for s in handle.streams()] == ["Zone.Identifier"]
    refused(ntstatus.OBJECT_NAME_NOT_FOUND, caller.open, "\\streams:none")


def test_winfspys_own_stream_listing_can_not_work(from_windows: Served) -> None:
    """If this fails, winfspy has been mended, and ll_get_stream_info may go."""
    operations = from_windows.drive.operations
    with from_windows.caller.open("\\streams"):
        (handle,) = operations._opened_objs
        own = super(Operations, operations).ll_get_stream_info
        logging.getLogger("winfspy").disabled = True
        try:
            assert own(handle, None, 0, None) == ntstatus.UNEXPECTED_IO_ERROR
        finally:
            logging.getLogger("winfspy").disabled = False


def test_what_windows_knew_of_a_file_shows(from_windows: Served) -> None:
    caller = from_windows.caller
    plain = caller.stat("\\plain")
    assert plain.attributes == 0x23 and plain.created == 116_444_736_000_000_000 + AT // 100
    assert caller.stat("\\folder").attributes == 0x12
    # It is at hand here, wherever it was: whoever reads it recalls nothing.
    assert caller.stat("\\cloud").attributes == 0x200
    with caller.open("\\plain") as handle:
        assert security.parse(handle.security()).owner == "S-1-5-32-544"
    refused(ntstatus.ACCESS_DENIED, caller.open, "\\plain", access=security.FILE_WRITE_DATA)
    # What is stored of an encrypted file is not the file.
    secret = caller.stat("\\secret")
    assert secret.size == 5 and secret.attributes == 0x4020
    refused(ntstatus.ACCESS_DENIED, caller.read, "\\secret")
    # Larger than what WinFsp tries at first: it asks again with more room.
    assert caller.read("\\huge") == b"x"


def test_what_a_filter_put_on_files_does_not_keep_them_from_being_read(from_windows: Served) -> None:
    caller = from_windows.caller
    assert caller.names("\\OneDrive") == ["in it"] and caller.stat("\\OneDrive").attributes == 0x10
    assert caller.read("\\OneDrive\\in it") == b"there" and caller.stat("\\OneDrive\\in it").attributes == 0x20


def test_links_of_windows(from_windows: Served) -> None:
    from tests.winfsp.caller import Reparsed

    caller = from_windows.caller
    assert caller.read("\\link") == b"data"
    assert caller.read("\\C\\here\\link") == b"from the root"  # of its own drive, that is
    with pytest.raises(Reparsed) as away:
        caller.open("\\away")
    assert away.value.tag == 0xA000000C
    with pytest.raises(Reparsed) as opaque:
        caller.open("\\opaque")
    assert opaque.value.tag == 0x80000017
    assert caller.stat("\\away").attributes == 0x410 and caller.stat("\\link").attributes == 0x420


# --- errors -----------------------------------------------------------------------------------------------------


def test_damaged_data_is_an_error_and_nothing_else() -> None:
    memory = MemoryStore()
    vault = a_vault(memory)
    m = Maker(vault)
    nodes = [m.file(b"bad", noise(500_000)), m.file(b"good", noise(300_000, 2)), m.file(b"gone", noise(1000, 3))]
    bad, _good, gone = m.data.names
    reader = Reader(vault)
    view = a_view(vault, reader, nodes, m)
    data = bytearray(memory.get(bad))
    data[1000] ^= 1
    memory.delete(bad)
    memory.create(bad, [bytes(data)])
    memory.delete(gone)
    with serving(view, reader) as served:
        refused(ntstatus.DATA_ERROR, served.caller.read, "\\bad")
        refused(ntstatus.DATA_ERROR, served.caller.read, "\\gone")
        assert served.caller.read("\\good") == noise(300_000, 2)
        errors = served.drive.errors
        assert errors.count >= 2 and {row["path"] for row in errors.recent} == {"\\bad", "\\gone"}


def test_while_the_store_is_away_reads_fail_and_then_succeed() -> None:
    away = UnreachableStore(MemoryStore(), reachable=True)
    vault = a_vault(away)
    m = Maker(vault)
    nodes = [m.file(b"file", noise(300_000)), m.folder(b"folder", [m.file(b"inner", b"x")])]
    reader = Reader(vault)
    with serving(a_view(vault, reader, nodes, m), reader) as served:
        away.reachable = False
        refused(ntstatus.NETWORK_UNREACHABLE, served.caller.names, "\\")
        away.reachable = True
        assert served.caller.names("\\") == ["file", "folder"]
        away.reachable = False
        assert served.caller.stat("\\file").size == 300_000
        refused(ntstatus.NETWORK_UNREACHABLE, served.caller.read, "\\file")
        away.reachable = True
        assert served.caller.read("\\file") == noise(300_000)
        assert served.drive.handles == 0


def test_every_error_has_its_status() -> None:
    from catalog import errors

    for kind in (errors.Damaged, errors.MissingData):
        assert status_of(kind("x")) == ntstatus.DATA_ERROR
    assert status_of(errors.NotFound("x")) == ntstatus.OBJECT_NAME_NOT_FOUND
    assert status_of(errors.StoreUnreachable("x")) == ntstatus.NETWORK_UNREACHABLE
    assert status_of(errors.AccessDenied("x")) == ntstatus.IO_DEVICE_ERROR
    assert status_of(TimeoutError()) == ntstatus.IO_TIMEOUT
    assert status_of(MemoryError()) == ntstatus.INSUFFICIENT_RESOURCES
    assert status_of(KeyError("a bug")) == ntstatus.UNEXPECTED_IO_ERROR
    winfspy_knows = {int(status) for status in standin_statuses()}
    ours = {value for name, value in vars(ntstatus).items() if name.isupper() and isinstance(value, int)}
    assert ours <= winfspy_knows


def standin_statuses() -> Any:
    from winfspy.plumbing import NTSTATUS

    return NTSTATUS


def test_what_nobody_thought_of_is_logged_and_fails(
    small: tuple[PointView, Reader], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(*small) as served:
        tree = served.drive.operations.tree
        with served.caller.open("\\a") as file, served.caller.open("\\") as folder:
            for name in ("find", "info", "entries", "stream_sizes", "resolve", "child", "reparse", "security"):
                monkeypatch.setattr(tree, name, _broken)
            refused(ntstatus.UNEXPECTED_IO_ERROR, served.caller.open, "\\b")
            refused(ntstatus.UNEXPECTED_IO_ERROR, list, folder.entries())
            refused(ntstatus.UNEXPECTED_IO_ERROR, file.streams)
            refused(ntstatus.UNEXPECTED_IO_ERROR, file.security)
            refused(ntstatus.UNEXPECTED_IO_ERROR, file.reparse_point)
            monkeypatch.undo()
            assert file.read(0, 10) == b"x"
            monkeypatch.setattr(served.drive.operations, "_parts", _broken)
            refused(ntstatus.UNEXPECTED_IO_ERROR, file.read, 0, 10)
            monkeypatch.undo()
    assert "a bug" in caplog.text and "winfspy" not in {record.name for record in caplog.records}


def _broken(*_arguments: Any, **_named: Any) -> Any:
    raise KeyError("a bug")


def test_a_listing_that_breaks_off_does_not_look_whole(
    small: tuple[PointView, Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(*small) as served:
        tree = served.drive.operations.tree
        entries = tree.entries

        def cut(folder: Any, marker: str | None) -> Iterator[Any]:
            for n, row in enumerate(entries(folder, marker)):
                if n or marker:
                    raise Damaged("the second page")
                yield row

        monkeypatch.setattr(tree, "entries", cut)
        with served.caller.open("\\") as handle:
            assert [e.name for e in handle.query_directory(restart=True)] == ["a"]
            refused(ntstatus.DATA_ERROR, handle.query_directory)


# --- waiting ----------------------------------------------------------------------------------------------------


@pytest.fixture
def gated() -> Iterator[tuple[Gate, PointView, Reader]]:
    gate = Gate(MemoryStore())
    vault = a_vault(gate)
    m = Maker(vault)
    nodes = [m.file(b"file %02d" % n, noise(20_000, n)) for n in range(48)]
    reader = Reader(vault)
    yield gate, a_view(vault, reader, nodes, m), reader
    gate.open.set()
    reader.close()


def test_reads_that_wait_hold_no_thread_of_the_dispatcher(gated: tuple[Gate, PointView, Reader]) -> None:
    gate, view, reader = gated
    with serving(view, reader) as served:
        names = served.caller.names("\\")
        gate.open.clear()
        found: dict[str, bytes] = {}

        def read(name: str) -> None:
            found[name] = served.caller.read(f"\\{name}")

        threads = [threading.Thread(target=read, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        waiting = served.drive.operations.waiting
        eventually(lambda: waiting.under_way == len(names), "all of them wait")
        assert len(names) > 2 * winfsp.DISPATCHERS
        # Whoever asks for what is at hand is answered meanwhile.
        assert served.caller.names("\\") == names
        assert served.caller.stat("\\file 01").size == 20_000
        gate.open.set()
        for thread in threads:
            thread.join(60)
        assert found == {name: noise(20_000, n) for n, name in enumerate(names)}
        assert waiting.handed_over >= len(names)


def test_what_takes_too_long_times_out_and_can_be_read_later(gated: tuple[Gate, PointView, Reader]) -> None:
    gate, view, reader = gated
    with serving(view, reader) as served:
        served.drive.operations.waiting.seconds = 0.3
        gate.open.clear()
        with served.caller.open("\\file 03") as handle:
            refused(ntstatus.IO_TIMEOUT, handle.read, 0, 100)
            gate.open.set()
            eventually(lambda: not served.drive.operations.waiting.under_way, "nothing is under way")
            assert handle.read(0, 100) == noise(20_000, 3)[:100]
        assert served.drive.errors.recent[-1]["kind"] == "TookTooLong"


def test_names_that_take_too_long_time_out() -> None:
    gate = Gate(MemoryStore(), "meta/")
    vault = a_vault(gate)
    m = Maker(vault)
    reader = Reader(vault)
    with serving(a_view(vault, reader, [m.folder(b"folder", [m.file(b"x", b"y")])], m), reader) as served:
        served.drive.operations.waiting.seconds = 0.3
        gate.open.clear()
        refused(ntstatus.IO_TIMEOUT, served.caller.open, "\\folder\\x")
        refused(ntstatus.IO_TIMEOUT, served.caller.names, "\\")
        gate.open.set()
        served.drive.operations.waiting.seconds = 60
        assert served.caller.read("\\folder\\x") == b"y"


class Looking:
    """Look-ups that wait for the store, in threads as of the dispatcher."""

    def __init__(self, count: int, *, crowd: int) -> None:
        self.hasty: set[int] = set()
        self.waiting = Waiting(self, 60.0, crowd=crowd)  # type: ignore[arg-type]
        self.answer = threading.Event()
        self.found: list[str] = []
        self.threads = [threading.Thread(target=self._look, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _look(self) -> None:
        try:
            self.found.append(self.waiting.patiently(self._work))
        except TookTooLong:
            self.found.append("too long")

    def _work(self) -> str:
        if threading.get_ident() in self.hasty:
            raise WouldWait
        self.answer.wait(60)
        return "found"


def test_look_ups_that_wait_leave_threads_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winfsp_waiting, "CROWDED_SECONDS", 0.05)
    looking = Looking(10, crowd=3)
    eventually(lambda: len(looking.found) == 7, "those that are too many are told so")
    assert set(looking.found) == {"too long"}
    looking.answer.set()
    for thread in looking.threads:
        thread.join(60)
    assert looking.found.count("found") == 3 and not looking.hasty


def test_look_ups_are_given_up_when_the_drive_ends() -> None:
    looking = Looking(3, crowd=3)
    eventually(lambda: looking.waiting._waiting == 3, "all of them wait")
    assert looking.waiting.drain(0.05)  # nothing else is under way
    for thread in looking.threads:
        thread.join(60)
    assert looking.found == ["too long"] * 3
    looking.answer.set()


def test_reads_under_way_are_answered_before_the_drive_ends(gated: tuple[Gate, PointView, Reader]) -> None:
    gate, view, reader = gated
    found: list[bytes] = []
    with serving(view, reader) as served:
        served.caller.names("\\")
        gate.open.clear()
        thread = threading.Thread(target=lambda: found.append(served.caller.read("\\file 01")), daemon=True)
        thread.start()
        waiting = served.drive.operations.waiting
        eventually(lambda: waiting.under_way == 1, "a read waits")
        served.drive.stop()
        eventually(lambda: waiting._draining, "the drive drains")
        refused(ntstatus.DEVICE_NOT_READY, served.caller.open, "\\file 02")
        gate.open.set()
        eventually(lambda: bool(found), "the read is answered")
    assert found == [noise(20_000, 1)]


def test_a_store_that_hangs_does_not_keep_the_drive_from_ending(
    gated: tuple[Gate, PointView, Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, view, reader = gated
    monkeypatch.setattr(winfsp, "DRAIN_SECONDS", 0.2)
    failures: list[int] = []

    def read() -> None:
        try:
            served.caller.read("\\file 01")
        except NtError as e:
            failures.append(e.status)

    with serving(view, reader) as served:
        served.caller.names("\\")
        gate.open.clear()
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        eventually(lambda: served.drive.operations.waiting.under_way == 1, "a read waits")
        served.close()
    thread.join(60)
    assert len(failures) == 1
    gate.open.set()  # the late answer finds nobody, and writes nowhere


# --- threads, handles, requests ---------------------------------------------------------------------------------


def test_many_threads_at_once() -> None:
    vault = a_vault(MemoryStore())
    m = Maker(vault)
    contents = {f"f{n}\\{k}": noise(3000 + n, n * 100 + k) for n in range(8) for k in range(40)}
    nodes = [m.folder(b"f%d" % n, [m.file(b"%d" % k, contents[f"f{n}\\{k}"]) for k in range(40)]) for n in range(8)]
    reader = Reader(vault)
    wrong: list[str] = []
    with serving(a_view(vault, reader, nodes, m), reader) as served:

        def work(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(60):
                path = rng.choice(list(contents))
                if served.caller.read("\\" + path) != contents[path]:
                    wrong.append(path)
                if len(served.caller.names(f"\\f{rng.randrange(8)}", length=900)) != 40:
                    wrong.append("listing")

        threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert wrong == [] and served.drive.handles == 0 and not served.drive.operations._opened_objs
        assert served.drive.served > 0 and served.drive.errors.count == 0


def test_handles_are_counted(small: tuple[PointView, Reader]) -> None:
    with serving(*small) as served:
        with served.caller.open("\\a"), served.caller.open("\\a") as second:
            assert served.drive.handles == 2
            second.cleanup()  # Windows may keep it for its cache, but nobody has it open
            assert served.drive.handles == 1 and len(served.drive.operations._opened_objs) == 2
        assert served.drive.handles == 0 and served.drive.status()["handles"] == 0


def test_requests_are_those_of_the_other_drivers() -> None:
    store = MeteredStore(MemoryStore())
    vault = a_vault(store)
    m = Maker(vault)
    nodes = [m.folder(b"f%d" % n, [m.file(b"%d" % k, b"%d" % k) for k in range(20)]) for n in range(5)]
    big = m.file(b"big", noise(1_000_000), noise(1_000_000, 2))
    point = add_point(vault, m.root([*nodes, big]), 1, AT)
    view = PointView(Reader(vault), point)
    before = store.snapshot()
    for page in view.root.pages():
        for n, name in enumerate(page.names):
            node = page.node(n)
            if name == b"big":
                node.open().read(0, 4096)  # type: ignore[attr-defined]
            else:
                list(node.pages())  # type: ignore[attr-defined]
    bare = store.snapshot() - before
    reader = Reader(vault)
    with serving(PointView(reader, msgspec.structs.replace(point, distinct_names=True)), reader) as served:
        before = store.snapshot()
        list(served.caller.walk())
        with served.caller.open("\\big") as handle:
            handle.read(0, 4096)
        spent = store.snapshot() - before
        assert spent.requests <= bare.requests
        before = store.snapshot()
        list(served.caller.walk())
        with served.caller.open("\\big") as handle:
            handle.read(0, 4096)
        assert (store.snapshot() - before).requests == 0
