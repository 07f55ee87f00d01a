"""The volume's parameters and its places; on the stand-in for WinFsp."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from cache.reader import Reader
from catalog.errors import MountFailed
from catalog.format.values import NodeKind
from catalog.store.memory import MemoryStore
from catalog.windows.links import symlink
from catalog.windows.reparse import LinkTarget
from mount.drivers.winfsp import ntstatus
from mount.drivers.winfsp.volume import FOREVER, label, volume_parameters
from mount.place.spelling import Place
from mount.view.all_points import AllPointsView
from mount.view.point import PointView
from tests.kit.drives import Maker, add_point
from tests.kit.winfsp import standin
from tests.kit.winfsp_drives import AT, a_vault, a_view, refused, serving, small_point


@pytest.fixture
def small() -> Iterator[tuple[PointView, Reader]]:
    with small_point() as found:
        yield found


# --- volume parameters ------------------------------------------------------------------------------------------


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
        # To tell whether the drive is in use, each handle that is closed must be reported.
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
    view = AllPointsView(vault, reader)
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
    with serving(AllPointsView(vault, reader), reader) as served:
        assert served.caller.read("\\box\\home\\latest\\link") == b"of then"
        (day,) = (name for name in served.caller.names("\\box\\home") if name not in ("latest", ".versions"))
        assert served.caller.read(f"\\box\\home\\{day}\\link") == b"of then"
        assert served.drive.operations.tree.resolve("\\box\\home\\latest\\link", True)[1] == symlink(
            LinkTarget(f"\\box\\home\\{day}\\folder\\file", relative=True)
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
