"""Whose points and modes are trusted; files are open to nobody before their ACL is set."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from catalog.format.values import NodeKind, Owner
from catalog.store.local import LocalStore
from catalog.store.memory import MemoryStore
from catalog.vault import Vault, open_vault
from mount.restore.conflict import Policy
from mount.restore.disk.limits import ACLS
from mount.restore.disk.posix import PosixDisk
from mount.restore.report import Report
from tests.kit.drives import Home, Maker, acl
from tests.kit.restoring import a_point, restore
from tests.kit.vaultmaker import open_empty
from tests.kit.vaults import PASSPHRASE, make_vault

pytestmark = pytest.mark.needs_root

ROOT = Owner(0, 0, "root", "root")
MINE, OTHER = bytes(16), b"x" * 16  # `a_point` makes points of the first
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
NAMED, OWNING_GROUP, MASK, ALL = 2, 4, 0x10, 0xFFFFFFFF
# The owning group has nothing; the user 3000 may read. The group's bits of the mode are the mask: r--.
KEEPS_OUT = acl((1, 6, ALL), (NAMED, 4, 3000), (OWNING_GROUP, 0, ALL), (MASK, 4, ALL), (0x20, 0, ALL))


def reasons(report: Report) -> dict[bytes, str]:
    return {p.path: p.reason for p in report.problems}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- points of other machines -----------------------------------------------------------------------------------


def powerful(vault: Vault) -> Any:
    """A point with entries that give more rights than their user has."""
    maker = Maker(vault)
    return a_point(maker.root([
        maker.file(b"capable", b"x", owner=ROOT, mode=0o755, xattrs={b"security.capability": CAPABILITY}),
        maker.node(b"device", NodeKind.BLOCK_DEVICE, content=(7, 200), owner=ROOT, mode=0o660),
        maker.folder(b"folder", [maker.file(b"set-gid", b"x", owner=ROOT, mode=0o2755)], mode=0o2775),
        maker.node(b"pipe", NodeKind.FIFO, owner=ROOT, mode=0o4644),
        maker.file(b"plain", b"x", owner=ROOT, mode=0o1644, xattrs={b"user.x": b"y"}),
        maker.file(b"set-uid", b"x", owner=ROOT, mode=0o4755),
        maker.file(b"set-uid, empty", owner=ROOT, mode=0o6755),
    ]))  # fmt: skip


@pytest.mark.parametrize("dry", [False, True])
def test_another_machines_modes_are_not_trusted(tmp_path: Path, dry: bool) -> None:
    """It could make itself root on every machine that restores from the vault."""
    vault = open_empty(MemoryStore())
    point = powerful(vault)
    report = restore(vault, point, tmp_path / "to", own=OTHER, trust_modes=False, dry_run=dry)
    bits = b"capable", b"folder/set-gid", b"pipe", b"set-uid", b"set-uid, empty"
    assert sorted(reasons(report)) == sorted([*bits, b"device"])
    assert "device was left out" in reasons(report)[b"device"]
    for name in bits:
        assert "were left out" in reasons(report)[name] and "--trust-modes" in reasons(report)[name]
    if dry:
        return
    found = {path.name: mode(path) for path in (tmp_path / "to").rglob("*")}
    assert found == {
        "capable": 0o755, "folder": 0o2775, "set-gid": 0o755, "pipe": 0o644, "plain": 0o1644, "set-uid": 0o755,
        "set-uid, empty": 0o755,
    }  # fmt: skip
    assert os.listxattr(tmp_path / "to" / "capable") == []
    assert os.getxattr(tmp_path / "to" / "plain", "user.x") == b"y"


@pytest.mark.parametrize("options", [{"own": MINE, "trust_modes": False}, {"own": OTHER, "trust_modes": True}])
def test_this_machines_own_modes_are(tmp_path: Path, options: Any) -> None:
    vault = open_empty(MemoryStore())
    report = restore(vault, powerful(vault), tmp_path / "to", **options)
    assert report.problems == []
    assert mode(tmp_path / "to" / "set-uid") == 0o4755 and mode(tmp_path / "to" / "folder" / "set-gid") == 0o2755
    assert os.getxattr(tmp_path / "to" / "capable", "security.capability") == CAPABILITY
    assert stat.S_ISBLK((tmp_path / "to" / "device").stat().st_mode)


def test_what_is_not_written_is_not_told(tmp_path: Path) -> None:
    vault = open_empty(MemoryStore())
    point = powerful(vault)
    restore(vault, point, tmp_path / "to", own=MINE)
    report = restore(vault, point, tmp_path / "to", own=OTHER, trust_modes=False)
    assert reasons(report) == {} and mode(tmp_path / "to" / "set-uid") == 0o4755
    plain = restore(vault, point, tmp_path / "plain", own=OTHER, trust_modes=False, permissions=False)
    assert list(reasons(plain)) == [b"device"], "without permissions no bits are set anyway"


class Two(Home):
    """A machine, and another one that shares its vault and may have the newest point."""

    def __init__(self, folder: Path) -> None:
        make_vault(folder / "vault")
        super().__init__(folder, folder / "vault")
        self.other = Home(folder / "other", self.vault)
        self.file = folder / "source" / "tool"
        self.file.parent.mkdir()
        self.put(b"one's", 0o755)
        self.run("backup", self.file.parent, "--machine", "one", "--item", "data")
        self.put(b"the other's", 0o4755)
        self.other.run("backup", self.file.parent, "--machine", "other", "--item", "data")
        self.file.unlink()

    def put(self, text: bytes, bits: int) -> None:
        self.file.write_bytes(text)
        self.file.chmod(bits)

    def id_of(self, name: str) -> str:
        vault = open_vault(LocalStore(self.vault), passphrase=PASSPHRASE)
        return next(p.id.hex() for p in vault.points(vault.point_names()) if p.machine_name == name)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def test_in_place_takes_this_machines_points(two: Two) -> None:
    """It took the newest point of any machine, with its set-user-id bit, over this machine's files."""
    two.run("restore", f"latest:{two.file}", "--in-place")
    assert two.file.read_bytes() == b"one's"
    done = two.run(
        "restore", f"latest:{two.file}", "--in-place", "--machine", "other", "--on-conflict", "overwrite",
        exit_code=3,
    )  # fmt: skip
    assert two.file.read_bytes() == b"the other's" and mode(two.file) == 0o755
    assert "the recovery point is of another machine (see --trust-modes)" in done.stdout
    two.file.unlink()
    two.run("restore", f"latest:{two.file}", "--in-place", "--machine", "other", "--trust-modes")
    assert mode(two.file) == 0o4755
    two.run("restore", f"{two.id_of('other')}:{two.file}", "--to", two.folder / "to", "--trust-modes")
    assert (two.folder / "to" / "tool").read_bytes() == b"the other's"


