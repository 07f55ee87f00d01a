"""A machine that boots from its image in a drive, long before that would be restored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kit.drives import Home
from tests.kit.guest.installed import installed
from tests.kit.guest.machine import Disk, Guest
from tests.kit.imaging import Machine, Saved
from tests.kit.vaults import make_vault

pytestmark = [pytest.mark.soak, pytest.mark.needs_root, pytest.mark.needs_fuse]


def test_it_boots_from_the_drive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = installed("plain")
    (tmp_path / "state").mkdir()
    home, vault = Home(tmp_path, tmp_path / "vault"), make_vault(tmp_path / "vault")
    result = Machine(vault, tmp_path / "state").image(disk)
    saved = Saved(vault, result)
    digest, pieces = saved.digest(), len(saved.places())
    saved.close()
    assert result.point is not None
    stored = result.progress.sent.data_bytes
    data = os.stat(disk).st_blocks * 512
    # With a cache on the disk, as for a vault that is far away: nothing is fetched twice.
    place = home.mount("--point", result.point.id.hex(), "--cache-size", "2G")
    try:
        image = place / "disk.img"
        with Guest(
            [Disk(image, forgets=True)], folder=tmp_path, boots_from_disk=True, memory=512, patience=400
        ) as guest:
            seconds = guest.wait_console("login:", 400)
            (row,) = home.mounts()
            needed, fetched = row["cache"]["blocks_from_store"], row["bytes_fetched"]
            wasted = row["cache"]["ahead_wasted"]
            assert needed < pieces, "not all of it is needed"
            guest.ok("echo what the guest writes > /root/new && sync")
            assert guest.ok("cat /root/new") == "what the guest writes\n"
            text = home.run("unmount", place, exit_code=10).stderr
            assert "qemu" in text
        with capsys.disabled():
            print(
                f"\nboot from the drive: login after {seconds:.0f} s; {needed} of {pieces} pieces were needed"
                f" ({100 * needed / pieces:.0f} %); {fetched / 1e6:.0f} MB were fetched, {wasted / 1e6:.0f} MB"
                f" ahead and in vain, of {stored / 1e6:.0f} MB stored; the disk has {data / 1e6:.0f} MB of data"
            )
    finally:
        home.run("unmount", place)
        home.close()
    again = Saved(vault, Machine(vault, tmp_path / "state").image(disk))
    assert again.digest() == digest
    again.close()
