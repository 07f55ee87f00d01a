"""A vault at two places: each is compared with itself, a copy is not written to, and is promoted when A is lost."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catalog.access.copies import KnownCopies, KnownCopy
from catalog.access.credentials import Connections, issue
from catalog.access.place import VaultPlaces
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import FollowingCopy
from catalog.format.vaultfile import CopyMark
from catalog.plans.local import LocalPlans, LocalVault
from catalog.seeds.disk import TWIN_FILE, TwinFile, write_twin_file
from catalog.store.roles import Role
from mount.login.systemd import SystemdUnits, unit_text
from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.placed import Places

ROOT = Path(__file__).parents[2]
GAP = ("vanished", "was put back", "seen before")  # words of a roll-back


@pytest.fixture
def p(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Places:
    return Places(tmp_path, monkeypatch, capsys)


def calm(said: str) -> str:
    assert not any(word in said for word in GAP), said
    return said


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".rpdrive" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@contextmanager
def without(path: Path) -> Iterator[None]:
    """An object is away, as if somebody had deleted it."""
    kept, times = path.read_bytes(), path.stat()
    path.unlink()
    yield
    path.write_bytes(kept)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


# --- a copy that follows ----------------------------------------------------------------------------------------


def test_a_copy_that_is_behind_is_no_roll_back(p: Places) -> None:
    p.backup("one", b"1")
    p.backup("two", b"2")
    p.copy()
    p.ok("policy", "set", "--daily", "9")  # a record that B does not have either
    assert p.backup("three", b"3") == 3
    said = calm(p.ok("--vault", p.b, "points"))
    assert "Note: this copy has recovery points up to" in said
    assert f"(number 2); this machine has seen number 3 at {p.a.as_uri()}" in said
    info = calm(p.ok("--vault", p.b, "vault", "info"))
    assert f"copy      of {p.a.as_uri()}, since " in info and "it follows, and takes no backups" in info
    assert "this machine has seen number 3 at" in info
    row = p.json("--vault", p.b, "vault", "info")
    assert p.json("--vault", p.b, "points")["behind"] == row["behind"] and p.json("points")["behind"] is None
    assert (row["copy"]["of"], row["copy"]["promoted"]) == (p.a.as_uri(), None)
    assert (row["behind"]["number"], row["behind"]["there"], row["behind"]["items"]) == (2, 3, 1)
    assert row["behind"]["at"] == p.a.as_uri()
    calm(p.ok("--vault", p.b, "check", "--level", "0"))
    at_home = p.json("vault", "info")
    assert at_home["copy"] is None and at_home["behind"] is None and "Note" not in calm(p.ok("points"))
    p.copy()
    assert "Note" not in calm(p.ok("--vault", p.b, "points"))


def test_a_roll_back_of_either_place_is_still_found(p: Places) -> None:
    p.backup("one", b"1")
    p.backup("two", b"2")
    p.copy()
    p.ok("--vault", p.b, "points")
    with without(p.point(p.b, 2)):
        assert "recovery point 2 of item" in p.ok("--vault", p.b, "points") and "vanished" in p.errors
        calm(p.ok("points"))
    with without(p.point(p.a, 2)):
        assert "recovery point 2 of item" in p.ok("points") and "vanished" in p.errors
        calm(p.ok("--vault", p.b, "points"))
    older = (p.a / "vault.json").read_bytes()
    p.ok("vault", "protect", "--soft-delete", "30")
    (p.a / "vault.json").write_bytes(older)
    assert "vault.json is number 1, but number 2 was seen before" in p.ok("points")
    calm(p.ok("--vault", p.b, "points"))


def test_the_first_place_keeps_the_files_of_earlier_versions(p: Places) -> None:
    """A state folder as earlier versions left it: no file there has a place, and nothing says which it was."""
    p.backup("one", b"1")
    p.backup("two", b"2")
    p.ok("check", "--level", "1")
    p.copy()
    hex_id, machine = p.id.hex(), p.json("machine", "list")["machines"][0]["id"]
    names = {f"seen-{hex_id}.json", f"number-{hex_id}.json", f"index-{hex_id}-{machine}.sqlite"}
    names |= {f"identity-{hex_id}.json"}
    assert names <= {path.name for path in p.state.iterdir()}
    assert {path.name[:17] for path in (p.state / "marks").iterdir()} == {f"{hex_id[:16]}-"}
    (p.state / f"places-{hex_id}.json").unlink()
    before = {path: path.read_bytes() for path in p.state.glob("*-*.json")}
    calm(p.ok("--vault", p.b, "points"))  # B first: it is not taken for the place that the files are about
    calm(p.ok("--vault", p.b, "check", "--level", "1"))
    assert {path: path.read_bytes() for path in before} == before
    assert len([*p.state.glob(f"seen-{hex_id}-*.json")]) == len([*p.state.glob(f"number-{hex_id}-*.json")]) == 1
    with without(p.point(p.a, 2)):
        assert "vanished" in p.ok("points")
    (p.folder / "home/config/vaults.json").unlink()  # nor does this machine know the address
    (p.state / f"places-{hex_id}.json").unlink()
    calm(p.ok("--vault", p.b, "points"))
    with without(p.point(p.a, 2)):
        assert "vanished" in p.ok("points")


def test_nothing_writes_to_a_copy_that_follows(p: Places) -> None:
    p.backup("one", b"1")
    p.copy()
    before, b = files(p.b), ("--vault", p.b)
    p.ok(*b, "points")
    for command in (
        ["backup", p.source], ["prune"], ["forget", "latest"], ["hold", "latest"],
        ["plan", "set", p.source, "--at", "01:00"],
        ["policy", "set", "--daily", "9"], ["vault", "passphrase"], ["vault", "admin", "passphrase"],
        ["vault", "protect", "--immutable", "30"], ["machine", "rename", "x", "y"], ["repair"],
    ):  # fmt: skip
        said = p.fails(*b, *command, code=5)
        assert f"{p.b.as_uri()} is a copy of {p.a.as_uri()}, and follows it" in said and "vault promote" in said
        assert said.count(";") >= 1
    assert "watch" in p.fails(*b, "watch", "--once", code=2)
    for reading in (["ls", "latest"], ["find", "one"], ["jobs"], ["policy", "show"], ["vault", "unlock", "--save"]):
        calm(p.ok(*b, *reading))
    assert KnownCopies(Settings()).all() == {p.b.as_uri(): KnownCopy(p.id, p.a.as_uri())}
    assert list(Settings().known_vaults()) == [p.a.as_uri()]
    assert "is not recorded" in p.ok(*b, "check", "--level", "2") or files(p.b) == before
    assert files(p.b) == before
    session = Session(vault=str(p.b))
    vault = session.open_vault()
    with pytest.raises(FollowingCopy):
        vault.store.create("points/x", [b""])
    with pytest.raises(FollowingCopy):
        vault.change_file(lambda file: file)
    with pytest.raises(FollowingCopy):
        session.require(Role.BACKUP)
    assert files(p.b) == before


@pytest.mark.needs_fuse
@pytest.mark.parametrize("point", [pytest.param([], marks=pytest.mark.soak), ["--point", "latest"]])
def test_a_drive_of_a_copy_that_is_behind_says_so(p: Places, point: list[str]) -> None:
    p.backup("one", b"1")
    p.copy()
    p.backup("two", b"2")
    before, place = files(p.b), p.folder / "drive"
    place.mkdir()
    said = calm(p.process("--vault", p.b, "mount", place, *point))
    try:
        assert f"(number 1); this machine has seen number 2 at {p.a.as_uri()}" in said
        assert {path.read_bytes() for path in place.rglob("one") if path.is_file()} == {b"1"}
    finally:
        p.process("unmount", place)
    assert files(p.b) == before


@pytest.mark.soak
@pytest.mark.needs_fuse
def test_a_copy_that_follows_gives_everything_back(p: Places) -> None:
    p.backup("one", os.urandom(100_000))
    p.copy()
    before, b = files(p.b), ("--vault", p.b)
    p.ok(*b, "restore", "latest", "--to", p.folder / "back")
    assert (p.folder / "back" / p.source.relative_to("/") / "one").read_bytes() == (p.source / "one").read_bytes()
    for reading in (
        ["test-restore", "latest"],
        ["versions", p.source / "one"],
        ["health"],
        ["machine", "list"],
        ["doctor"],
    ):
        assert p.code(*b, *reading) in (0, 1, 3), (reading, p.out, p.errors)
        calm(p.out + p.errors)
    assert files(p.b) == before


# --- promoting --------------------------------------------------------------------------------------------------


def checked(p: Places, at: Path) -> str:
    """What points, prune and check say of a place."""
    said = p.ok("--vault", at, "points")
    said += p.ok("--vault", at, "prune", "--yes", code=p.code("--vault", at, "prune", "--yes"))
    p.code("--vault", at, "check", "--level", "0")
    return said + p.out + p.errors


def test_promoted_when_the_source_is_lost(p: Places) -> None:
    p.backup("one", b"1")
    p.backup("two", b"2")
    p.copy()
    p.ok("--vault", p.b, "points")
    p.backup("three", b"3")
    LocalPlans(p.state).save(
        LocalVault(vault=p.id.hex(), address=p.a.as_uri(), machine="", machine_name="", fetched=1)
    )
    units = p.folder / "home/xdg/systemd/user"
    units.mkdir(parents=True)
    unit = units / "rpdrive-x.service"
    unit.write_text(unit_text(Path("/x"), [f"--vault={p.a.as_uri()}", "--point=latest"], system=False, vault=p.a))
    away = p.lose_a()
    said = p.ok("vault", "promote", str(p.b))
    assert f"The copy at {p.b.as_uri()} is a vault now" in said
    assert f"knows the vault at {p.b.as_uri()} now, and no longer at {p.a.as_uri()}" in said
    assert f"Jobs of this machine go to {p.b.as_uri()} now" in said and f"{unit} opens its drive from" in said
    assert Settings().known_vaults() == {p.b.as_uri(): p.id} and not KnownCopies(Settings()).all()
    plan = LocalPlans(p.state).of(p.id)
    assert plan is not None and plan.address == p.b.as_uri()
    assert f"--vault={p.b.as_uri()}" in unit.read_text() and p.a.as_uri() not in unit.read_text()

    p.by_itself()
    calm(checked(p, p.b))
    assert p.again(p.b) == 4 and p.backup("five", b"5", p.b) == 5  # above the number 3 that only A had
    calm(checked(p, p.b))
    calm(p.ok("watch", "--once"))
    accept = ("forget", "--missing", "--machine", p.json("machine", "list")["machines"][0]["id"])
    p.fails(*accept, "--yes", code=4)
    for lost in (1, 2, 4):  # from before the promotion, the last of those, and the first one since
        with without(p.point(p.b, lost)):
            said = checked(p, p.b)
            assert said.count(f"recovery point {lost} ") >= 3, said  # by points, prune and check
            assert f"points {lost} of" in p.ok(*accept, "--dry-run")
    calm(p.ok("vault", "info"))
    assert f"copy      of {p.a.as_uri()} until " in p.out
    assert "is a vault already" in p.ok("vault", "promote", p.b)

    away.rename(p.a)  # A comes back
    said = calm(p.ok("--vault", p.a, "points"))
    assert (
        "this place has recovery points up to" in said
        and f"this machine has seen number 5 at {p.b.as_uri()}" in said
    )
    assert "is no copy of one" in p.fails("vault", "promote", p.a, code=2)
    assert "has the same id as this one" in p.fails("--vault", p.b, "vault", "copy", p.a, code=6)
    said = calm(p.ok("--vault", p.a, "backup", p.source))
    assert f"(number 4); this machine has seen number 5 at {p.b.as_uri()}" in said
    calm(checked(p, p.a))
    assert p.again(p.b) == 6
    calm(checked(p, p.b))


def test_what_is_no_whole_copy_is_not_promoted_unasked(p: Places) -> None:
    p.backup("one", b"1")
    p.copy()
    p.point(p.b, 1).unlink()  # as after a first run that was stopped
    p.lose_a()
    assert "has no recovery points: its first run has not ended" in p.fails("vault", "promote", p.b, code=2)
    write_twin_file(p.b, TwinFile(vault=p.id.hex(), seed="00" * 16, machine="00" * 16, expires=0))
    assert "is the twin of a first backup" in p.fails("vault", "promote", p.b, "--yes", code=2)
    (p.b / TWIN_FILE).unlink()
    p.ok("vault", "promote", p.b, "--yes")


@pytest.mark.soak
def test_a_copy_in_azure_is_promoted(p: Places, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock has whole seconds: the promotion is apart from what was stored before and since."""
    for name, value in azurite.environ.items():
        monkeypatch.setenv(name, value)
    container, url = azurite.container("places"), f"azure://{ACCOUNT}/places"
    p.backup("one", b"1")
    p.ok("vault", "copy", url)
    calm(p.ok("--vault", url, "points"))
    p.backup("two", b"2")
    assert "follows it" in p.fails("--vault", url, "backup", p.source, code=5)
    assert f"(number 1); this machine has seen number 2 at {p.a.as_uri()}" in calm(p.ok("--vault", url, "points"))
    p.lose_a()
    p.ok("vault", "promote", url)
    assert p.again(url) == 3 and p.again(url) == 4
    said = (
        p.ok("--vault", url, "points")
        + p.ok("--vault", url, "prune")
        + p.ok("--vault", url, "check", "--level", "1")
    )
    calm(said)
    for blob in container.list_blobs("points/"):
        if "-00000003-" in blob.name:
            container.delete_blob(blob.name)
    assert "recovery point 3 of item" in p.ok("--vault", url, "points")


