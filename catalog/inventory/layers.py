"""What lies between partitions and file systems: md arrays, LUKS containers, LVM."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import msgspec

from catalog.inventory.blocks import Block
from catalog.inventory.here import Here
from catalog.inventory.values import Array, LogicalVolume, Luks, PhysicalVolume, VolumeGroup

_CHANGING = re.compile(
    r"^ *(?:Update Time|Events|State|Array State|Checksum|(?:Resync|Rebuild|Reshape|Check) Status) :.*\n",
    re.MULTILINE,
)


# --- md --------------------------------------------------------------------------------------------------------


def arrays(here: Here, found: dict[str, Block]) -> list[Array]:
    """The md arrays that run, by `mdadm --detail`."""
    running = [block for block in found.values() if block.name.startswith("md") and block.type != "part"]
    members = sorted(block.device for block in found.values() if block.fs == "linux_raid_member")
    if not running and not members:
        return []
    here.run("mdadm", "--detail", "--scan", keep="raid/mdadm-scan.txt")
    for device in members:
        here.run("mdadm", "--examine", device, keep=f"raid/examine-{_base(device)}.txt", stable=_steady, note=False)
    result = []
    for block in running:
        text = here.run("mdadm", "--detail", block.device, keep=f"raid/{block.name}.txt", stable=_steady)
        found_array = (
            here.attempt(block.device, partial(array, block.device, block.size, text), None) if text else None
        )
        result += [found_array] if found_array is not None else []
    return result


def _steady(text: str) -> str:
    return _CHANGING.sub("", text)


def array(device: str, size: int, text: str) -> Array:
    """An array in what `mdadm --detail` prints in English."""
    fields = {
        key.strip(): value.strip() for key, sep, value in (s.partition(" : ") for s in text.splitlines()) if sep
    }
    slots: dict[int, str] = {}
    spares: list[str] = []
    missing = 0
    for line in text.partition("RaidDevice State")[2].splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        if words[-1] == "removed":
            missing += 1
        elif words[-1].startswith("/dev/"):
            if words[3].isdigit():
                slots[int(words[3])] = words[-1]
            elif "spare" in words:
                spares.append(words[-1])
    chunk = re.fullmatch(r"(\d+)([KMG]?)", fields.get("Chunk Size", ""))
    return Array(
        device=device,
        size=size,
        level=fields.get("Raid Level", ""),
        uuid=fields.get("UUID", ""),
        metadata=fields.get("Version", ""),
        name=fields.get("Name", "").partition(" ")[0],
        slots=_number(fields.get("Raid Devices", "")),
        layout=fields.get("Layout", ""),
        chunk=int(chunk[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[chunk[2]] if chunk else 0,
        bitmap=fields.get("Intent Bitmap", "").lower(),
        members=[slots[n] for n in sorted(slots)],
        spares=sorted(spares),
        missing=missing,
        container=fields.get("Container", "").partition(",")[0],
    )


# --- LUKS ------------------------------------------------------------------------------------------------------


def containers(here: Here, found: dict[str, Block], *, headers: bool = False) -> list[Luks]:
    """The LUKS containers, by `cryptsetup luksDump`. `headers`: keep their headers, which carry key slots."""
    result = []
    for block in sorted((b for b in found.values() if b.fs == "crypto_LUKS"), key=lambda b: b.device):
        text = here.run("cryptsetup", "luksDump", block.device, keep=f"luks/{_base(block.device)}.txt")
        if not text:
            continue
        mapped = next((b for b in found.values() if block.device in b.below and b.type == "crypt"), None)
        header = f"luks/{_base(block.device)}.header" if headers else ""
        if header:
            header = here.written(
                header, "cryptsetup", "luksHeaderBackup", block.device, "--batch-mode", "--header-backup-file"
            )
        name = mapped.device.removeprefix("/dev/mapper/") if mapped else ""
        read = partial(luks, block.device, text, mapped.device if mapped else "", name, header)
        container = here.attempt(block.device, read, None)
        result += [container] if container is not None else []
    return result


def luks(device: str, text: str, mapped: str = "", name: str = "", header: str = "") -> Luks:
    """A container in what `cryptsetup luksDump` prints, of LUKS 1 or 2."""
    fields: dict[str, str] = {}
    slots: list[str] = []
    section, sector, offset = "", 512, 0
    for line in text.splitlines():
        key, sep, value = line.partition(":")
        value = value.strip()
        if not sep:
            continue
        if not line[:1].isspace():
            section = key
            fields.setdefault(key.strip(), value)
            if key.startswith("Key Slot ") and value == "ENABLED":
                slots.append("luks1")
        elif section == "Keyslots" and re.fullmatch(r"  \d+", key):
            slots.append(value)
        else:
            fields.setdefault(f"{section}/{key.strip()}", value)
    if "Data segments/sector" in fields:
        sector = _number(fields["Data segments/sector"]) or 512
    if "Data segments/offset" in fields:
        offset = _number(fields["Data segments/offset"])
    elif "Payload offset" in fields:
        offset = _number(fields["Payload offset"]) * 512
    cipher = fields.get("Data segments/cipher") or "-".join(
        fields[part] for part in ("Cipher name", "Cipher mode") if part in fields
    )
    label = fields.get("Label", "")
    return Luks(
        device=device,
        mapped=mapped,
        name=name,
        version=_number(fields.get("Version", "")) or 1,
        uuid=fields.get("UUID", ""),
        label="" if label == "(no label)" else label,
        cipher=cipher,
        key_bits=_number(fields.get("Keyslots/Key", "")) or _number(fields.get("MK bits", "")),
        hash=fields.get("Hash spec", "") or fields.get("Keyslots/AF hash", "") or fields.get("Digests/Hash", ""),
        pbkdf=fields.get("Keyslots/PBKDF", "") or ("pbkdf2" if "Hash spec" in fields else ""),
        sector=sector,
        offset=offset,
        slots=slots,
        header=header,
    )


# --- LVM -------------------------------------------------------------------------------------------------------

_OWN = re.compile(r"rpdrive-[0-9a-f]{32}")  # the mark of rpdrive's snapshots
_LVS = (
    "vg_name,lv_name,lv_uuid,lv_size,lv_layout,lv_role,lv_attr,pool_lv,origin,lv_tags,lv_active,segtype,stripes,"
    "stripe_size,devices,lv_dm_path"
)
_COPIED = re.compile(r"^(# Generated by LVM2 [^:\n]*).*$|^(creation_time = ).*$|^(description = ).*$", re.MULTILINE)


def volume_groups(here: Here, found: dict[str, Block]) -> list[VolumeGroup]:
    """The volume groups, by vgs, pvs and lvs; and what vgcfgbackup writes of each, as files."""
    if not any(block.fs == "LVM2_member" or block.type == "lvm" for block in found.values()):
        return []
    options = ("--reportformat", "json", "--units", "b", "--nosuffix", "--noheadings", "--options")
    groups = _report(here, "vg", "vgs", *options, "vg_name,vg_uuid,vg_size,vg_extent_size")
    physical = _report(here, "pv", "pvs", *options, "pv_name,pv_uuid,vg_name,pv_size")
    logical = _report(here, "lv", "lvs", *options, _LVS)
    result = []
    for row in sorted(groups, key=lambda row: str(row.get("vg_name"))):
        name = str(row.get("vg_name", ""))
        backup = here.written(f"lvm/{name}.vg", "vgcfgbackup", name, "--file", stable=_without_time)
        one = here.attempt(f"the volume group {name}", partial(group, row, physical, logical, backup), None)
        result += [one] if one is not None else []
    return result


def _report(here: Here, kind: str, *argv: str) -> list[dict[str, Any]]:
    text = here.run(*argv, keep=f"lvm/{argv[0]}.json")
    try:
        return list(json.loads(text)["report"][0][kind]) if text else []
    except (ValueError, KeyError, TypeError, IndexError):
        here.note(f"what {argv[0]} printed can't be understood")
        return []


def group(
    row: dict[str, Any], physical: list[dict[str, Any]], logical: list[dict[str, Any]], backup: str = ""
) -> VolumeGroup:
    """A volume group in the rows of LVM's reports. Volumes of several segments have a row for each."""
    name = str(row.get("vg_name", ""))
    volumes: dict[str, LogicalVolume] = {}
    for one in (one for one in logical if one.get("vg_name") == name):
        volume = _logical(one)
        if any(_OWN.fullmatch(tag) for tag in volume.tags) or _OWN.search(volume.name):
            continue  # a snapshot of a backup that runs now
        known = volumes.get(volume.name)
        volumes[volume.name] = (
            volume if known is None else msgspec.structs.replace(known, devices=[*known.devices, *volume.devices])
        )
    return VolumeGroup(
        name=name,
        uuid=str(row.get("vg_uuid", "")),
        extent=_number(row.get("vg_extent_size")),
        size=_number(row.get("vg_size")),
        physical=[
            PhysicalVolume(
                device=str(one.get("pv_name", "")),
                uuid=str(one.get("pv_uuid", "")),
                size=_number(one.get("pv_size")),
            )
            for one in physical
            if one.get("vg_name") == name
        ],
        logical=list(volumes.values()),
        backup=backup,
    )


