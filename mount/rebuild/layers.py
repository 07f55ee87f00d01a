"""Phase 2: arrays, LUKS containers and volume groups, from the partitions upwards; and opening them again."""

from __future__ import annotations

import re

from catalog.inventory.values import Array, LogicalVolume, Luks, VolumeGroup
from mount.rebuild.layout import Layer, is_guid, is_lvm_id, is_snapshot, mapped, title
from mount.rebuild.names import Names
from mount.rebuild.shell import Raw, Script, Word, joined, word, words

_ARRAY_ID = re.compile(r"[0-9A-Fa-f]{8}(?::[0-9A-Fa-f]{8}){3}\Z")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")  # a hash, a pbkdf, a layout, a version of metadata
_CIPHER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:()-]*\Z")
_TAG = re.compile(r"[A-Za-z0-9_+.][A-Za-z0-9_+.\-/=!:&#]*\Z")
_PARITY = {"raid4": 1, "raid5": 1, "raid6": 2}


def write_layers(script: Script, layers: list[Layer], names: Names) -> None:
    for layer in layers:
        script.blank()
        match layer:
            case Array():
                _write_array(script, layer, names)
            case Luks():
                _write_luks(script, layer, names)
            case VolumeGroup():
                _write_group(script, layer, names)
        script.run("settle")


def _write_array(script: Script, array: Array, names: Names) -> None:
    script.note(
        f"{title(array)}, {array.level}. It synchronises in the background; /proc/mdstat says how far it is."
    )
    members: list[Word] = [names.new(device) if device else "missing" for device in array.members]
    members += ["missing"] * max(0, min(array.slots, 1024) - len(members))
    options: list[Word] = [joined("--level=", array.level), joined("--raid-devices=", str(len(members)))]
    if _WORD.match(array.metadata):
        options.append(joined("--metadata=", array.metadata))
    if _ARRAY_ID.match(array.uuid):
        options.append(joined("--uuid=", array.uuid))
    host, _, name = array.name.rpartition(":")
    if name:
        options.append(joined("--name=", name))
    if host:  # an array of another host's name gets another number when the machine starts
        options.append(joined("--homehost=", host))
    if array.chunk and array.level not in ("raid1", "linear"):
        options.append(joined("--chunk=", f"{array.chunk // 1024}K"))
    layout = array.layout.replace("near=", "n").replace("far=", "f").replace("offset=", "o")
    if layout and _WORD.match(layout) and array.level in ("raid5", "raid6", "raid10"):
        options.append(joined("--layout=", layout))
    if array.bitmap.lower() == "internal":
        options.append("--bitmap=internal")
    if array.spares:
        options.append(joined("--spare-devices=", str(len(array.spares))))
    spares = [names.new(device) for device in array.spares]
    script.run("mdadm", "--create", array.device, "--run", "--quiet", *options, *members, *spares)


def _write_luks(script: Script, luks: Luks, names: Names) -> None:
    device = names.new(luks.device)
    script.note(
        f"{title(luks)}. Its keys are in no recovery point: it gets a new passphrase, which is asked for here."
    )
    if luks.slots:
        script.note(f"It had {len(luks.slots)} key slots: add the others by `cryptsetup luksAddKey`.")
    options: list[Word] = [f"--type=luks{luks.version}"]
    if is_guid(luks.uuid):
        options.append(joined("--uuid=", luks.uuid))
    if luks.label and luks.version == 2:
        options.append(joined("--label=", luks.label))
    if luks.cipher and _CIPHER.match(luks.cipher):
        options.append(joined("--cipher=", luks.cipher))
    if luks.key_bits:
        options.append(f"--key-size={luks.key_bits}")
    if luks.hash and _WORD.match(luks.hash):
        options.append(joined("--hash=", luks.hash))
    if luks.pbkdf and _WORD.match(luks.pbkdf) and luks.version == 2:
        options.append(joined("--pbkdf=", luks.pbkdf))
    if luks.version == 2 and luks.sector in (512, 1024, 2048, 4096):
        options.append(f"--sector-size={luks.sector}")
    if luks.offset and luks.offset % 512 == 0:
        options.append(f"--offset={luks.offset // 512}")
    script.run("ask_twice", f"new passphrase for {device}")
    format_it = words("cryptsetup", "luksFormat", "--batch-mode", "--key-file=-", *options, device)
    script.code(Raw("printf '%s' \"$answer\" | ") + format_it)
    if name := _mapping(luks):
        open_it = words("cryptsetup", "open", "--key-file=-", device, name)
        script.code(Raw("printf '%s' \"$answer\" | ") + open_it)


