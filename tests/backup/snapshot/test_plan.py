"""Which file systems hold the files of a backup, from tables of mounts as kernels write them."""

from __future__ import annotations

from backup.snapshot.plan import Area, How, Mounts, planned
from catalog.mountinfo import parse

FEDORA = rb"""1 0 0:2 / / rw - rootfs rootfs rw
60 1 0:33 /root / rw,relatime shared:1 - btrfs /dev/mapper/luks-1 rw,subvolid=257,subvol=/root
36 60 0:6 / /dev rw,nosuid shared:2 - devtmpfs devtmpfs rw
42 60 0:22 / /proc rw,nosuid shared:12 - proc proc rw
50 60 0:24 / /run rw,nosuid shared:11 - tmpfs tmpfs rw
71 60 0:33 /home /home rw,relatime shared:33 - btrfs /dev/mapper/luks-1 rw,subvolid=256,subvol=/home
72 60 259:2 / /boot rw,relatime shared:34 - ext4 /dev/nvme0n1p2 rw
75 72 259:1 / /boot/efi rw,relatime shared:36 - vfat /dev/nvme0n1p1 rw,fmask=0077
80 60 0:45 / /mnt/nas rw,relatime - nfs4 nas:/x rw
81 71 0:46 / /home/anna/drive ro,nosuid,nodev - fuse.rpdrive rpdrive ro
82 71 0:47 / /home/anna/sshfs rw,nosuid,nodev - fuse.sshfs host: rw
83 60 7:1 / /snap/core/1 ro,nodev - squashfs /dev/loop1 ro
84 60 8:1 /data /srv/www rw - ext4 /dev/sda1 rw
"""


def plan(
    table: bytes, *paths: bytes, stay: bool = False, excluded: tuple[bytes, ...] = (), skipped: bytes = b"-"
) -> list[Area]:
    return planned(
        Mounts(parse(table)), paths, stay=stay, excluded=excluded, skipped=lambda path: path.startswith(skipped)
    )


def short(areas: list[Area]) -> list[tuple[bytes, str]]:
    return [(area.mount.place, area.how.value) for area in areas]


def test_a_path_takes_its_own_mount_and_those_below() -> None:
    assert short(plan(FEDORA, b"/home/anna")) == [(b"/home", "snapshot"), (b"/home/anna/sshfs", "live")]
    assert short(plan(FEDORA, b"/srv/www/x")) == [(b"/srv/www", "snapshot")]
    assert plan(FEDORA, b"/srv/www/x")[0].mount.root == b"/data"


def test_the_whole_machine() -> None:
    assert short(plan(FEDORA, b"/")) == [
        (b"/", "snapshot"),
        (b"/boot", "snapshot"),
        (b"/boot/efi", "snapshot"),
        (b"/home", "snapshot"),
        (b"/home/anna/sshfs", "live"),
        (b"/mnt/nas", "live"),
        (b"/run", "live"),
        (b"/snap/core/1", "still"),
        (b"/srv/www", "snapshot"),
    ]
    reasons = {area.mount.place: area.reason for area in plan(FEDORA, b"/") if area.how is How.LIVE}
    assert reasons == {
        b"/home/anna/sshfs": "fuse.sshfs is no file system of this machine's disks",
        b"/mnt/nas": "nfs4 is no file system of this machine's disks",
        b"/run": "tmpfs is in memory",
    }


def test_staying_within_the_given_file_systems_takes_only_those() -> None:
    assert short(plan(FEDORA, b"/", stay=True)) == [(b"/", "snapshot")]
    assert short(plan(FEDORA, b"/", b"/boot/efi/EFI", stay=True)) == [
        (b"/", "snapshot"),
        (b"/boot/efi", "snapshot"),
    ]


def test_what_the_user_excludes_is_read_live_and_what_is_left_out_is_not_planned() -> None:
    found = plan(FEDORA, b"/boot", excluded=(b"/boot/efi",))
    assert short(found) == [(b"/boot", "snapshot"), (b"/boot/efi", "excluded")]
    assert short(plan(FEDORA, b"/boot", skipped=b"/boot/efi")) == [(b"/boot", "snapshot")]


def test_a_mount_that_several_paths_lead_to_is_planned_once() -> None:
    assert short(plan(FEDORA, b"/home/anna/sshfs", b"/home", b"/home/anna")) == [
        (b"/home", "snapshot"),
        (b"/home/anna/sshfs", "live"),
    ]


def test_what_lies_in_a_file_system_without_files_is_not_saved() -> None:
    table = FEDORA + rb"90 36 0:50 / /dev/shm rw - tmpfs tmpfs rw" + b"\n"
    assert b"/dev/shm" not in {area.mount.place for area in plan(table, b"/")}
    assert short(plan(table, b"/dev/shm/x")) == [(b"/dev/shm", "live")]


HIDDEN = rb"""20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 8:2 / /srv rw - xfs /dev/sda2 rw
22 21 8:3 / /srv/inner rw - ext4 /dev/sda3 rw
23 21 8:4 / /srv rw - ext4 /dev/sda4 rw
24 23 8:5 / /srv/other rw - ext4 /dev/sda5 rw
25 20 8:6 / /mnt/a\040b rw - ext4 /dev/sda6 rw
26 20 8:7 / /mntx rw - ext4 /dev/sda7 rw
"""


def test_a_mount_on_top_of_another_hides_it_and_what_is_below() -> None:
    mounts = Mounts(parse(HIDDEN))
    found = [
        mounts.of(path) for path in (b"/srv", b"/srv/inner/x", b"/srv/other/x", b"/mnt/a b/c", b"/mnt/x", b"/")
    ]
    assert [mount and mount.device for mount in found] == ["8:4", "8:4", "8:5", "8:6", "8:1", "8:1"]
    assert [mount.device for mount in mounts.below(b"/srv")] == ["8:5"]
    assert {mount.device for mount in mounts.below(b"/")} == {"8:4", "8:5", "8:6", "8:7"}


def test_a_table_that_says_nothing_leads_nowhere() -> None:
    assert Mounts([]).of(b"/srv") is None
    assert plan(b"", b"/srv") == []
    loop = b"5 6 8:1 / / rw - ext4 /dev/a rw\n6 5 8:2 / / rw - ext4 /dev/b rw\n"
    assert Mounts(parse(loop)).of(b"/srv") is None


def test_in_a_container_the_layers_of_its_root_have_no_snapshot() -> None:
    table = b"700 650 0:60 / / rw - overlay overlay rw,lowerdir=/x\n"
    (area,) = plan(table, b"/srv")
    assert (area.how, area.reason) == (How.LIVE, "overlay is made of other file systems")


def test_a_file_system_that_is_read_only_needs_no_snapshot() -> None:
    """The mount's own flag doesn't count: the same file system may be mounted writable elsewhere."""
    mounts = (
        "20 1 8:1 / / rw - ext4 /dev/a rw",
        "21 20 8:2 / /a ro - ext4 /dev/b rw",
        "22 20 8:3 / /b ro - ext4 /dev/c ro",
    )
    table = "\n".join(mounts).encode()
    assert short(plan(table, b"/a", b"/b")) == [(b"/a", "snapshot"), (b"/b", "still")]


def test_a_table_of_many_mounts_takes_no_longer_than_to_read_it() -> None:
    """A server of containers has thousands; each is looked up by the folders above it, not among the others."""
    lines = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw"]
    lines += [f"{n + 2} 1 0:{n} / /run/c{n}/merged rw - overlay overlay rw" for n in range(20_000)]
    areas = plan("\n".join(lines).encode() + b"\n", b"/")
    assert len(areas) == 20_001
