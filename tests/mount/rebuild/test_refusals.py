"""What can't be rebuilt is refused, all of it at once; what need not be is left out, and named."""

from __future__ import annotations

from msgspec.structs import replace

from catalog.inventory.values import Array, FileSystem, Mounted, SystemState, VolumeGroup
from mount.rebuild.names import Target
from mount.rebuild.script import Wanted, plan_rebuild
from tests.kit.machines import efi_lvm, layered, mbr, targets


def refusals(state: SystemState, wanted: Wanted) -> list[str]:
    return plan_rebuild(state, wanted).refusals


def one(state: SystemState, target: Target, *, wipe: bool = False) -> list[str]:
    return refusals(state, Wanted({state.disks[0].device: target}, wipe=wipe))


def test_the_new_disk_has_to_be_large_enough_free_and_empty() -> None:
    state = efi_lvm()
    enough = (2_200_000 + 60_000_000 + 33) * 512
    assert one(state, Target("/dev/sdx", enough)) == []
    assert one(state, Target("/dev/sdx", enough - 1)) == [
        "/dev/sdx is too small for /dev/nvme0n1: 31,846,416,895 bytes, and 31,846,416,896 are needed"
    ]
    assert one(state, Target("/dev/sdx", enough, 4096)) == [
        "/dev/sdx has sectors of 4096 bytes, and /dev/nvme0n1 had 512"
    ]
    busy = Target("/dev/sdx", enough, in_use="/dev/sdx1 is mounted on /srv", holds="2 partitions")
    assert one(state, busy, wipe=True) == ["/dev/sdx is in use: /dev/sdx1 is mounted on /srv"]
    full = Target("/dev/sdx", enough, holds="2 partitions")
    assert one(state, full) == ["/dev/sdx is not empty (2 partitions): --wipe allows the script to erase it"]
    assert one(state, full, wipe=True) == []


def test_all_refusals_come_at_once() -> None:
    state = layered()
    small = Target("/dev/vda", 1000, in_use="it is a part of md0")
    found = refusals(state, Wanted({"/dev/sda": small, "/dev/sdb": small, "/dev/sdq": None}))
    assert len(found) == 6
    assert found[:2] == [
        "/dev/sdq is no disk of that machine: it had /dev/sda, /dev/sdb, /dev/sdc",
        "/dev/vda is named for several disks",
    ]


def test_each_disk_with_something_on_it_has_to_be_named() -> None:
    state = layered()
    found = refusals(state, Wanted({"/dev/sda": Target("/dev/vda", 12 << 30)}))
    assert "say where /dev/sdb goes: --disk /dev/sdb=/dev/NEW, or --disk /dev/sdb=none" in found
    assert "the array /dev/md1 is also on /dev/sdb3: name its disk by --disk, too" in found
    # The removable disk is not asked for.
    assert not any("/dev/sdc" in line for line in found)


def test_no_disks_at_all() -> None:
    assert refusals(mbr(), Wanted({})) == [
        "say where /dev/sda goes: --disk /dev/sda=/dev/NEW, or --disk /dev/sda=none",
        "no file system for / is on the disks that are named: name its disk by --disk OLD=/dev/NEW",
    ]


def test_kinds_that_are_not_made_are_named() -> None:
    state = layered()
    arrays = [replace(state.arrays[0], level="container"), state.arrays[1]]
    systems = [*state.file_systems, FileSystem(device="/dev/sda1", type="zfs_member", places=["/tank"])]
    found = refusals(replace(state, arrays=arrays, file_systems=systems), Wanted(targets(state)))
    assert found == [
        "the array /dev/md1 is of a kind that is not made: container",
        "/dev/sda1 (zfs_member, /tank) is of a kind that is not made; leave it out by --without",
    ]
    lvm = efi_lvm()
    group = lvm.volume_groups[0]
    odd = replace(group, logical=[replace(group.logical[1], segment="vdo"), *group.logical[2:]])
    assert "the volume vg0/root is of a kind that is not made: vdo" in refusals(
        replace(lvm, volume_groups=[odd]), Wanted(targets(lvm))
    )
    assert refusals(replace(state, file_systems=systems),
                    Wanted(targets(state), without=frozenset(["/dev/sda1"]))) == []  # fmt: skip


def test_what_nothing_needs_is_left_out_and_named() -> None:
    state = mbr()
    systems = [*state.file_systems, FileSystem(device="/dev/sda2", type="ntfs"),
               FileSystem(device="/dev/loop3", type="squashfs", places=["/snap/x"]),
               FileSystem(device="/dev/sdz1", type="ext4", places=["/mnt"])]  # fmt: skip
    rebuild = plan_rebuild(replace(state, file_systems=systems), Wanted(targets(state)))
    assert rebuild.refusals == []
    assert rebuild.layout.left_out == [
        "/dev/sda2 (ntfs): of a kind that is not made",
        "/dev/sdz1 (ext4, /mnt): on no disk that is named",
    ]


def test_layers_in_a_circle_are_left_out() -> None:
    state = mbr()
    circle = [Array(device="/dev/md0", level="raid1", members=["/dev/md1"]),
              Array(device="/dev/md1", level="raid1", members=["/dev/md0"])]  # fmt: skip
    rebuild = plan_rebuild(replace(state, arrays=circle), Wanted(targets(state)))
    assert rebuild.layout.layers == []
    assert rebuild.layout.left_out == ["the array /dev/md0: on /dev/md1", "the array /dev/md1: on /dev/md0"]


def test_places_that_lead_out_of_the_target_are_not_mounted() -> None:
    state = mbr()
    root = state.file_systems[0]
    systems = [
        root,
        FileSystem(device="/dev/sda5", type="xfs", places=["/../etc", "/a/../..", "relative", "//x", "/srv/"]),
    ]
    assert plan_rebuild(replace(state, file_systems=systems), Wanted(targets(state))).places == ["/"]


def test_a_bind_mount_is_not_mounted_again() -> None:
    state = mbr()
    system = replace(state.file_systems[0], places=["/", "/srv/bound"])
    mounts = [*state.mounts, Mounted(place="/srv/bound", device="/dev/sda1", type="ext4", root="/home")]
    rebuild = plan_rebuild(replace(state, file_systems=[system], mounts=mounts), Wanted(targets(state)))
    assert rebuild.places == ["/"]


def test_mounts_come_from_the_root_downwards() -> None:
    assert plan_rebuild(efi_lvm(), Wanted(targets(efi_lvm()))).places == ["/", "/boot", "/boot/efi", "/srv/data"]


def test_a_group_without_physical_volumes_is_left_out() -> None:
    state = replace(mbr(), volume_groups=[VolumeGroup(name="vg1")])
    rebuild = plan_rebuild(state, Wanted(targets(state)))
    assert rebuild.layout.left_out == ["the volume group vg1: on nothing that is known"]
