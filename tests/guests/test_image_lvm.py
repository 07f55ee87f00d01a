"""Images of mounted logical volumes: read from snapshots, and only what has changed if a thin one was kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.guest import Disk, Guest

MIB = 1 << 20


@pytest.fixture
def guest(tmp_path: Path) -> Any:
    disks = [Disk(tmp_path / "disk.img", size=1024 * MIB), Disk(tmp_path / "vault.img", size=1024 * MIB)]
    with Guest(disks, folder=tmp_path) as guest:
        guest.ok("mkfs.ext4 -q /dev/vdb && mkdir -p /vault /thin /thick /drive /at && mount /dev/vdb /vault")
        guest.ok("pvcreate -q /dev/vda && vgcreate -q v /dev/vda && lvcreate -q -L 500M -T v/pool")
        guest.ok("lvcreate -q -V 256M -T v/pool -n thin && mkfs.ext4 -q /dev/v/thin && mount /dev/v/thin /thin")
        guest.ok("lvcreate -q -L 128M -n thick v && mkfs.ext4 -q /dev/v/thick && mount /dev/v/thick /thick")
        guest.ok("dd if=/dev/urandom of=/thin/big bs=1M count=60 status=none && echo one > /thin/file && sync")
        guest.ok("echo thick > /thick/file")
        guest.ok(f"{ENVIRONMENT} rpdrive vault create")
        yield guest


ENVIRONMENT = "RPDRIVE_VAULT=/vault/v RPDRIVE_HOME=/root/h RPDRIVE_PASSPHRASE='a passphrase of many words'"


KEPT = "lvs --noheadings -o lv_name,lv_tags v | awk '/rpdrive-kept/ {print $1}'"  # names


def image(guest: Guest, *arguments: str) -> Any:
    text = guest.ok(f"{ENVIRONMENT} rpdrive backup --json {' '.join(arguments)} 2>/dev/null", timeout=240)
    found = json.loads(text)
    assert found["problem_count"] == 0, found
    return found


def test_images_of_mounted_volumes(guest: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    guest.ok("modprobe -a loop fuse")
    # Thick: the journal is replayed into the snapshot, so that the image is as one of an unmounted file system.
    image(guest, "--image-of", "/thick")
    assert "rpdrive" not in guest.ok("lvs --noheadings -o lv_name v")
    guest.ok(f"{ENVIRONMENT} rpdrive mount /drive --point latest")
    told = json.loads(guest.ok("cat /drive/*.json"))
    assert (told["consistency"], told["contents"]["state"]) == ("snapshot", "clean")
    assert told["mounted_at"] == "/thick"
    guest.ok(f"{ENVIRONMENT} rpdrive loop attach /drive/*.img --to /at && cmp /at/file /thick/file")
    guest.ok(f"{ENVIRONMENT} rpdrive loop detach /at && {ENVIRONMENT} rpdrive unmount /drive")
    # Thin, and kept: the second run reads what has changed, and the third nothing but that.
    first = image(guest, "--image-of", "/thin", "--keep-snapshot")
    assert first["read_bytes"] >= 256 * MIB
    (kept,) = guest.ok(KEPT).split()
    guest.ok("dd if=/dev/urandom of=/thin/big bs=4k count=1 seek=5000 conv=notrunc status=none; rm /thin/file")
    guest.ok("echo two > /thin/other && sync")
    second = image(guest, "--image-of", "/thin", "--keep-snapshot")
    (now,) = guest.ok(KEPT).split()
    assert now != kept
    guest.ok(f"lvchange -K -ay v/{now} && {ENVIRONMENT} rpdrive mount /drive --point latest")
    guest.ok(f"cmp /dev/v/{now} /drive/*.img", timeout=240)
    guest.ok(f"{ENVIRONMENT} rpdrive unmount /drive && lvchange -an v/{now}")
    assert second["read_bytes"] < 40 * MIB, second
    # Without the option, what was kept goes.
    third = image(guest, "--image-of", "/thin")
    assert third["read_bytes"] >= 256 * MIB
    assert "rpdrive" not in guest.ok("lvs --noheadings -o lv_name v")
    with capsys.disabled():
        print(f"\nof 256 MiB, {second['read_bytes'] / MIB:.1f} MiB read after a change ({second['seconds']} s)")
