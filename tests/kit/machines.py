"""Machines to rebuild: system states of several layouts, and disks for them."""

from __future__ import annotations

from catalog.inventory.values import (
    Array,
    Boot,
    Computer,
    CrypttabEntry,
    Disk,
    EfiEntry,
    FileSystem,
    FstabEntry,
    LogicalVolume,
    Luks,
    Mounted,
    Partition,
    PhysicalVolume,
    Subvolume,
    SystemState,
    VolumeGroup,
)  # fmt: skip
from mount.rebuild.names import Target

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
RAID = "A19D880F-05FC-4D3B-A006-743F0F84911E"


def uuid(number: int) -> str:
    return f"{number:08x}-1111-4222-8333-444444444444"


def mbr() -> SystemState:
    """BIOS: one ext4 partition, and swap in a logical partition."""
    partitions = [
        Partition(device="/dev/sda1", number=1, start=2048, size=8_000_000, type="83", bootable=True),
        Partition(device="/dev/sda2", number=2, start=8_003_584, size=1_000_448, type="5"),
        Partition(device="/dev/sda5", number=5, start=8_005_632, size=998_400, type="82"),
    ]
    ext4 = FileSystem(
        device="/dev/sda1", type="ext4", uuid=uuid(1), label="it's root", places=["/"],
        features=["has_journal", "ext_attr", "extent", "64bit", "metadata_csum", "needs_recovery", "odd_one"],
        parameters={"block_size": "4096", "inode_size": "256", "inodes": "250000", "reserved_blocks": "10000",
                    "default_options": "user_xattr acl", "errors": "Remount read-only"},
    )  # fmt: skip
    return SystemState(
        format=1,
        computer=Computer(hostname="old", os="debian"),
        boot=Boot(firmware="bios", loader="grub", disks=["/dev/sda"], root="/dev/sda1"),
        disks=[Disk(device="/dev/sda", size=8 << 30, table="dos", table_id="0x1234abcd", partitions=partitions,
                    links=["by-id/ata-OLD_1234"])],
        file_systems=[ext4, FileSystem(device="/dev/sda5", type="swap", uuid=uuid(2))],
        mounts=[Mounted(place="/", device="/dev/sda1", type="ext4")],
        fstab=[FstabEntry(source="/dev/sda1", place="/", type="ext4"),
               FstabEntry(source="/dev/disk/by-id/ata-OLD_1234-part5", place="none", type="swap"),
               FstabEntry(source="/dev/sdq9", place="/old", type="ext4", options="noauto")],
    )  # fmt: skip


def efi_lvm() -> SystemState:
    """EFI: an ESP, /boot on ext4, LVM with thick and thin volumes, a snapshot, xfs and swap."""
    partitions = [
        Partition(device="/dev/nvme0n1p1", number=1, start=2048, size=1_048_576, type=ESP, uuid=uuid(11),
                  name="EFI", flags="RequiredPartition GUID:60"),
        Partition(device="/dev/nvme0n1p2", number=2, start=1_060_000, size=1_048_576, type=LINUX, uuid=uuid(12)),
        Partition(device="/dev/nvme0n1p7", number=7, start=2_200_000, size=60_000_000, type=LVM, uuid=uuid(13),
                  name='odd "name" $HOME'),
    ]  # fmt: skip
    volumes = [
        LogicalVolume(name="thin-data", size=20 << 30, segment="thin", pool="pool"),
        LogicalVolume(name="root", device="/dev/mapper/vg0-root", size=8 << 30, segment="linear", tags=["keep"]),
        LogicalVolume(name="pool", size=10 << 30, segment="thin-pool"),
        LogicalVolume(name="swap", device="/dev/mapper/vg0-swap", size=1 << 30),
        LogicalVolume(name="before", size=1 << 30, segment="linear", origin="root"),
    ]
    group = VolumeGroup(
        name="vg0", extent=4 << 20, logical=volumes,
        physical=[PhysicalVolume(device="/dev/nvme0n1p7", uuid="abcdef-0123-4567-89ab-cdef-0123-456789")],
    )  # fmt: skip
    xfs = {"block_size": "4096", "sector_size": "512", "inode_size": "512", "agcount": "4", "crc": "1",
           "rmapbt": "1", "reflink": "1", "ftype": "1", "imaxpct": "25", "sunit": "0", "swidth": "0"}  # fmt: skip
    entry = EfiEntry(id="0003", label="debian", partition=uuid(11), number=1, loader=r"\EFI\debian\shimx64.efi")
    return SystemState(
        format=1,
        computer=Computer(hostname="srv01", os="debian"),
        boot=Boot(firmware="efi", loader="grub", esp="/dev/nvme0n1p1", esp_place="/boot/efi", entries=[entry],
                  current="0003", selinux="enforcing", secure_boot=True),
        disks=[Disk(device="/dev/nvme0n1", size=64 << 30, table="gpt", table_id=uuid(10), first=2048,
                    partitions=partitions)],
        volume_groups=[group],
        file_systems=[
            FileSystem(device="/dev/nvme0n1p1", type="vfat", uuid="ABCD-1234", label="ESP",
                       parameters={"fat": "32", "sector_size": "512", "cluster": "8"}),
            FileSystem(device="/dev/nvme0n1p2", type="ext4", uuid=uuid(14), places=["/boot"]),
            FileSystem(device="/dev/mapper/vg0-root", type="ext4", uuid=uuid(15), places=["/"]),
            FileSystem(device="/dev/mapper/vg0-thin--data", type="xfs", uuid=uuid(16), places=["/srv/data"],
                       parameters=xfs),
            FileSystem(device="/dev/mapper/vg0-swap", type="swap", uuid=uuid(17), label="swapping"),
            FileSystem(device="/dev/nvme0n1p7", type="LVM2_member"),
        ],
        fstab=[FstabEntry(source="UUID=ABCD-1234", place="/boot/efi", options="noatime,umask=0077,x;y")],
    )  # fmt: skip


