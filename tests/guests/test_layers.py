"""Every kind of layout on real disks: made by hand, collected, rebuilt on empty disks, collected again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from catalog.inventory.reading import read_state
from mount.rebuild.names import Target
from mount.rebuild.script import Wanted, plan_rebuild, write_script
from tests.kit.guest import Disk, Guest

SIZE = 1400 << 20
MAKE = r"""
set -eu
raid=A19D880F-05FC-4D3B-A006-743F0F84911E
flags='LegacyBIOSBootable GUID:48'
for disk in /dev/vda /dev/vdb; do
    sfdisk -q $disk <<EOF
label: gpt
1 : start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
3 : start=6000, size=200000, type=$raid, name="boot mirror", attrs="$flags"
2 : start=264192, size=2400000, type=$raid, name="an odd 'name' of \$HOME"
EOF
done
sfdisk -q /dev/vdc <<EOF
label: dos
label-id: 0xdeadbeef
1 : start=2048, size=400000, type=83, bootable
2 : start=404000, size=1000000, type=5
5 : start=406048, size=200000, type=c
6 : start=610000, size=640000, type=83
EOF
udevadm settle
mirror='--quiet --run --assume-clean --level=1 --raid-devices=2'
mdadm --create /dev/md0 $mirror --metadata=1.0 --name=boot /dev/vda3 /dev/vdb3
mdadm --create /dev/md1 $mirror --bitmap=internal --name=all /dev/vda2 /dev/vdb2
printf 'old secret' | cryptsetup luksFormat -q --key-file=- --type luks2 --label safe --cipher aes-xts-plain64 \
    --key-size 512 --sector-size 4096 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/md1
