"""Disks with a small Debian on them, made once by a guest and cached in .tools/guest."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.kit.guest import parts
from tests.kit.guest.machine import Disk, Guest

SIZES = {"plain": 640 << 20, "bios-lvm": 1600 << 20, "efi-lvm": 1600 << 20}  # bytes
SCRIPT = Path(__file__).parent / "install.sh"


def installed(layout: str) -> Path:
    """A raw disk with the system that install.sh calls `layout`: only to be read, `copy` makes one to write to.

    Boot it with `Guest([Disk(path, forgets=True)], boots_from_disk=True, …)`, for efi-… with `firmware="efi"` and
    after `variables`: it has no loader in the fallback path.
    Raises GuestFailed.
    """
    made = hashlib.sha256(SCRIPT.read_bytes() + parts.base().root.parent.name.encode())
    for name in ("agent.py", "code"):
        made.update((parts.HERE / name).read_bytes())

    def fill(folder: Path) -> None:
        disk = Disk(folder / "disk.img", size=SIZES[layout])
        with Guest([disk], folder=folder, firmware=firmware_of(layout)) as guest:
            guest.put(SCRIPT, "/root/install.sh")
            guest.ok(f"bash /root/install.sh {layout}", timeout=900)
        (folder / "initial-disk.img").unlink()

    return parts.filled(f"installed_{layout}", made.hexdigest(), fill) / "disk.img"


def firmware_of(layout: str) -> str:
    return "efi" if layout.startswith("efi") else "bios"


def variables(layout: str, folder: Path) -> None:
    """Give a guest in `folder` the EFI variables that the system was installed with: its boot entry."""
    if firmware_of(layout) == "efi":
        shutil.copy(installed(layout).parent / "efi-variables.img", folder)


def copy(layout: str, path: Path) -> Disk:
    """A disk of one's own with that system; its holes stay holes."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", installed(layout), path], check=True)
    return Disk(path)