@pytest.mark.parametrize("newcomer", [False, True])
def test_in_place_names_the_other_machine(two: Two, newcomer: bool) -> None:
    home = Home(two.folder / "new", two.vault) if newcomer else two
    refused = home.run("restore", f"{two.id_of('other')}:{two.file}", "--in-place", exit_code=2)
    assert "is of the machine other, not of this one; add --machine other" in refused.stderr
    if newcomer:
        assert "not of this one" in home.run("restore", f"latest:{two.file}", "--in-place", exit_code=2).stderr
    assert not two.file.exists()


@pytest.mark.needs_fuse
def test_in_place_from_a_drive(two: Two) -> None:
    drive = two.mount(name="drive")
    try:
        path = drive / "other" / "data" / "latest" / str(two.file).lstrip("/")
        refused = two.run("restore", path, "--in-place", exit_code=2)
        assert "is of the machine other" in refused.stderr and not two.file.exists()
        two.run("restore", path, "--in-place", "--machine", "other", "--trust-modes")
        assert two.file.read_bytes() == b"the other's"
    finally:
        two.close()


def test_a_garbled_registration_is_no_machine(two: Two) -> None:
    (path,) = (two.folder / "home" / "state").glob("identity-*.json")
    for text in (json.dumps({"machine": "zz", "name": "one"}), "{"):
        path.write_text(text)
        two.run("restore", f"latest:{two.file}", "--in-place", exit_code=2)