def test_a_source_that_still_answers_stays_the_vault(p: Places) -> None:
    p.backup("one", b"1")
    p.copy()
    before = files(p.b)
    said = p.fails("vault", "promote", p.b, code=2)
    assert f"{p.a.as_uri()}, which {p.b.as_uri()} is a copy of, still answers" in said and "--yes" in said
    assert files(p.b) == before and list(Settings().known_vaults()) == [p.a.as_uri()]
    of = CopyMark("azure://account/vault\n; rm", "2026-11-20T08:00:00+00:00")
    p.opened(p.b).change_file(lambda file: file.changed(copy=of))
    away, before = p.lose_a(), files(p.b)
    said = p.fails("vault", "promote", p.b, code=2)  # nobody is asked who would get this machine's token
    assert "is not known to this machine, and may still be there" in said
    assert "\n" not in p.fails("--vault", p.b, "prune", code=5).rstrip("\n") and files(p.b) == before
    away.rename(p.a)
    row = p.json("vault", "promote", p.b, "--yes")
    assert (row["vault"], row["of"], row["was_before"]) == (p.b.as_uri(), of.of, False)
    assert p.again(p.b) == 2
    assert "was promoted: it is a vault in its own right" in p.fails("--vault", p.a, "vault", "copy", p.b, code=6)
    assert p.fails("vault", "promote", p.folder / "none", code=6)


