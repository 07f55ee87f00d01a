"""Phases 5 to 8: the files, what in them names devices, the boot loader, and checks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalog.inventory.values import Luks, SystemState
from mount.rebuild.layout import Layout, Mount, is_guid
from mount.rebuild.names import Names
from mount.rebuild.shell import Raw, Script, in_target, words

_KERNEL_NAME = re.compile(r"/dev/(?:[hsv]d[a-z]+\d*|xvd[a-z]+\d*|nvme\d+n\d+(?:p\d+)?|mmcblk\d+(?:p\d+)?)\Z")
_LINKED_NAME = re.compile(r"/dev/disk/by-(?:id|path)/[A-Za-z0-9_.:+@=%-]+\Z")
_LOADER = re.compile(r"(?:\\[A-Za-z0-9_. -]+)+\Z")
_SERIAL = re.compile(r"[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}\Z")


@dataclass(frozen=True)
class Restore:
    """Files of one recovery point for a place: `point` is its id (hexadecimal), `where` the path in it.

    "" is all of the point: of "/", or of a volume that was mounted there. `comment` says which point it is. With
    no point, none has the place's files.
    """

    place: str
    point: str = ""
    where: str = ""
    comment: str = ""


def write_restores(script: Script, restores: list[Restore], vault: str) -> None:
    for restore in restores:
        script.blank()
        if not restore.point:
            script.note(f"{restore.place}: NO RECOVERY POINT HOLDS ITS FILES. Restore them by other means.")
            script.say(f"{restore.place}: no recovery point holds its files")
            continue
        script.note(f"{restore.place}: {restore.comment}")
        # `restore POINT:/boot` makes `boot` in the folder that --to names; a whole volume lands right in it.
        if restore.where:
            source, folder = f"{restore.point}:{restore.where}", restore.where.rpartition("/")[0] or "/"
        else:
            source, folder = restore.point, restore.place
        vault_option = ["--vault", vault] if vault else []
        script.code("code=0")
        script.code(
            words(Raw('"$rpdrive"'), *vault_option, "restore", source, "--to", in_target(folder), "--on-conflict",
                  "overwrite", "--trust-modes") + Raw(" || code=$?")
        )  # fmt: skip
        script.run("restored", restore.place, Raw('"$code"'))
    script.blank()
    script.note("Folders that are mount points are in no point.")
    script.code('mkdir -p "$target/proc" "$target/sys" "$target/dev" "$target/run" "$target/tmp"')
    script.code('chmod 1777 "$target/tmp"')
    script.code("sync")


def write_patches(script: Script, state: SystemState, layout: Layout, names: Names) -> None:
    script.note(
        "UUIDs are the old ones. Names by number, by serial or by path may be others now: UUIDs replace them."
    )
    script.note("Each file that changes is kept as FILE.before-rebuild.")
    stable = _stable_names(layout)
    for old, new in sorted(stable.items()):
        script.run("rename_device", old, new)
    known = {*stable, *(s.device for s in layout.file_systems)}
    for source in [*(entry.source for entry in state.fstab), *(entry.source for entry in state.crypttab)]:
        if source not in known and (_KERNEL_NAME.match(source) or _LINKED_NAME.match(source)):
            script.note(f"By hand: {source} is named there, and is nothing that this script made.")
    if any(entry.key not in ("none", "-", "") for entry in state.crypttab):
        script.note("By hand: a key file opens a container. Add it: cryptsetup luksAddKey DEVICE KEYFILE")
    script.note(
        "LVM's list of devices and GRUB's map name the old disks; both are made again when they are missing."
    )
    script.run("put_aside", "/etc/lvm/devices/system.devices", "/boot/grub/device.map", "/boot/grub2/device.map")
    script.note(
        "Network interfaces: rules and connections that name a hardware address (MAC) have to be changed by hand."
    )


def _stable_names(layout: Layout) -> dict[str, str]:
    """Names of the old devices that may mean others now, and what to write instead."""
    found: dict[str, str] = {}
    ids = {s.device: s.uuid for s in layout.file_systems if is_guid(s.uuid) or _SERIAL.match(s.uuid)}
    ids |= {e.device: e.uuid for e in layout.layers if isinstance(e, Luks) and is_guid(e.uuid)}
    for device, uuid in ids.items():
        if _KERNEL_NAME.match(device):
            found[device] = f"UUID={uuid}"
    for disk in layout.disks:
        for link in disk.links:
            name = link if link.startswith("/dev/") else f"/dev/disk/{link}"
            for partition in disk.partitions:
                linked = f"{name}-part{partition.number}"
                if partition.device in ids and _LINKED_NAME.match(linked):
                    found[linked] = f"UUID={ids[partition.device]}"
    return found


def write_boot(script: Script, state: SystemState, layout: Layout, names: Names) -> None:
    script.code("enter")
    script.note("The initial RAM disk: it knows devices, and holds copies of crypttab and mdadm.conf.")
    script.code(
        """
if has_inside update-initramfs; then inside update-initramfs -u -k all
elif has_inside dracut; then inside dracut --force --regenerate-all
elif has_inside mkinitcpio; then inside mkinitcpio -P
else say "no tool for the initramfs is known: make it by hand"
fi
"""
    )
    boot = state.boot
    if boot.firmware == "efi":
        _write_efi(script, state, layout, names)
    else:
        _write_bios(script, state, layout, names)
    script.code(
        """
