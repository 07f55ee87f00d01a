"""Machines of a vault: registered once, renamed, forgotten; the id is independent of the host name."""

from __future__ import annotations

import os
import platform
import threading
import time
from pathlib import Path

import msgspec
import pytest

from cache.reader import Reader
from catalog.errors import AmbiguousName, LocalError, NotFound, UsageError
from catalog.format.records import Machine
from catalog.machines.registry import (
    Registration,
    choose_named,
    find_machine,
    forget,
    machine_names,
    registered_here,
    rename,
    revise,
    this_machine,
)
from catalog.store.memory import MemoryStore
from catalog.vault import Vault
from mount.view.all_points import AllPointsView
from mount.view.nodes import Folder
from tests.kit.backing import back_up
from tests.kit.cli import Cli
from tests.kit.protected import SETTLED
from tests.kit.vaults import new_vault


@pytest.fixture
def memory() -> Vault:
    return new_vault(MemoryStore())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    folder.joinpath("file").write_text("content")
    time.sleep(SETTLED)  # else the second backup reads it again
    return folder


def another(rpdrive: Cli, folder: Path) -> Cli:
    """Another machine with the same vault."""
    other = Cli(folder)
    other.environ["RPDRIVE_VAULT"] = str(rpdrive.vault)
    return other


# --- which machine this is ------------------------------------------------------------------------------------


def test_a_machine_survives_another_host_name(
    memory: Vault, state: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = this_machine(memory, state)
    assert first.name == first.hostname == platform.node()
    monkeypatch.setattr(platform, "node", lambda: "renamed-host")
    outcome = back_up(memory, state, source)
    assert outcome.point is not None and outcome.point.machine == first.id
    (machine,) = memory.machines().values()
    assert (machine.id, machine.name, machine.hostname) == (first.id, first.name, "renamed-host")
    # Nothing is written if nothing changed.
    version = memory.machine(first.id)
    assert this_machine(memory, state) == machine and memory.machine(first.id) == version


def test_a_damaged_record_is_written_again(memory: Vault, state: Path, source: Path) -> None:
    """At the next backup; within two days if a cache has a copy of the record."""
    back_up(memory, state, source)
    point = back_up(memory, state, source).point  # which reads the record, and caches it
    store = memory.store
    assert isinstance(store, MemoryStore) and point is not None
    for name in [n for n in store.objects if n.startswith(("machines/", "items/"))]:
        store.objects[name] = store.objects[name][:-1] + b"?"
    back_up(memory, state, source)
    fresh = Vault(store, memory.keys, memory.file)
    assert fresh.items(point.machine).keys() == {point.item} and fresh.machines() == {}
    (identity,) = state.glob("identity-*.json")
    os.utime(identity, (0, 0))
    back_up(memory, state, source)
    fresh = Vault(store, memory.keys, memory.file)
    assert len(fresh.machines()) == len(fresh.items(point.machine)) == 1
    assert identity.stat().st_mtime > 0
    os.utime(identity, (0, 0))
    store.objects = {n: d for n, d in store.objects.items() if not n.startswith(("machines/", "items/"))}
    back_up(Vault(store, memory.keys, memory.file), state, source)
    fresh = Vault(store, memory.keys, memory.file)
    assert len(fresh.machines()) == len(fresh.items(point.machine)) == 1


def test_a_renamed_machine_goes_on(memory: Vault, state: Path, source: Path) -> None:
    first = this_machine(memory, state, "old")
    rename(memory, first.id, "new")
    for wanted in (None, "new", "old", first.id.hex()):  # scripts may continue to use the old name
        assert this_machine(memory, state, wanted).name == "new"
    assert len(memory.machines()) == 1
    point = back_up(memory, state, source).point
    assert point is not None and (point.machine, point.machine_name, point.sequence) == (first.id, "new", 1)


def test_after_a_new_installation_a_machine_is_taken_over(memory: Vault, tmp_path: Path) -> None:
    first = this_machine(memory, tmp_path / "one", "server")
    assert this_machine(memory, tmp_path / "two", "server").id == first.id
    assert this_machine(memory, tmp_path / "three").id != first.id
    known = Registration.load(tmp_path / "two", memory)
    assert known is not None and known.machine == first.id.hex()


def other_digit(text: bytes, at: int) -> bytes:
    return text[:at] + (b"1" if text[at : at + 1] != b"1" else b"2") + text[at + 1 :]


@pytest.mark.parametrize(
    "how", ["another id", "another item", "no id", "no text", "cut", "empty", "no id, no check"]
)
def test_a_changed_identity_is_no_other_machine(memory: Vault, state: Path, source: Path, how: str) -> None:
    """One flipped bit made another machine, whose backups began anew; or an exit 70."""
    back_up(memory, state, source, item="data")
    (path,) = state.glob("identity-*")
    text = path.read_bytes()
    at, item = text.index(b'"machine":"') + 15, text.index(b'"data":"') + 12
    changed = {
        "another id": other_digit(text, at), "another item": other_digit(text, item),
        "no id": text[:at] + b"x" + text[at + 1 :], "no text": text[:at] + b"\xb3" + text[at + 1 :],
        "cut": text[: len(text) // 2], "empty": b"", "no id, no check": b'{"machine":"abcd","name":"x"}',
    }[how]  # fmt: skip
    path.write_bytes(changed)
    with pytest.raises(LocalError, match="can't be read") as raised:
        this_machine(memory, state)
    assert raised.value.advice == f"move {path} away, and name the machine with --machine"
    with pytest.raises(LocalError):
        back_up(memory, state, source, item="data")
    path.unlink()
    (name,) = {m.name for m in memory.machines().values()}
    assert this_machine(memory, state, name).name == name
    assert back_up(memory, state, source, item="data").progress.read_files == 0
    assert len(memory.machines()) == 1


def test_an_identity_of_an_earlier_version_has_no_check(memory: Vault, state: Path) -> None:
    first = this_machine(memory, state)
    (path,) = state.glob("identity-*")
    rows = msgspec.json.decode(path.read_bytes())
    del rows["check"]
    path.write_bytes(msgspec.json.encode(rows))
    assert this_machine(memory, state).id == first.id


def test_a_dry_run_registers_nothing(memory: Vault, state: Path) -> None:
    assert this_machine(memory, state, "server", dry=True).name == "server"
    assert memory.machines() == {} and list(state.iterdir()) == []
    first = this_machine(memory, state, "server")
    forget(memory, first.id)
    assert this_machine(memory, state, dry=True).forgotten
    assert memory.machines()[first.id].forgotten


def test_a_record_that_is_missing_is_written_again(memory: Vault, state: Path) -> None:
    first = this_machine(memory, state, "server")
    store = memory.store
    assert isinstance(store, MemoryStore)
    for name in [n for n in store.objects if n.startswith("machines/")]:
        del store.objects[name]  # an older copy of the vault, or a run that ended before it was registered
    assert registered_here(memory, state) is None
    assert this_machine(memory, state).id == first.id
    assert [m.name for m in memory.machines().values()] == ["server"]


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "two\nlines", "bell\a", "\ud800"])
def test_a_name_that_cant_be_shown_is_refused(memory: Vault, state: Path, name: str) -> None:
    machine = this_machine(memory, state, "server")
    with pytest.raises(UsageError):
        rename(memory, machine.id, name)
    assert memory.machines()[machine.id].name == "server"


