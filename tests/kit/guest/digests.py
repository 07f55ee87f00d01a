"""Runs in a guest: prints a line for each file of the system, to compare it with another one. Stdlib only."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path

# What a running or starting system writes, and what a rebuild makes anew.
CHANGES = """
/proc /sys /dev /run /tmp /vault /opt /mnt /media /.system /lost+found /boot/lost+found /root/.cache /var/log
/var/tmp /var/cache /var/lib/systemd /var/lib/dbus /etc/machine-id /etc/resolv.conf /etc/lvm
/var/lib/rpdrive /etc/mtab /root/.python_history /usr/local/bin/rpdrive /boot/grub
/boot/initrd.img /boot/efi/EFI/BOOT
"""


def is_left_out(path: str) -> bool:
    return any(path == one or path.startswith(one + "/") or (one == "/boot/initrd.img" and path.startswith(one))
               for one in CHANGES.split())  # fmt: skip


def line(path: str) -> str:
    found = os.lstat(path)
    is_folder = stat.S_ISDIR(found.st_mode)
    parts = [path, oct(found.st_mode), str(found.st_uid), str(found.st_gid)]
    # The time of a folder changes with each file that is made and removed in it.
    parts += [] if is_folder else [str(found.st_mtime_ns), str(found.st_size), str(found.st_nlink)]
    if stat.S_ISLNK(found.st_mode):
        parts.append(os.readlink(path))
    elif stat.S_ISREG(found.st_mode):
        parts.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
        holes = found.st_blocks * 512 < found.st_size // 2 and found.st_size > 1 << 20
        parts.append("sparse" if holes else "whole")
    names = sorted(os.listxattr(path, follow_symlinks=False))
    parts += [f"{name}={os.getxattr(path, name, follow_symlinks=False).hex()}" for name in names]
    return " ".join(parts)


def main() -> None:
    for folder, folders, files in os.walk("/"):
        folders[:] = sorted(name for name in folders if not is_left_out(os.path.join(folder, name)))
        for name in sorted([*folders, *files]):
            path = os.path.join(folder, name)
            if not is_left_out(path):
                sys.stdout.write(line(path) + "\n")


if __name__ == "__main__":
    main()