printf 'old secret' | cryptsetup open --key-file=- /dev/md1 safe
pvcreate -q /dev/mapper/safe
vgcreate -q -s 8M vg-0 /dev/mapper/safe
lvcreate -q -y -L 304M -n root vg-0
lvcreate -q -y -L 320M -n data-files vg-0
lvcreate -q -y -L 40M -n swap vg-0
lvcreate -q -y -L 104M -T vg-0/pool
lvcreate -q -y -V 304M -T vg-0/pool -n thin
mkfs.ext4 -q -L boot -m 3 -O ^64bit,^metadata_csum -I 128 -E hash_seed=11111111-2222-3333-4444-555555555555 /dev/md0
mkfs.btrfs -q -L all --csum xxhash64 -m single /dev/vg-0/root
mkdir -p /mnt/top && mount /dev/vg-0/root /mnt/top
btrfs -q subvolume create /mnt/top/@
btrfs -q subvolume create /mnt/top/@home
btrfs -q subvolume create /mnt/top/@/inner
btrfs subvolume set-default /mnt/top/@home
umount /mnt/top
mkfs.xfs -q -L data -m rmapbt=1,reflink=0,bigtime=0 -i size=1024 /dev/vg-0/data-files
mkfs.xfs -q /dev/vg-0/thin
mkswap -q -L swapping /dev/vg-0/swap
mkfs.ext3 -q -L 'a b' -b 1024 /dev/vdc1
mkfs.vfat -F 16 -n DOS /dev/vdc5 >/dev/null
mkfs.ext2 -q -N 5000 /dev/vdc6
tune2fs -c 20 -i 10d -e remount-ro -o acl,journal_data_writeback /dev/vdc1 >/dev/null
mkdir -p /mnt/old && mount -o subvol=@ /dev/vg-0/root /mnt/old
mkdir -p /mnt/old/boot /mnt/old/home /mnt/old/srv /mnt/old/thin
mount /dev/md0 /mnt/old/boot
mount -o subvol=@home /dev/vg-0/root /mnt/old/home
mount /dev/vg-0/data-files /mnt/old/srv
mount /dev/vg-0/thin /mnt/old/thin
"""
COLLECT = b"""
import sys
from pathlib import Path
from catalog.inventory.collect import collect
folder = Path(sys.argv[1])
folder.mkdir(mode=0o700)
collect(folder)
"""
ANSWERS = "printf 'new secret\\nnew secret\\n'"


def collected(guest: Guest, name: str) -> bytes:
    guest.put(COLLECT, "/run/collect.py")
    guest.ok(f"PYTHONPATH=/opt/checkout:/opt/packages python3 /run/collect.py /run/{name}", timeout=600)
    return guest.get(f"/run/{name}/system.json")


def under(data: bytes, old: str, new: str) -> bytes:
    """The state as if what is mounted below a folder were the whole machine."""
    raw = json.loads(data)
    for system in raw["file_systems"]:
        system["places"] = [_moved(place, old, new) for place in system.get("places", [])]
    for mount in raw["mounts"]:
        mount["place"] = _moved(mount["place"], old, new)
    return json.dumps(raw).encode()


def _moved(place: str, old: str, new: str) -> str:
    return (new + place.removeprefix(old)).replace("//", "/") if place.startswith(old) else place


def compared(data: bytes) -> dict[str, Any]:
    """What has to be as it was: identities, sizes and features of all disks and layers."""
    raw = json.loads(data)
    disks = {d["device"]: d for d in raw["disks"] if d["device"] in ("/dev/vda", "/dev/vdb", "/dev/vdc")}
    found: dict[str, Any] = {name: (d["table"], d["table_id"], d["partitions"]) for name, d in disks.items()}
    for kind, keys in (
        ("arrays", ("level", "uuid", "metadata", "name", "slots", "members", "bitmap", "size")),
        ("luks", ("version", "uuid", "label", "cipher", "key_bits", "sector", "offset", "pbkdf", "mapped")),
    ):
        for one in raw[kind]:
            found[one["device"] + " " + kind] = {key: one.get(key) for key in keys}
    for group in raw["volume_groups"]:
        found[group["name"]] = (group["extent"], [p["uuid"] for p in group["physical"]])
        for volume in group["logical"]:
            told = ("size", "segment", "pool", "layout", "stripes")
            found[f"{group['name']}/{volume['name']}"] = {key: volume.get(key) for key in told}
    for system in raw["file_systems"]:
        if system["device"].startswith(("/dev/vda", "/dev/vdb", "/dev/vdc", "/dev/md", "/dev/mapper")):
            named = ("type", "uuid", "label", "size", "parameters", "places")
            kept = {key: system.get(key) for key in named}
            kept["features"] = sorted(set(system.get("features", [])) - {"needs_recovery"})
            subvolumes = system.get("subvolumes", [])
            kept["subvolumes"] = sorted(one["path"] for one in subvolumes)
            default = system.get("default_subvolume")
            kept["default"] = [one["path"] for one in subvolumes if one["id"] == default]
            found[system["device"]] = kept
    return found


def test_layers_are_made_as_they_were(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    with Guest([Disk(old / f"{n}.img", size=SIZE) for n in "abc"], folder=old, memory=1536) as guest:
        print(guest.ok(MAKE, timeout=900))
        before = under(collected(guest, "before"), "/mnt/old", "/")
    (tmp_path / "before.json").write_bytes(before)
    state, refused = read_state(before)
    assert refused == []

    ours = {f"/dev/vd{n}": Target(f"/dev/vd{n}", SIZE) for n in "abc"}
    wanted = Wanted({disk.device: ours.get(disk.device) for disk in state.disks})
    rebuild = plan_rebuild(state, wanted)
    assert rebuild.refusals == []
    script = write_script(state, rebuild, wanted, [], title="A test.")
    (tmp_path / "rebuild.sh").write_text(script)
    with Guest([Disk(new / f"{n}.img", size=SIZE) for n in "abc"], folder=new, memory=1536) as guest:
        guest.put(script.encode(), "/root/rebuild.sh")
        run = f"{ANSWERS} | TARGET=/mnt/new sh /root/rebuild.sh --yes"
        print(guest.ok(f"{run} --to 4", timeout=900))
        after = under(collected(guest, "after"), "/mnt/new", "/")
        (tmp_path / "after.json").write_bytes(after)
        # Each phase can run again, from wherever: what an earlier run made is closed, and recognised.
        guest.ok(f"{run} --from 3 --to 4", timeout=900)
        guest.ok(f"{run} --from 2 --to 4", timeout=900)
        assert guest.run(f"{run} --from 1 --to 1")[0] == 0
        # Somebody else's data is not erased.
        guest.ok("wipefs -q -a /dev/vdc && mkfs.ext4 -q -F /dev/vdc")
        code, told = guest.run(f"{run} --from 1 --to 1")
        assert code == 1 and "/dev/vdc is not empty" in told
    assert compared(after) == compared(before)