# --- versions -------------------------------------------------------------------------------------------------


def test_renames_at_once_lose_none(memory: Vault, state: Path) -> None:
    machine = this_machine(memory, state, "0")
    ready = threading.Barrier(8)

    def add(letter: str) -> None:
        ready.wait()
        revise(memory, machine.id, lambda m: msgspec.structs.replace(m, name=m.name + letter))

    threads = [threading.Thread(target=add, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = memory.machine(machine.id)
    assert found is not None
    assert found[0] == 9 and sorted(found[1].name) == sorted("0abcdefgh")


def test_what_is_not_there_cant_be_renamed(memory: Vault) -> None:
    with pytest.raises(NotFound):
        rename(memory, bytes(16), "name")


# --- names ----------------------------------------------------------------------------------------------------


def machine_of(number: int, name: str, forgotten: bool = False) -> Machine:
    return Machine(
        id=bytes([number]) * 16, name=name, hostname=name, system="Linux", created=number, forgotten=forgotten
    )


def test_equal_names_are_told_apart() -> None:
    made = [machine_of(1, "db"), machine_of(2, "db"), machine_of(3, "web")]
    machines = {m.id: m for m in made}
    assert list(machine_names(machines).values()) == ["db (01010101)", "db (02020202)", "web"]
    with pytest.raises(AmbiguousName):
        choose_named(machines, "db", "machine")
    with pytest.raises(AmbiguousName):
        find_machine(machines, "db")
    for m in made[:2]:
        assert choose_named(machines, machine_names(machines)[m.id], "machine") == m
        assert choose_named(machines, m.id.hex()[:4], "machine") == m
    # A forgotten machine yields the name to another, and can still be named by its id.
    machines[made[0].id] = machine_of(1, "db", forgotten=True)
    assert choose_named(machines, "db", "machine") == made[1]
    assert choose_named(machines, "db (01010101)", "machine").forgotten
    machines[made[1].id] = machine_of(2, "other")
    assert choose_named(machines, "db", "machine").forgotten


# --- the commands ---------------------------------------------------------------------------------------------


def test_register_list_rename(rpdrive: Cli, vault: Vault, source: Path, tmp_path: Path) -> None:
    assert "no machines here yet" in rpdrive.ok("machine", "list")
    made = rpdrive.json("machine", "register", "--name", "SRV01")
    assert made["registered"] is True and made["name"] == "SRV01"
    assert rpdrive.json("machine", "register")["registered"] is False
    assert "rename" in rpdrive.fails("machine", "register", "--name", "SRV02", code=2)
    rpdrive.ok("backup", source)  # as the machine that it is
    other = another(rpdrive, tmp_path / "other")
    assert other.json("machine", "register", "--name", "SRV01")["id"] != made["id"]
    other.ok("backup", source)
    rows = rpdrive.json("machine", "list")["machines"]
    assert [(r["name"], r["points"], r["this_machine"]) for r in rows] == [("SRV01", 1, True), ("SRV01", 1, False)]
    text = rpdrive.ok("points")
    assert all(f"SRV01 ({row['id'][:8]})" in text for row in rows)
    assert "2 machines" in rpdrive.fails("points", "--machine", "SRV01", code=4)
    assert len(rpdrive.json("points", "--machine", f"SRV01 ({made['id'][:8]})")["points"]) == 1

    rpdrive.ok("machine", "rename", made["id"][:8], "db one")
    assert {p["machine"] for p in rpdrive.json("points")["points"]} == {"SRV01", "db one"}
    assert rpdrive.json("ls", "latest", "--machine", "db one")["point"]["machine"] == "db one"
    assert "db one" in rpdrive.ok("vault", "info")
    rpdrive.fails("points", "--machine", "SRV02", code=4)
    assert rpdrive.json("backup", source)["machine"] == "db one"
    # A new installation continues as the old machine.
    third = another(rpdrive, tmp_path / "third")
    taken = third.json("machine", "register", "--take-over", "db one")
    assert (taken["id"], taken["registered"]) == (made["id"], True)
    assert third.json("backup", source)["sequence"] == 3
    rpdrive.fails("machine", "register", "--take-over", "x", "--name", "y", code=2)


def test_forget(rpdrive: Cli, vault: Vault, source: Path, tmp_path: Path) -> None:
    other = another(rpdrive, tmp_path / "other")
    rpdrive.ok("backup", source, "--machine", "here")
    other.ok("backup", source, "--machine", "gone")
    rpdrive.ok("machine", "forget", "gone")

    def machines(*args: str) -> list[str]:
        return [row["name"] for row in rpdrive.json("machine", "list", *args)["machines"]]

    def points(*args: str) -> list[str]:
        return [row["machine"] for row in rpdrive.json("points", *args)["points"]]

    assert machines() == ["here"] and machines("--all") == ["gone", "here"]
    assert points() == ["here"] and sorted(points("--all")) == ["gone", "here"]
    assert points("--machine", "gone") == ["gone"]
    assert "gone" in rpdrive.ok("vault", "info") and "forgotten" in rpdrive.ok("machine", "list", "--all")
    assert "file" in rpdrive.ok("ls", f"latest:{source}", "--machine", "gone")
    rpdrive.ok("machine", "forget", "gone", "--undo")
    assert machines() == ["gone", "here"]
    # The machine the command runs on: its next backup would bring it back, and does.
    assert "--force" in rpdrive.fails("machine", "forget", "here", code=2)
    rpdrive.ok("machine", "forget", "here", "--force")
    rpdrive.ok("machine", "forget", "gone")
    assert "forgotten" in rpdrive.ok("points")
    rpdrive.ok("backup", source)
    assert points() == ["here", "here"]


def test_a_drive_leaves_forgotten_machines_out(memory: Vault, source: Path, tmp_path: Path) -> None:
    for name in ("here", "gone"):
        (tmp_path / name).mkdir()
        machine = this_machine(memory, tmp_path / name, name)
        back_up(memory, tmp_path / name, source)
    forget(memory, machine.id)
    reader = Reader(memory)

    def shown(forgotten: bool) -> set[bytes]:
        root = AllPointsView(memory, reader, forgotten=forgotten).root
        assert isinstance(root, Folder)
        return {name for page in root.pages() for name in page.names}

    try:
        assert shown(False) == {b"here"}
        assert shown(True) == {b"here", b"gone"}
    finally:
        reader.close()