def _mapping(luks: Luks) -> str:
    return mapped(luks).removeprefix("/dev/mapper/")


def _write_group(script: Script, group: VolumeGroup, names: Names) -> None:
    script.note(f"{title(group)}. Its volumes are made anew, by name and size; volume groups get a new UUID.")
    devices = [names.new(volume.device) for volume in group.physical]
    for physical, device in zip(group.physical, devices, strict=True):
        kept: list[Word] = [joined("--uuid=", physical.uuid), "--norestorefile"] if is_lvm_id(physical.uuid) else []
        script.run("pvcreate", "--quiet", "--yes", "-ff", *kept, device)
    extent = [f"--physicalextentsize={group.extent}b"] if group.extent else []
    script.run("vgcreate", "--quiet", "--yes", *extent, group.name, *devices)
    for volume in sorted(group.logical, key=lambda v: v.segment == "thin"):  # pools before what is in them
        if is_snapshot(volume):
            script.note(f"{group.name}/{volume.name} was a snapshot of {volume.origin}: not made.")
            continue
        if volume.segment in ("cache", "mirror"):
            script.note(f"{volume.name} had the type {volume.segment}: now without a cache, mirrored by raid1.")
        script.run(
            "lvcreate", "--quiet", "--yes", *_volume(volume, group), joined("--name=", volume.name), group.name
        )


def _volume(volume: LogicalVolume, group: VolumeGroup) -> list[Word]:
    size = f"{volume.size}b"
    tags = [joined("--addtag=", tag) for tag in volume.tags if _TAG.match(tag)]
    if volume.segment == "thin":
        return ["--type=thin", f"--virtualsize={size}", joined("--thinpool=", volume.pool), *tags]
    sized: list[Word] = [f"--size={size}", *tags]
    stripes = volume.stripes or 2
    width = [f"--stripesize={volume.stripe_size}b"] if volume.stripe_size else []
    wipes = ["--wipesignatures=y", "--zero=y"]
    match volume.segment:
        case "thin-pool":
            return ["--type=thin-pool", *sized]
        case "striped":
            return ["--type=striped", f"--stripes={stripes}", *width, *wipes, *sized]
        case "raid1" | "mirror":
            return ["--type=raid1", f"--mirrors={max(1, stripes - 1)}", *wipes, *sized]
        case "raid10":
            return ["--type=raid10", "--mirrors=1", f"--stripes={max(2, stripes // 2)}", *width, *wipes, *sized]
        case "raid4" | "raid5" | "raid6":
            data = max(2, stripes - _PARITY[volume.segment])
            return [f"--type={volume.segment}", f"--stripes={data}", *width, *wipes, *sized]
    return [*wipes, *sized]


def write_opening(script: Script, layers: list[Layer], names: Names) -> None:
    """The body of open_layers: opens what is closed, so that it can run again."""
    for layer in layers:
        match layer:
            case Array():
                members = [names.new(device) for device in layer.members if device]
                with script.block(f"if [ ! -e {word(layer.device)} ]; then", "fi"):
                    script.run("mdadm", "--quiet", "--assemble", layer.device, *members)
            case Luks():
                if not _mapping(layer):
                    continue
                script.run("open_luks", names.new(layer.device), _mapping(layer))
            case VolumeGroup():
                script.run("quiet", "vgchange", "--activate=y", layer.name)
        script.run("settle")


def write_release(script: Script, layers: list[Layer], names: Names) -> None:
    """The body of release: closes what an earlier run opened, from the top. Nothing of others is closed."""
    for layer in reversed(layers):
        match layer:
            case Array():
                script.run("close_array", layer.device, layer.uuid)
            case Luks():
                if _mapping(layer):
                    script.run("close_luks", names.new(layer.device), _mapping(layer))
            case VolumeGroup():
                script.run("close_group", layer.name, *(names.new(volume.device) for volume in layer.physical))