def _logical(row: dict[str, Any]) -> LogicalVolume:
    return LogicalVolume(
        name=str(row.get("lv_name", "")),
        device=str(row.get("lv_dm_path", "")),
        uuid=str(row.get("lv_uuid", "")),
        size=_number(row.get("lv_size")),
        layout=str(row.get("lv_layout", "")),
        role=str(row.get("lv_role", "")),
        attributes=str(row.get("lv_attr", "")),
        pool=str(row.get("pool_lv", "")),
        origin=str(row.get("origin", "")),
        segment=str(row.get("segtype", "")),
        stripes=_number(row.get("stripes")),
        stripe_size=_number(row.get("stripe_size")),
        active=str(row.get("lv_active", "")) == "active",
        devices=[part for part in str(row.get("devices", "")).split(",") if part],
        tags=[tag for tag in str(row.get("lv_tags", "")).split(",") if tag],
    )


def _without_time(text: str) -> str:
    """What vgcfgbackup wrote, without when and by which command: vgcfgrestore needs neither."""

    def steady(found: re.Match[str]) -> str:
        return found[1] or (f"{found[2]}0" if found[2] else f'{found[3]}"rpdrive"')

    return _COPIED.sub(steady, text)


def _number(value: Any) -> int:
    """The first whole number in a text; 0 if there is none."""
    found = re.search(r"\d+", str(value or ""))
    return int(found[0]) if found else 0


def _base(device: str) -> str:
    return device.removeprefix("/dev/").replace("/", "-")
