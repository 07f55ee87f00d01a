"""Folders of this machine, as the picker shows them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mount.browse.resources import local_folders
from mount.browse.resources.local_folders import NewFolder
from mount.browse.resources.wire import path64
from tests.browse.restore.conftest import Restoring


def shown(here: Restoring, path: Path | bytes) -> dict[str, Any]:
    found: dict[str, Any] = here.page.get("/local/folders", at=path64(os.fsencode(path)))
    return found


def test_what_is_in_a_folder(here: Restoring, tmp_path: Path) -> None:
    for name in ("b", "A", ".hidden", os.fsdecode(b"raw\xff"), "in\nside", "loop/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "way").symlink_to("b")
    (tmp_path / "loop/self").symlink_to("self")
    (tmp_path / "loop/up").symlink_to("..")
    (tmp_path / "to file").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    found = shown(here, tmp_path)
    rows = [(row["name"], row.get("symlink", False)) for row in found["folders"]]
    assert rows == [
        ("A", False), ("b", False), ("in\nside", False), ("loop", False), ("raw\ufffd", False), ("way", True),
        (".hidden", False),
    ]  # fmt: skip
    assert found["folders"][4]["name_bytes"] and found["path"] == str(tmp_path)
    assert found["writable"] and found["free"] > 0 and found["refused"] is None and found["unreadable"] is None
    assert shown(here, bytes(tmp_path) + b"/raw\xff")["folders"] == []
    up = bytes(tmp_path) + b"/loop" + b"/up/loop" * 30  # a way that goes round, as long as somebody walks it
    assert [row["name"] for row in shown(here, up)["folders"]] == ["up", "x"]
    assert shown(here, b"/")["parent"] is None and found["parent"] == path64(bytes(tmp_path.parent))
    assert here.page.get("/local/folders")["path"] == os.path.expanduser("~")


def test_where_nothing_is_restored_to_and_what_is_no_folder(here: Restoring, tmp_path: Path) -> None:
    assert shown(here, here.cli.vault)["refused"] == "it is in the vault"
    (tmp_path / "way").symlink_to(here.cli.home / "state")
    assert shown(here, tmp_path / "way")["refused"] == "it is in rpdrive's own folder"
    (tmp_path / "file").write_text("")
    (tmp_path / "self").symlink_to("self")
    for path in (tmp_path / "none", tmp_path / "file", tmp_path / "self", tmp_path / "file/x"):
        answer = here.page.api("GET", "/local/folders", at=path64(bytes(path)))
        assert (answer.status, answer.json["kind"]) == (404, "NotFound"), path
    for at in ("..", "Li4", path64(b"/a/../b"), path64(b"/a\0b"), path64(b"a"), "x" * 90_000):
        assert here.page.api("GET", "/local/folders", at=at).status == 400, at


def test_a_new_folder(here: Restoring, tmp_path: Path) -> None:
    at = path64(bytes(tmp_path))
    made = here.page.post("/local/folders", {"at": at, "name": "näher\n"})
    assert made["path64"] == path64(os.fsencode(tmp_path / "näher\n")) and (tmp_path / "näher\n").is_dir()
    for name, status in (
        ("", 400), (".", 400), ("..", 400), ("a/b", 400), ("a\0", 400), ("\udcff", 400), ("näher\n", 500),
        ("x" * 256, 500),
    ):  # fmt: skip
        answer = here.page.api("POST", "/local/folders", {"at": at, "name": name})
        assert answer.status == status, (name, answer)
    inside = {"at": path64(os.fsencode(here.cli.vault)), "name": "x"}
    assert here.page.api("POST", "/local/folders", inside).status == 400
    assert here.page.api("POST", "/local/folders", {"at": path64(b"/none/x"), "name": "x"}).status == 404
    assert sorted(os.listdir(tmp_path)) == ["näher\n"]


def test_folders_that_are_large_or_closed(here: Restoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_folders, "MOST_FOLDERS", 3)
    for n in range(5):
        (tmp_path / str(n)).mkdir()
    found = local_folders.folders(here.page.opened, path64(bytes(tmp_path)))
    assert len(found.folders) == 3 and found.more
    monkeypatch.setattr(local_folders, "_MOST_ENTRIES", 2)
    assert local_folders.folders(here.page.opened, path64(bytes(tmp_path))).more

    def closed(_path: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", closed)
    found = local_folders.folders(here.page.opened, path64(bytes(tmp_path)))
    assert found.unreadable == "it can't be listed: Permission denied" and found.folders == []
    monkeypatch.undo()
    assert local_folders.make_folder(here.page.opened, NewFolder(path64(bytes(tmp_path)), "new")).folders == []
