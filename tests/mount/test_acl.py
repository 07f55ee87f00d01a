"""ACLs on a drive that others may enter: nobody reads what the source would not let them read."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.reader import Reader
from catalog.format.packs import Extent
from catalog.format.values import OutOfLine, Owner
from catalog.store.memory import MemoryStore
from mount.view.acl import narrowed
from mount.view.all_points import AllPointsView
from mount.view.nodes import Folder
from mount.view.point import PointView
from tests.kit.drives import Home, Maker, acl, add_machine, add_point, mount_options
from tests.kit.vaults import make_vault, new_vault

ACCESS = b"system.posix_acl_access"
NOBODY = 0xFFFFFFFF
OWN, USER, GROUP, NAMED_GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
Rows = list[tuple[int, int, int]]


def mode_of(rows: Rows) -> int:
    """The mode that stat shows for an ACL: its mask where it has one."""
    may = {tag: perm for tag, perm, _who in rows}
    return may[OWN] << 6 | may.get(MASK, may[GROUP]) << 3 | may[OTHER]


def by_acl(rows: Rows, owner: Owner, uid: int, groups: set[int]) -> int:
    """What a process may do by an ACL (acl(5), "Access check algorithm")."""
    mask = next((perm for tag, perm, _who in rows if tag == MASK), 7)
    if uid == owner.uid:
        return next(perm for tag, perm, _who in rows if tag == OWN)
    for tag, perm, who in rows:
        if tag == USER and who == uid:
            return perm & mask
    of_groups = [perm for tag, perm, _who in rows if tag == GROUP and owner.gid in groups]
    of_groups += [perm for tag, perm, who in rows if tag == NAMED_GROUP and who in groups]
    if of_groups:
        may = 0
        for perm in of_groups:  # the bits of all entries together: more than the kernel would give
            may |= perm & mask
        return may
    return next(perm for tag, perm, _who in rows if tag == OTHER)


def by_mode(mode: int, owner: Owner, uid: int, groups: set[int]) -> int:
    return mode >> (6 if uid == owner.uid else 3 if owner.gid in groups else 0) & 7


def some_acl(rng: random.Random) -> Rows:
    def may() -> int:
        return rng.choice((0, 4, 5, 6, 7))

    users = [(USER, may(), who) for who in sorted(rng.sample(range(1, 5), rng.randrange(3)))]
    groups = [(NAMED_GROUP, may(), who) for who in sorted(rng.sample(range(11, 15), rng.randrange(3)))]
    mask = [(MASK, may(), NOBODY)] if users or groups else []
    return [(OWN, may(), NOBODY), *users, (GROUP, may(), NOBODY), *groups, *mask, (OTHER, may(), NOBODY)]


@pytest.mark.parametrize("seed", range(20))
def test_narrowed_bits_never_give_more_than_the_acl(seed: int) -> None:
    rng, owner = random.Random(seed), Owner(1, 11)
    for _ in range(200):
        rows = some_acl(rng)
        mode = narrowed(mode_of(rows), acl(*rows))
        for uid in range(1, 6):
            groups = set(rng.sample(range(11, 16), rng.randrange(4)))
            given, allowed = by_mode(mode, owner, uid, groups), by_acl(rows, owner, uid, groups)
            assert given & ~allowed == 0, (rows, oct(mode), uid, groups)
        assert mode >> 6 == mode_of(rows) >> 6


def test_bits_that_no_acl_narrows_stay() -> None:
    assert narrowed(0o4755, None) == 0o4755
    plain: Rows = [(OWN, 7, NOBODY), (GROUP, 5, NOBODY), (OTHER, 5, NOBODY)]
    assert narrowed(0o2755, acl(*plain)) == 0o2755
    given: Rows = [(OWN, 6, NOBODY), (USER, 6, 3000), (GROUP, 4, NOBODY), (MASK, 6, NOBODY), (OTHER, 0, NOBODY)]
    assert narrowed(0o660, acl(*given)) == 0o640
    refused: Rows = [(OWN, 6, NOBODY), (USER, 0, 3001), (GROUP, 4, NOBODY), (MASK, 4, NOBODY), (OTHER, 4, NOBODY)]
    assert narrowed(0o644, acl(*refused)) == 0o600


@pytest.mark.parametrize("bad", [b"", b"\x02", b"\x02\0\0\0x", b"\x01\0\0\0" + b"\0" * 8, b"\x03\0\0\0"])
def test_a_malformed_acl_leaves_the_owner_alone(bad: bytes) -> None:
    assert narrowed(0o4777, bad) == 0o4700
    assert narrowed(0o666, OutOfLine(Extent(b"p" * 16, 8, 100, 0, 100, b"c" * 16))) == 0o600


KEEP_GROUP_OUT: Rows = [
    (OWN, 7, NOBODY),
    (USER, 5, 3000),
    (GROUP, 0, NOBODY),
    (MASK, 5, NOBODY),
    (OTHER, 0, NOBODY),
]
KEEP_USER_OUT: Rows = [(OWN, 7, NOBODY), (USER, 0, 3001), (GROUP, 5, NOBODY), (MASK, 5, NOBODY), (OTHER, 5, NOBODY)]


def test_views_narrow_if_a_driver_asks() -> None:
    vault = new_vault(MemoryStore())
    add_machine(vault)
    m = Maker(vault)
    file = m.file(b"file", b"x", mode=0o750, xattrs={ACCESS: acl(*KEEP_GROUP_OUT)})
    folder = m.folder(b"folder", [m.file(b"in it", b"x")], mode=0o755, xattrs={ACCESS: acl(*KEEP_USER_OUT)})
    nodes = [file, folder]
    point = add_point(vault, m.root(nodes), 1)

    def modes(root: Folder) -> list[int]:
        return [page.node(n).attributes.mode & 0o777 for page in root.pages() for n in range(len(page.names))]

    reader = Reader(vault)
    one = PointView(reader, point)
    assert modes(one.root) == [0o750, 0o755]
    one.narrow()
    assert modes(one.root) == [0o700, 0o700]
    every = AllPointsView(vault, reader)
    every.narrow()
    home = every.root.lookup(b"box")
    for name in (b"home", b"latest"):
        assert isinstance(home, Folder)
        if name == b"latest":
            versions = home.lookup(b".versions")
            assert isinstance(versions, Folder)
            # Folders there have no ACL, so they are narrow on every drive; each version of a file has its own.
            assert modes(versions) == [0o755, 0o700]
        home = home.lookup(name) if name == b"home" else home
    assert isinstance(home, Folder)
    (day,) = [name for page in home.pages() for name in page.names if name.startswith(b"20")]
    dated = home.lookup(day)
    assert isinstance(dated, Folder) and modes(dated) == [0o700, 0o700]


# --- real users -----------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, driver: str) -> Iterator[Home]:
    home = Home(tmp_path, tmp_path / "vault")
    yield home
    home.close()


def readable(place: Path, names: list[str], uid: int, gid: int, *groups: int) -> set[str]:
    """The files among `names` that a process of this user and these groups can read."""
    who = ["setpriv", f"--reuid={uid}", f"--regid={gid}"]
    who.append("--groups=" + ",".join(map(str, groups)) if groups else "--clear-groups")
    script = 'cd "$1" || exit 9; shift; for f; do cat "$f" >/dev/null 2>&1 && echo "$f"; done; true'
    done = subprocess.run(
        [*who, "sh", "-c", script, "sh", place, *names], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines())


@pytest.mark.needs_fuse
@pytest.mark.needs_root
@pytest.mark.needs_program("setpriv", "getfacl")
def test_others_read_what_the_source_lets_them_read(home: Home, tmp_path: Path, driver: str) -> None:
    rng, owner = random.Random(3), Owner(2000, 2001)
    acls = {f"file{n}": some_acl(rng) for n in range(24)} | {"group out": KEEP_GROUP_OUT, "user out": KEEP_USER_OUT}
    folders = {"folder group": KEEP_GROUP_OUT, "folder user": KEEP_USER_OUT}
    ids = {USER: 3000, NAMED_GROUP: 4000}
    real: dict[str, Rows] = {
        name: [(tag, perm, who if who in (NOBODY, 3000, 3001) else ids[tag] + who % 10) for tag, perm, who in rows]
        for name, rows in (acls | folders).items()
    }
    source = tmp_path / "source"
    source.mkdir()
    tmp_path.chmod(0o755)
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m, nodes = Maker(vault), []
    for name, rows in real.items():
        path = source / name
        xattrs = {ACCESS: acl(*rows)}
        if name in folders:
            path.mkdir()
            (path / "in it").write_text("x")
            inside = m.file(b"in it", b"x", mode=0o644, owner=owner)
            nodes.append(m.folder(name.encode(), [inside], mode=mode_of(rows), owner=owner, xattrs=xattrs))
            (path / "in it").chmod(0o644)
        else:
            path.write_text("x")
            nodes.append(m.file(name.encode(), b"x", mode=mode_of(rows), owner=owner, xattrs=xattrs))
        os.chown(path, owner.uid, owner.gid)
        os.chmod(path, mode_of(rows))
        os.setxattr(path, ACCESS, xattrs[ACCESS])
    source.chmod(0o755)
    add_point(vault, m.root(nodes), 1)
    drive = home.mount("--point", "latest", "--allow-other")
    options = mount_options(drive)
    assert options is not None and "allow_other" in options[1]
    names = [name + "/in it" if name in folders else name for name in real]
    users = [(2000, 2001), (3000, 2001), (3001, 3001), (3001, 2001), (3002, 3002, 4001, 4002), (5000, 2001),
             (5000, 5000), (5000, 5000, 2001, 4003), (0, 0)]  # fmt: skip
    some = 0
    for user in users:
        allowed, given = readable(source, names, *user), readable(drive, names, *user)
        assert given <= allowed, (user, given - allowed)
        assert driver != "kernel" or given == allowed, (user, allowed - given)
        some += 0 < len(allowed) < len(names)
    assert some >= 5  # users from whom some of it is kept
    for name in real:  # shown as at the source, whatever is enforced
        shown, original = (
            subprocess.run(["getfacl", "-cpE", at / name], capture_output=True, text=True, check=True).stdout
            for at in (drive, source)
        )
        assert driver != "kernel" or shown == original
