"""A small Debian that boots from a disk of its own, by BIOS or by EFI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.guest import Disk, Guest
from tests.kit.guest.installed import SIZES, firmware_of, installed, variables


@pytest.mark.parametrize("layout", SIZES)
def test_an_installed_system_boots(layout: str, tmp_path: Path) -> None:
    disk = Disk(installed(layout), forgets=True)
    variables(layout, tmp_path)
    with Guest([disk], folder=tmp_path, firmware=firmware_of(layout), boots_from_disk=True) as guest:
        print(f"{layout}: the login prompt after {guest.wait_console('login:'):.1f} s")
        assert guest.ok("hostname") == "small\n"
        assert ("/sys/firmware/efi" in guest.run("ls -d /sys/firmware/efi")[1].split()) == (layout == "efi-lvm")
        assert guest.ok("findmnt -n -o FSTYPE /") == "ext4\n"