def test_a_copy_of_a_promoted_copy_has_no_gap_either(p: Places) -> None:
    """Pruning writes down what was skipped: its own vault.json says that no more."""
    p.backup("one", b"1")
    p.copy()
    p.backup("two", b"2")
    p.backup("three", b"3")
    p.ok("vault", "promote", p.b, "--yes")
    assert p.again(p.b) == 4
    p.ok("--vault", p.b, "prune")
    c = p.folder / "c"
    p.ok("--vault", p.b, "vault", "copy", c)
    p.on("other")
    assert p.json("--vault", c, "points")["warnings"] == []
    calm(p.ok("--vault", c, "check", "--level", "0"))
    assert "2 points missing, which was accepted" in p.ok("--vault", c, "points", "--deleted")


def test_another_machine_saw_more_at_the_lost_place(p: Places) -> None:
    p.backup("one", b"1")
    p.copy()
    p.backup("two", b"2")
    p.backup("three", b"3")
    p.on("other")
    Settings().remember_vault(p.a.as_uri(), p.id)
    p.ok("points")
    p.lose_a()
    p.on("home")
    p.ok("vault", "promote", p.b)
    assert p.again(p.b) == 4
    p.on("other")
    said = calm(checked(p, p.b))
    assert "Note" not in said
    said = p.ok("vault", "promote", p.b)
    assert "is a vault already" in said and "no longer at" in said
    p.by_itself()
    calm(p.ok("points"))
    with without(p.point(p.b, 4)):
        assert "recovery point 4 of" in p.ok("points")