# --- ACLs -------------------------------------------------------------------------------------------------------


def restricted(vault: Vault, **fields: Any) -> Any:
    maker = Maker(vault)
    xattrs = {b"system.posix_acl_access": KEEPS_OUT}
    made: dict[str, Any] = {"owner": ROOT, "mode": 0o640, "xattrs": xattrs} | fields
    return a_point(maker.root([
        maker.file(b"large", bytes(range(256)) * 1000, b"more", **made),
        maker.folder(b"folder", [], **(made | {"mode": 0o750})),
        maker.file(b"small", b"secret", **made),
    ]))  # fmt: skip


def test_a_file_with_an_acl_is_private_until_it_is_set(tmp_path: Path) -> None:
    """It was made with the mode of stat, whose group bits are the mask: the group could read it meanwhile."""
    seen: list[int] = []

    class Watching(PosixDisk):
        def pwrite(self, fd: int, data: Any, position: int) -> int:
            seen.append(stat.S_IMODE(os.fstat(fd).st_mode))
            return os.pwrite(fd, data, position)

    vault = open_empty(MemoryStore())
    report = restore(vault, restricted(vault), tmp_path, disk=Watching())
    assert report.problems == [] and len(seen) >= 3 and set(seen) == {0o600}
    for name in ("small", "large"):
        assert os.getxattr(tmp_path / name, "system.posix_acl_access") == KEEPS_OUT
        assert mode(tmp_path / name) == 0o640


@pytest.mark.parametrize("malformed", [False, True])
def test_where_the_acl_cannot_be_set_the_group_stays_out(
    malformed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For good, on a file system that stores no ACLs: the mask's bits were left to the owning group."""
    vault = open_empty(MemoryStore())
    fields: Any = {"xattrs": {b"system.posix_acl_access": b"nonsense"}} if malformed else {}
    real = os.setxattr

    def refusing(path: Any, name: Any, *args: Any, **options: Any) -> None:
        if os.fsencode(name) == b"system.posix_acl_access":
            raise OSError(95, "Operation not supported")
        real(path, name, *args, **options)

    monkeypatch.setattr(os, "setxattr", refusing)
    report = restore(vault, restricted(vault, **fields), tmp_path)
    assert report.limits == {ACLS: 3} and not report.reasons
    assert {name: mode(tmp_path / name) for name in ("small", "large", "folder")} == {
        "small": 0o600, "large": 0o600, "folder": 0o700,
    }  # fmt: skip


# --- numbers and names that this system doesn't take ------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"owner": Owner(2**40, 0, "", "")}, {"owner": Owner(-2, 0, "", "")}, {"xattrs": {b"user.\0x": b"v"}},
        {"mtime": 2**64 - 1}, {"mode": 2**40}, {"size": 2**63 + 5},
        {"more": {"attributes": 0, "created": 2**63 - 1}},
        {"kind": NodeKind.SYMLINK, "content": b"x\0y"}, {"kind": NodeKind.CHAR_DEVICE, "content": (2**40, 2**40)},
        {"kind": 99}, {"link": 2**40},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("policy", list(Policy))
def test_a_forged_entry_costs_that_entry(fields: Any, policy: Policy, tmp_path: Path) -> None:
    """It ended the whole restore, exit 70."""
    vault = open_empty(MemoryStore())
    maker = Maker(vault)
    fields = dict(fields)
    kind = fields.pop("kind", NodeKind.FILE)
    nodes = [maker.node(b"a", kind, **({"content": []} | fields)), maker.file(b"z-honest", b"honest")]
    point = a_point(maker.root(nodes))
    for _ in range(2):
        report = restore(vault, point, tmp_path, policy=policy)
        assert (tmp_path / "z-honest").read_bytes() == b"honest"
        assert {p.path for p in report.problems} <= {b"a"}