if has_inside update-grub; then inside update-grub
elif has_inside grub2-mkconfig; then inside grub2-mkconfig -o /boot/grub2/grub.cfg
elif has_inside grub-mkconfig; then inside grub-mkconfig -o /boot/grub/grub.cfg
fi
"""
    )
    if boot.selinux in ("enforcing", "permissive"):
        script.note("SELinux labels everything at the first boot, which takes minutes.")
        script.code(': >"$target/.autorelabel"')


def _write_bios(script: Script, state: SystemState, layout: Layout, names: Names) -> None:
    boot = state.boot
    if boot.loader not in ("", "grub"):
        script.say(f"the boot loader was {boot.loader}: install it by hand")
        return
    old = [disk for disk in boot.disks if disk in {d.device for d in layout.disks}]
    disks = old or [_disk_of(layout, "/boot") or _disk_of(layout, "/") or layout.disks[0].device]
    script.note("The boot loader, on each disk that had one.")
    for disk in disks:
        new = words(names.new(disk))
        script.code(
            f"""
if has_inside grub-install; then inside grub-install --target=i386-pc {new}
elif has_inside grub2-install; then inside grub2-install --target=i386-pc {new}
else say "no grub-install in the new system: install its boot loader by hand"
fi
"""
        )


def _disk_of(layout: Layout, place: str) -> str:
    """The disk that has the partition of a place's file system, if it is on a partition itself."""
    systems = {mount.system.device for mount in layout.mounts if mount.place == place}
    return next((d.device for d in layout.disks for p in d.partitions if p.device in systems), "")


def _write_efi(script: Script, state: SystemState, layout: Layout, names: Names) -> None:
    boot = state.boot
    esp = next((m for m in layout.mounts if m.place == boot.esp_place or m.system.device == boot.esp), None)
    if esp is None:
        script.say("the EFI system partition is not known: install the boot loader by hand")
        return
    place = in_target(esp.place)
    used = [e for e in boot.entries if e.partition or e.loader]
    entry = next((e for e in used if e.id == boot.current), None) or next(iter(used), None)
    loader = entry.loader if entry and _LOADER.match(entry.loader) else ""
    label = entry.label if entry and entry.label else "Linux"
    script.note(
        "The loader's files come back with the EFI system partition; if they did not, GRUB is installed anew."
    )
    if not loader:
        script.note("No entry named it: the first that is found, a shim before a GRUB.")
        script.code(f"loader=$(cd {place} && find EFI -iname shimx64.efi -o -iname grubx64.efi | sort -r | sed 1q)")
    else:
        script.code(f"loader={words(loader.strip(chr(92)).replace(chr(92), '/'))}")
    script.code(
        f"""
if [ -z "$loader" ] || [ ! -f {place}/"$loader" ]; then
    inside grub-install --target=x86_64-efi --efi-directory={words(esp.place)} --bootloader-id=rebuilt --no-nvram
    loader=EFI/rebuilt/grubx64.efi
fi
"""
    )
    script.note("The fallback path: a firmware that does not know the entry, as a new machine's, starts this file.")
    script.code(
        f"""
mkdir -p {place}/EFI/BOOT
if [ ! -f {place}/EFI/BOOT/BOOTX64.EFI ]; then
    cp {place}/"$loader" {place}/EFI/BOOT/BOOTX64.EFI
    case $loader in
    *shim*) cp {place}/"${{loader%/*}}"/grubx64.efi {place}/EFI/BOOT/grubx64.efi ;;
    esac
fi
"""
    )
    partition = _partition_of(layout, esp)
    if partition is None:
        script.say("the EFI system partition is on no partition: make a boot entry by hand")
        return
    disk, number = partition
    create = words(
        "efibootmgr", "--quiet", "--create", "--disk", names.new(disk), "--part", number, "--label", label
    )
    script.note(
        "The boot entry, unless the firmware has it. Without EFI variables here, the fallback path has to do."
    )
    script.code(
        f"""
path=$(printf '%s' "/$loader" | tr / '\\\\')
if [ ! -d /sys/firmware/efi ]; then say "this machine was not started by EFI: no boot entry was made"
elif efibootmgr -v | grep -q -i -F -e {words(_uuid_of(layout, esp))}
then say "the firmware has an entry for this partition"
else {create} --loader "$path" || say "the boot entry could not be made: the fallback path has to do"
fi
"""
    )


def _partition_of(layout: Layout, mount: Mount) -> tuple[str, str] | None:
    for disk in layout.disks:
        for partition in disk.partitions:
            if partition.device == mount.system.device:
                return disk.device, str(partition.number)
    return None


def _uuid_of(layout: Layout, mount: Mount) -> str:
    found = [p.uuid for d in layout.disks for p in d.partitions if p.device == mount.system.device]
    return found[0] if found and found[0] else "no-such-partition"


def write_checks(script: Script, state: SystemState, layout: Layout, names: Names) -> None:
    script.code("wrong=0")
    for system in layout.file_systems:
        device = names.new(system.device)
        if system.uuid:
            found = Raw('"$(') + words("blkid", "-p", "-o", "value", "-s", "UUID", device) + Raw(' || true)"')
            script.run("expect", f"UUID of {device}", Raw(found), system.uuid)
    for mount in layout.mounts:
        found = (
            Raw('"$(') + words("findmnt", "-n", "-o", "FSTYPE") + " " + in_target(mount.place) + Raw(' || true)"')
        )
        script.run("expect", f"file system of {mount.place}", Raw(found), mount.system.type)
    script.code(
        """
inside findmnt --verify --tab-file /etc/fstab >&2 || say "look at /etc/fstab of the new system"
set -- "$target"/boot/vmlinu*
expect "a kernel in /boot" "$([ ! -e "$1" ] || echo yes)" yes
df -h "$target" >&2
[ "$wrong" = 0 ] || die "$wrong checks failed"
say "now: sh SCRIPT --release, take the rescue system out, and reboot"
"""
    )
