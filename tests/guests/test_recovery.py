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
# Only so that it takes less time.
rm -rf /usr/lib/modules/*/kernel/{net/netfilter,drivers/infiniband,drivers/comedi,drivers/net,fs/smb,fs/nfs,fs/nfsd}
rm -rf /usr/lib/x86_64-linux-gnu/{gconv,libicudata.so.72.1}
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


def report(what: str, since: float) -> float:
    print(f"  {what}: {time.monotonic() - since:.0f} s", flush=True)
    return time.monotonic()


@pytest.mark.parametrize("layout", ["bios-lvm", "efi-lvm"])
def test_a_lost_machine_is_rebuilt_and_boots(layout: str, tmp_path: Path) -> None:
    print(f"\n{layout}")
    firmware = firmware_of(layout)
    old, new, again = (tmp_path / name for name in ("old", "new", "again"))
    for folder in (old, new, again):
        folder.mkdir()
    now = time.monotonic()
    disk = copy(layout, old / "disk.img")
    variables(layout, old)
    vault = new_vault_disk(tmp_path / "vault.img")
    now = report("copies", now)

    with Guest([disk, vault], folder=old, firmware=firmware, boots_from_disk=True) as guest:
        now = report("the old machine boots", now)
        guest.ok(SPECIAL)
        guest.ok("mkdir /vault && mount -L vault /vault")
        before = digests(guest)
        now = report(f"digests of {len(before):,} files", now)
        print(guest.ok(f"{OLD}; rpdrive vault create", timeout=600))
        print(guest.ok(f"{OLD}; rpdrive backup --system-state --item state", timeout=900))
        now = report("backup of the system state", now)
        for place in ["/", "/boot", "/var", *(["/boot/efi"] if firmware == "efi" else [])]:
            print(guest.ok(f"{OLD}; rpdrive backup --volume {place}", timeout=1800))
        now = report("backup of the volumes", now)
        guest.ok("umount /vault; sync")
    disk.path.unlink()

    empty = Disk(new / "disk.img", size=SIZES[layout] + (64 << 20))
    with Guest([empty, vault], folder=new, firmware=firmware) as guest:
        now = report("the rescue system boots", now)
        guest.ok("mkdir /vault && mount -L vault /vault")
        disks = "--disk /dev/vda=/dev/vda --disk /dev/vdb=none"
        print(guest.ok(f"{NEW}; rpdrive system plan latest --item state {disks} -o /root/rebuild.sh", timeout=600))
        script = guest.get("/root/rebuild.sh").decode()
        (new / "rebuild.sh").write_text(script)
        now = report("plan", now)
        told = guest.ok(f"{NEW}; sh /root/rebuild.sh --yes", timeout=1800)
        print(told)
        now = report("the script", now)
        guest.ok("sh /root/rebuild.sh --release && sync")

    with Guest([empty], folder=again, firmware=firmware, boots_from_disk=True) as guest:
        now = report("the rebuilt machine boots", now)
        after = digests(guest)
        now = report("digests", now)
        assert guest.ok("systemctl --failed --no-legend --plain") == ""
        assert guest.ok("swapon --show=NAME --noheadings").strip() != ""
    assert before.keys() - after.keys() == set()
    assert [(line, after[path]) for path, line in before.items() if line != after[path]] == []
    assert {path for path in after.keys() - before.keys() if not path.endswith(".before-rebuild")} == set()