def layered() -> SystemState:
    """BIOS: two disks, a mirror, LUKS on it, btrfs with subvolumes in that."""

    def disk(name: str, number: int) -> Disk:
        bios = Partition(device=f"{name}1", number=1, start=34, size=2014, uuid=uuid(number + 1),
                         type="21686148-6449-6E6F-744E-656564454649")  # fmt: skip
        boot = Partition(device=f"{name}2", number=2, start=2048, size=1 << 20, type=RAID, uuid=uuid(number + 2))
        data = Partition(
            device=f"{name}3", number=3, start=1_052_672, size=20 << 20, type=RAID, uuid=uuid(number + 3)
        )
        return Disk(device=name, size=12 << 30, table="gpt", table_id=uuid(number), first=34,
                    partitions=[bios, boot, data])  # fmt: skip

    subvolumes = [Subvolume(id=256, path="@"), Subvolume(id=257, path="@home"), Subvolume(id=300, path="@/var/lib"),
                  Subvolume(id=301, path=".snapshots/1", read_only=True)]  # fmt: skip
    return SystemState(
        format=1,
        computer=Computer(hostname="store", os="fedora"),
        boot=Boot(firmware="bios", loader="grub", disks=["/dev/sda", "/dev/sdb"], initramfs="dracut"),
        disks=[disk("/dev/sda", 100), disk("/dev/sdb", 200),
               Disk(device="/dev/sdc", size=1 << 40, removable=True,
                    partitions=[Partition(device="/dev/sdc1", number=1, start=1, size=1)])],
        arrays=[
            Array(device="/dev/md1", level="raid1", uuid="aaaaaaaa:bbbbbbbb:cccccccc:dddddddd", metadata="1.2",
                  name="store:1", slots=2, members=["/dev/sda3", "/dev/sdb3"], bitmap="Internal"),
            Array(device="/dev/md0", level="raid1", uuid="aaaaaaaa:bbbbbbbb:cccccccc:eeeeeeee", metadata="1.0",
                  slots=2, members=["/dev/sda2", ""], missing=1, chunk=65536),
        ],
        luks=[Luks(device="/dev/md1", mapped="/dev/mapper/safe", name="safe", version=2, uuid=uuid(300),
                   cipher="aes-xts-plain64", key_bits=512, hash="sha256", pbkdf="argon2id", sector=512,
                   offset=16 << 20, slots=["luks2", "systemd-tpm2"])],
        file_systems=[
            FileSystem(device="/dev/mapper/safe", type="btrfs", uuid=uuid(301), label="all", subvolumes=subvolumes,
                       default_subvolume=256, places=["/", "/home"],
                       parameters={"node_size": "16384", "sector_size": "4096", "csum": "xxhash64",
                                   "data": "single", "metadata": "DUP"}),
            FileSystem(device="/dev/md0", type="ext2", uuid=uuid(302), places=["/boot"]),
            FileSystem(device="/dev/sdc1", type="ntfs", places=["/mnt/usb"]),
        ],
        mounts=[Mounted(place="/", device="/dev/mapper/safe", type="btrfs", root="/@"),
                Mounted(place="/home", device="/dev/mapper/safe", type="btrfs", root="/@home")],
        crypttab=[CrypttabEntry(name="safe", source=f"UUID={uuid(300)}", key="/etc/key")],
    )  # fmt: skip


def targets(state: SystemState) -> dict[str, Target | None]:
    """New disks /dev/vda, /dev/vdb … for all disks of a machine that are not removable."""
    disks = [disk for disk in state.disks if not disk.removable]
    return {disk.device: Target(f"/dev/vd{chr(97 + n)}", disk.size) for n, disk in enumerate(disks)}


LAYOUTS = {"mbr": mbr, "efi_lvm": efi_lvm, "layered": layered}
