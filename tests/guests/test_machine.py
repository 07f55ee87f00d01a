"""The guests themselves: what the other tests in this folder rest on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.guest import Disk, Guest, GuestFailed


def test_a_guest_runs_commands_and_has_lvm_and_rpdrive(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk.img", size=256 << 20)
    with Guest([disk], folder=tmp_path) as guest:
        print(f"booted in {guest.booted:.1f} s")
        assert guest.run("echo out; echo err >&2; exit 3") == (3, "out\nerr\n")
        assert guest.run("sleep 60", timeout=0.1)[0] == 124
        with pytest.raises(GuestFailed, match="ended with 1"):
            guest.ok("false")
        guest.put(bytes(range(256)) * 8192, "/tmp/bytes")
        assert guest.get("/tmp/bytes") == bytes(range(256)) * 8192
        with pytest.raises(GuestFailed, match="No such file"):
            guest.get("/tmp/nothing")
        guest.ok("pvcreate -q /dev/vda && vgcreate -q v /dev/vda && lvcreate -q -L 64M -T v/pool")
        guest.ok("lvcreate -q -V 128M -T v/pool -n thin && mkfs.ext4 -q /dev/v/thin && mount /dev/v/thin /mnt")
        guest.ok("echo kept >/mnt/file && umount /mnt")
        assert "Usage: rpdrive" in guest.ok("rpdrive --help")
        guest.ok("vgchange -q -an v && sync")
    # Killed; what was flushed is on the disk, and another guest finds it.
    with Guest([disk], folder=tmp_path) as guest:
        guest.ok("vgchange -q -ay v && mount -o ro /dev/v/thin /mnt")
        assert guest.ok("cat /mnt/file") == "kept\n"
