"""What stands against the restore of a volume, as a pure function of what is known of both sides."""

from __future__ import annotations

from catalog.format.records import Volume
from mount.restore.disk.base import Ground
from mount.restore.disk.posix import PosixDisk
from mount.restore.volume.needs import Largest, Needs
from mount.restore.volume.refusals import Refusal, Wish, refusals

HOME = Wish(Volume(place=b"/srv", uuid="a"), b"/srv", True, "Linux", "Linux", True)
AWAY = HOME._replace(to=b"/mnt", home=False)
GOOD = Ground(exists=True, mounted_at=b"/srv", file_system="ext4", uuid="a", free=1000, free_files=10, name_max=255)
GOOD_AWAY = GOOD._replace(mounted_at=b"/mnt", uuid="b")


def reasons(wish: Wish, ground: Ground, needs: Needs | None = None) -> list[str]:
    return [refusal.reason for refusal in refusals(wish, ground, needs or Needs())]


def test_nothing_stands_against_a_fitting_place() -> None:
    assert reasons(HOME, GOOD) == reasons(AWAY, GOOD_AWAY) == []
    fits = Needs(room=1000, entries=12, hard_links=2, symlinks=5, xattrs=3, acls=3, specials=1, over_4_gib=1)
    assert reasons(HOME, GOOD, fits) == []


def test_places() -> None:
    running = GOOD._replace(runs_system=True)
    assert "rescue system" in reasons(HOME, running)[0] and refusals(HOME, running, Needs())[0].is_final
    assert reasons(AWAY, GOOD_AWAY._replace(runs_system=True)) == []  # a folder of its disk may be wanted
    assert refusals(HOME, GOOD._replace(read_only=True), Needs())[0].is_final
    elsewhere = GOOD._replace(mounted_at=b"/")
    assert [r.is_final for r in refusals(HOME, elsewhere, Needs())] == [True]
    assert [r.is_final for r in refusals(AWAY, elsewhere, Needs())] == [False]
    other = refusals(HOME, GOOD._replace(uuid="b"), Needs())
    assert [r.is_final for r in other] == [False] and "UUID is b" in other[0].reason
    assert reasons(HOME, GOOD._replace(uuid="")) == reasons(HOME._replace(volume=Volume(place=b"/srv")), GOOD) == []


def test_other_systems() -> None:
    assert [r.is_final for r in refusals(HOME._replace(system="Windows"), GOOD, Needs())] == [True]
    assert [r.is_final for r in refusals(AWAY._replace(system="Windows"), GOOD_AWAY, Needs())] == [False]


def test_room_is_counted_with_what_is_there_while_a_file_is_replaced() -> None:
    assert reasons(HOME, GOOD, Needs(room=900, largest_replaced=101)) == ["1001 B are needed, and 1000 B are free"]
    assert reasons(HOME, GOOD, Needs(entries=12, hard_links=1)) == ["11 inodes are needed, and 10 are free"]
    assert reasons(HOME, GOOD._replace(free=None, free_files=None), Needs(room=10**9, entries=10**9)) == []


def test_features_of_fat() -> None:
    fat = GOOD_AWAY._replace(file_system="vfat", name_max=1530)
    needs = Needs(
        symlinks=2, hard_links=1, xattrs=1, acls=3, over_4_gib=1, largest=Largest(1 << 33, b"big"), twins=1,
        twin=b"README", forbidden=1, forbidden_name=b"a:b", permissions=True, longest_units=Largest(256, b"long"),
    )  # fmt: skip
    said = "; ".join(reasons(AWAY, fat, needs))
    for part in ("2 symlinks, 1 hard link", "3 ACLs", "owners and permissions", "4 GiB or more, e.g. big",
                 "e.g. README", "e.g. a:b", "too long for vfat: long"):  # fmt: skip
        assert part in said, (part, said)
    plain = "; ".join(reasons(AWAY._replace(permissions=False), fat, needs))
    assert "ACL" not in plain and "owners" not in plain and "symlinks" in plain
    assert reasons(AWAY, fat, Needs()) == []  # files that all have one owner and one mode, as of FAT itself
    exfat = "; ".join(reasons(AWAY, fat._replace(file_system="exfat"), needs))
    assert "4 GiB" not in exfat and "symlinks" in exfat
    ntfs = "; ".join(reasons(AWAY, fat._replace(file_system="ntfs3"), needs))
    assert "symlinks" not in ntfs and "e.g. a:b" in ntfs and "too long" in ntfs


def test_long_names_elsewhere() -> None:
    assert "143" in reasons(HOME, GOOD._replace(name_max=143), Needs(longest=Largest(144, b"x")))[0]


def test_what_is_final_comes_first() -> None:
    found = refusals(HOME, GOOD._replace(read_only=True), Needs(room=2000))
    assert [r.is_final for r in found] == [True, False] and all(isinstance(r, Refusal) for r in found)


def test_this_system_runs_from_its_root() -> None:
    ground = PosixDisk.ground(b"/no/such/folder")
    assert (ground.exists, ground.mounted_at, ground.runs_system) == (False, b"/", True)
    assert PosixDisk.ground(b"/proc").mounted_at == b"/proc" and not PosixDisk.ground(b"/proc").runs_system