def test_no_point_rests_on_packs_of_the_other_place(p: Places) -> None:
    p.backup("one", os.urandom(300_000))
    p.copy()
    p.backup("two", os.urandom(300_000))  # A has its pack, and this machine knows that
    p.ok("vault", "promote", p.b, "--yes")
    for n, at in enumerate((p.b, p.a, p.b, p.a)):
        p.backup(f"more {n}", os.urandom(300_000), at)
        for place in (p.a, p.b):
            calm(p.ok("--vault", place, "check", "--level", "3"))
    shown = p.ok("--vault", p.b, "ls", "latest:" + str(p.source))
    assert all(f"{name}" in shown for name in ("one", "two", "more 0", "more 2"))


# --- files and lists ---------------------------------------------------------------------------------------------


def test_credentials_are_those_of_a_place(tmp_path: Path) -> None:
    settings = Settings({"RPDRIVE_HOME": str(tmp_path)})
    connections, vault = Connections(settings), bytes(range(16))
    a, b = (issue(f"file:///{name}", vault, Role.BACKUP) for name in "ab")
    connections.save(a)  # as an earlier version did, by the vault's id alone
    assert (tmp_path / f"state/connections/{vault.hex()}.json").exists()
    assert connections.load(vault, b.address) is None
    connections.save(b)
    assert connections.load(vault, a.address) == a and connections.load(vault, b.address) == b
    assert connections.delete(vault, a.address) and not connections.delete(vault, "file:///c")
    assert connections.load(vault, b.address) == b and connections.load(vault, a.address) is None


