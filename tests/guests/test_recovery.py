"""A machine is lost and comes back: backed up from inside, rebuilt by `rpdrive system plan`, booted."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.kit.guest import Disk, Guest
from tests.kit.guest.installed import SIZES, copy, firmware_of, variables
from tests.kit.guest.parts import HERE

PASSPHRASE = "a passphrase that only a test has"
ENVIRON = f"export RPDRIVE_VAULT=/vault/v RPDRIVE_PASSPHRASE='{PASSPHRASE}'"
OLD = f"{ENVIRON} RPDRIVE_HOME=/vault/home"  # so that rpdrive's own files are none of the old machine's
NEW = f"{ENVIRON} RPDRIVE_HOME=/root/home"
# What a naive copy loses.
SPECIAL = """
set -e
mkdir -p /srv/special /var/lib/special
echo hello >/srv/special/file
ln /srv/special/file /srv/special/hard
ln -s ../special/file /srv/special/soft
cp /bin/true /srv/special/setuid && chmod 4755 /srv/special/setuid
chown 1234:5678 /srv/special/file
setfattr -n user.colour -v blue /srv/special/file
setfacl -m u:1234:r /srv/special/setuid
truncate -s 50M /srv/special/holes && echo end >>/srv/special/holes
mknod /srv/special/pipe p
touch -d '2001-02-03 04:05:06.789' /srv/special/file
head -c 300000 /dev/urandom >/var/lib/special/random
# Only so that it takes less time: half of the system, which nothing here needs.
cd /usr/lib/modules/*/kernel
rm -rf net sound drivers/{net,infiniband,comedi,hid,target,scsi,usb,hwmon,iio,media,staging,gpu,hv,nvme,edac}
kept='xfs|fat|nls|fuse|overlay|btrfs|efi|auto|binfmt|config|pstore'
find fs -mindepth 1 -maxdepth 1 | grep -v -E "$kept" | xargs rm -rf
cd / && depmod -a
rm -rf /usr/lib/x86_64-linux-gnu/{gconv,libicu*} /usr/lib/udev/hwdb* /etc/udev/hwdb* /usr/lib/file
rm -rf /usr/share/zoneinfo
rm -f /boot/System.map*
# Else update-initramfs compresses by zstd -19, which takes minutes without KVM.
printf '%s\\n' COMPRESS=gzip COMPRESSLEVEL=1 >/etc/initramfs-tools/conf.d/quick
touch "/var/lib/special/a name with 'quotes' and \\$HOME"
sync
"""


def new_vault_disk(path: Path) -> Disk:
    with path.open("xb") as file:
        file.truncate(1 << 30)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "vault", path], check=True)
    return Disk(path, serial="vault")


def digests(guest: Guest) -> dict[str, str]:
    guest.put(HERE / "digests.py", "/run/digests.py")
    lines = guest.ok("python3 -I /run/digests.py", timeout=600).split("\n")[:-1]
    return {line.split(" 0o")[0]: line for line in lines}


class Times:
    """Says how long each step took."""

    def __init__(self, what: str) -> None:
        print(f"\n{what}")
        self._since = time.monotonic()

    def report(self, what: str) -> None:
        print(f"  {what}: {time.monotonic() - self._since:.0f} s", flush=True)
        self._since = time.monotonic()


def lose(layout: str, folder: Path) -> tuple[Disk, dict[str, str]]:
    """Install a machine, back it up from inside, and lose it: what is left are the vault's disk and the digests."""
    times = Times(f"{layout}, the old machine")
    disk = copy(layout, folder / "old.img")
    variables(layout, folder)
    vault = new_vault_disk(folder / "vault.img")
    times.report("disks")
    firmware = firmware_of(layout)
    with Guest([disk, vault], folder=folder, firmware=firmware, boots_from_disk=True) as guest:
        times.report("boot")
        guest.ok(SPECIAL)
        guest.ok("mkdir /vault && mount -L vault /vault")
        before = digests(guest)
        times.report(f"digests of {len(before):,} files")
        print(guest.ok(f"{OLD}; rpdrive vault create", timeout=600))
        print(guest.ok(f"{OLD}; rpdrive backup --system-state --item state", timeout=900))
        times.report("backup of the system state")
        for place in ["/", "/boot", "/var", *(["/boot/efi"] if firmware == "efi" else [])]:
            print(guest.ok(f"{OLD}; rpdrive backup --volume {place}", timeout=1800))
        times.report("backup of the volumes")
        guest.ok("umount /vault; sync")
    disk.path.unlink()
    return vault, before


def rebuild(layout: str, vault: Disk, folder: Path) -> Disk:
    """Rebuild the machine on an empty disk, from a rescue system."""
    times = Times(f"{layout}, the rescue system")
    # A little larger, and a machine whose firmware knows no boot entry.
    empty = Disk(folder / "new.img", size=SIZES[layout] + (64 << 20))
    with Guest([empty, vault], folder=folder, firmware=firmware_of(layout)) as guest:
        times.report("boot")
        guest.ok("mkdir /vault && mount -L vault /vault")
        disks = "--disk /dev/vda=/dev/vda" + "".join(f" --disk /dev/vd{n}=none" for n in "bcd")
        print(guest.ok(f"{NEW}; rpdrive system plan latest --item state {disks} -o /root/rebuild.sh", timeout=600))
        (folder / "rebuild.sh").write_bytes(guest.get("/root/rebuild.sh"))
        times.report("plan")
        for phases in ("--to 4", "--from 5 --to 6", "--from 7"):
            print(guest.ok(f"{NEW}; sh /root/rebuild.sh --yes {phases}", timeout=1800))
            times.report(f"script {phases}")
        guest.ok("sh /root/rebuild.sh --release && sync")
    return empty


def boot(layout: str, disk: Disk, folder: Path) -> dict[str, str]:
    """The digests of the rebuilt machine, which boots by itself."""
    times = Times(f"{layout}, the rebuilt machine")
    with Guest([disk], folder=folder, firmware=firmware_of(layout), boots_from_disk=True) as guest:
        times.report("boot")
        after = digests(guest)
        times.report("digests")
        assert guest.ok("systemctl --failed --no-legend --plain") == ""
        assert guest.ok("swapon --show=NAME --noheadings").strip() != ""
    return after


def compare(before: dict[str, str], after: dict[str, str]) -> None:
    assert before.keys() - after.keys() == set()
    assert [(line, after[path]) for path, line in before.items() if line != after[path]] == []
    assert {path for path in after.keys() - before.keys() if not path.endswith(".before-rebuild")} == set()


@pytest.mark.parametrize("layout", ["bios-lvm", "efi-lvm"])
def test_a_lost_machine_is_rebuilt_and_boots(layout: str, tmp_path: Path) -> None:
    old, new, again = (tmp_path / name for name in ("old", "new", "again"))
    for folder in (old, new, again):
        folder.mkdir()
    vault, before = lose(layout, old)
    disk = rebuild(layout, vault, new)
    # In a machine of other variables: EFI has only the fallback path there.
    compare(before, boot(layout, disk, again))
