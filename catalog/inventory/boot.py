"""How the machine boots: firmware, boot entries, boot loader, kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from catalog.inventory.blocks import Block
from catalog.inventory.here import Here
from catalog.inventory.values import Boot, Disk, EfiEntry, Mounted

_ENTRY = re.compile(r"^Boot([0-9A-Fa-f]{4})(\*?) (.*?)(?:\t(.*))?$", re.MULTILINE)
_HARD_DISK = re.compile(r"HD\((\d+),\w+,([0-9a-fA-F-]{36}),[^)]*\)")
_LOADER = re.compile(r"(?:/?File\(([^)]*)\)|\)/((?:\\[^\\/\s]+)+))")
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_ESP = ("/boot/efi", "/efi", "/boot")
_SIGNS = {b"GRUB ": "grub", b"SYSLINUX": "extlinux", b"EXTLINUX": "extlinux", b"LILO": "lilo"}


def boot(here: Here, found: Mapping[str, Block], disks: list[Disk], mounts: list[Mounted]) -> Boot:
    """The firmware's entries need efibootmgr; the rest comes from files."""
    efi = here.exists("/sys/firmware/efi")
    text = here.run("efibootmgr", "--verbose", keep="boot/efibootmgr.txt") if efi else ""
    at = {mount.place: mount for mount in mounts}
    esp = next((at[place] for place in _ESP if place in at and at[place].type == "vfat"), None)
    with_code = {disk.device: sign for disk in disks if (sign := _sign(here, disk)) and disk.device in found}
    if here.tools.has("mokutil") and efi:
        here.run("mokutil", "--list-enrolled", keep="boot/mok-enrolled.txt", note=False)
    here.run("dkms", "status", keep="boot/dkms.txt", note=False)
    modules = sorted(line.split()[0] for line in here.text("/proc/modules").splitlines() if line.strip())
    here.keep("volatile/modules.txt", "".join(f"{name}\n" for name in modules).encode())
    return Boot(
        firmware="efi" if efi else "bios",
        secure_boot=here.data(_SECURE_BOOT, 16)[4:5] == b"\x01",
        command_line=here.line("/proc/cmdline"),
        loader=_loader(here, with_code.values()),
        disks=sorted(with_code),
        root=at["/"].device if "/" in at else "",
        boot=at["/boot"].device if "/boot" in at else "",
        esp=esp.device if esp else "",
        esp_place=esp.place if esp else "",
        entries=entries(text),
        order=_order(text),
        current=next(iter(re.findall(r"^BootCurrent: ([0-9A-Fa-f]{4})$", text, re.MULTILINE)), ""),
        initramfs=_initramfs(here),
        kernels=_kernels(here),
        selinux=_selinux(here),
    )


def entries(text: str) -> list[EfiEntry]:
    """The boot entries in what `efibootmgr -v` prints."""
    result = []
    for number, active, label, path in _ENTRY.findall(text):
        disk, loader = _HARD_DISK.search(path), _LOADER.search(path)
        result.append(
            EfiEntry(
                id=number.upper(),
                label=label.strip(),
                active=bool(active),
                partition=disk[2].lower() if disk else "",
                number=int(disk[1]) if disk else 0,
                loader=(loader[1] or loader[2] or "") if loader else "",
                path=path,
            )
        )
    return result


def _order(text: str) -> list[str]:
    found = re.search(r"^BootOrder: ([0-9A-Fa-f,]+)$", text, re.MULTILINE)
    return found[1].upper().split(",") if found else []


def _sign(here: Here, disk: Disk) -> str:
    """The boot loader whose code is in the first sector of a disk; "" for none that is known."""
    sector = here.device(disk.device, 446) if here.by_root and disk.table else b""
    return next((name for sign, name in _SIGNS.items() if sign.strip() in sector), "")


def _loader(here: Here, codes: Iterable[str]) -> str:
    if any(here.exists(f"{place}/loader/loader.conf") for place in _ESP):
        return "systemd-boot"
    if here.exists("/boot/grub/grub.cfg") or here.exists("/boot/grub2/grub.cfg"):
        return "grub"
    if here.exists("/boot/extlinux") or here.exists("/boot/syslinux"):
        return "extlinux"
    return next(iter(codes), "")


def _initramfs(here: Here) -> str:
    for tool, name in (("update-initramfs", "initramfs-tools"), ("dracut", "dracut"), ("mkinitcpio", "mkinitcpio")):
        if here.tools.has(tool):
            return name
    return ""


def _kernels(here: Here) -> list[str]:
    """The kernels that stand in /boot, else those with modules."""
    names = [n.removeprefix("vmlinuz-") for n in here.names("/boot") if n.startswith("vmlinuz-")]
    return names or here.names("/lib/modules")


def _selinux(here: Here) -> str:
    found = re.search(r"^SELINUX=(\w+)$", here.text("/etc/selinux/config"), re.MULTILINE)
    return found[1] if found else ""