def test_a_machine_is_connected_to_a_copy_beside_the_vault(p: Places) -> None:
    p.backup("one", b"1")
    p.copy()
    for at in (p.a, p.b):
        p.ok("--vault", at, "vault", "credentials", "--role", "restore", "--output", p.folder / f"{at.name}.json")
    p.on("other")
    for at in (p.a, p.b):
        p.ok("vault", "connect", p.folder / f"{at.name}.json", "--save-key")
    assert KnownCopies(Settings()).all() == {p.b.as_uri(): KnownCopy(p.id, p.a.as_uri())}
    assert Settings().known_vaults() == {p.a.as_uri(): p.id}
    for at in (p.a, p.b):
        assert "the role backup" in p.fails("--vault", at, "backup", p.source, code=5)
    p.by_itself()
    assert p.json("points")["vault"] == p.a.as_uri()  # a copy is never the default
    p.ok("--vault", p.b, "vault", "disconnect")
    assert not KnownCopies(Settings()).all() and Connections(Settings()).load(p.id, p.a.as_uri()) is not None
    assert Session(vault=str(p.a)).saved_keys.load(p.id) is not None  # the key is that of both
    p.ok("vault", "disconnect")
    assert Session(vault=str(p.a)).saved_keys.load(p.id) is None and not Settings().known_vaults()
    assert not list((p.state / "connections").iterdir())


def test_one_folder_by_two_names_is_one_place(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    places = VaultPlaces(tmp_path / "state", bytes(16))
    names = [(tmp_path / name).as_uri() for name in ("folder", "link", "other")]
    found = [places.state_id(address, (), following=False) for address in names]
    assert found[0] == found[1] == bytes(16).hex() and found[2].startswith(found[0] + "-")
    assert places.address_of(found[2]) == names[2] and places.address_of(found[0]) in names[:2]
    (tmp_path / f"state/places-{bytes(16).hex()}.json").write_text("[1]")
    assert places.state_id(names[2], names[:1], following=False) == found[2]
    assert places.state_id("no address", names[:1], following=True).startswith(found[0] + "-")


def test_files_about_a_place_are_named_by_it() -> None:
    """A file by the vault's id alone would be one for all its places."""
    allowed = {
        "catalog/access/place.py": "the places themselves",
        "catalog/access/secrets.py": "one key opens all places; connections add a suffix",
        "catalog/access/disconnecting.py": "the plans, which lead to one place",
        "catalog/access/actions.py": "a file for another machine",
        "catalog/access/issued.py": "what was issued to others",
        "catalog/machines/registry.py": "a machine and its items are the same at all places",
        "catalog/points/seen.py": "all places, to find them",
        "catalog/seeds/local.py": "the lock, as below",
        "backup/job.py": "the lock: one backup into a vault at a time",
    }
    found = set[str]()
    for package in ("catalog", "cache", "mount", "backup"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(text)) if _ENDS.search(text) else ():
                if isinstance(node, ast.JoinedStr) and _names_a_file(node):
                    found.add(path.relative_to(ROOT).as_posix())
    assert found <= set(allowed), found - set(allowed)
    assert {"catalog/machines/registry.py", "backup/job.py"} <= found, "the test finds such names"


_ENDS = re.compile(r"\.(json|sqlite|txt|lock)\b")


def _names_a_file(node: ast.JoinedStr) -> bool:
    texts = "".join(
        part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )
    ids = [ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
    of_vault = any((".hex()" in one and "vault" in one) or one == "vault_id" for one in ids)
    return of_vault and _ENDS.search(texts) is not None


def test_units_are_changed_only_where_they_name_the_vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "systemd/user"
    folder.mkdir(parents=True)
    texts = {
        name: unit_text(Path(f"/{name}"), [f"--vault={address}", "--point=latest"], system=False, vault=None)
        for name, address in (("one", "file:///a b"), ("two", "file:///a b/c"), ("three", "file:///b"))
    }
    for name, text in texts.items():
        (folder / f"rpdrive-{name}.service").write_text(text + "# mine: file:///a b\n")
    (line,) = SystemdUnits().readdress("file:///a b", "file:///c d")
    assert "rpdrive-one.service" in line
    changed = (folder / "rpdrive-one.service").read_text()
    assert changed.count("file:///c d") == 1 and changed.endswith("# mine: file:///a b\n")
    for name in ("two", "three"):
        assert (folder / f"rpdrive-{name}.service").read_text() == texts[name] + "# mine: file:///a b\n"
