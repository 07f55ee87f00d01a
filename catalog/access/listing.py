"""A vault, and vault credentials, as text and JSON."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import msgspec

from catalog.access.admin import admin_json, admin_text
from catalog.access.credentials import DEFAULT_LIFETIME, Credentials
from catalog.format.keys import VERSION
from catalog.format.vaultfile import Immutable
from catalog.ledger.listed import hiding
from catalog.protect.listing import immutable_text
from catalog.screen.text import counted, iso_time, safe_text, size_text
from catalog.store.roles import Role
from catalog.vault import Vault

MANY = 100_000  # points that are counted without being asked to: 21 requests
_MAY = {
    Role.RESTORE: "list, mount and restore",
    Role.BACKUP: "list, mount, restore and back up, but not delete or overwrite",
    Role.MAINTAIN: "list, mount, restore, back up and delete, but not overwrite",
    Role.ADMIN: "everything",
}


def vault_json(vault: Vault, *, sizes: bool = False, most: int | None = None) -> dict[str, Any]:
    """A vault's properties and contents for --json. `sizes` adds stored bytes by folder, from a full listing.

    Costs 4 listings, and 1 request for each ledger, and each machine and item not seen before. With more than
    `most` points, none are counted: their numbers are None, and the listing ends there.
    """
    hidden = hiding(vault)
    names = (n for n in vault.each_point_name() if not n.partial and not hidden.is_hidden(n))
    counts = Counter((n.machine, n.item) for n in islice(names, None if most is None else most + 1))
    is_counted = most is None or counts.total() <= most
    items = sorted(vault.all_items(), key=lambda i: i.name)
    row: dict[str, Any] = {
        "vault": vault.store.url,
        "id": vault.id.hex(),
        "version": VERSION,
        "created": vault.file.created,
        "number": vault.file.number,
        "slots": [
            {
                "id": slot.id,
                "kdf": "argon2id",
                "memory_kib": slot.kdf.memory_kib,
                "passes": slot.kdf.passes,
                "lanes": slot.kdf.lanes,
                "created": slot.created,
            }
            for slot in vault.file.slots
        ],
        "admins": [admin_json(admin) for admin in vault.file.admins],
        "soft_delete_days": vault.file.soft_delete_days,
        "immutable": None if vault.file.immutable is None else msgspec.structs.asdict(vault.file.immutable),
        "copy": None if vault.file.copy is None else msgspec.structs.asdict(vault.file.copy),
        "machines": [
            {
                "id": machine.id.hex(),
                "name": machine.name,
                "system": machine.system,
                "forgotten": machine.forgotten,
                "items": [
                    {
                        "id": item.id.hex(),
                        "name": item.name,
                        "points": counts[machine.id, item.id] if is_counted else None,
                    }
                    for item in items
                    if item.machine == machine.id
                ],
            }
            for machine in sorted(vault.machines().values(), key=lambda m: m.name)
        ],
        "points": counts.total() if is_counted else None,
    }
    if sizes:
        row["stored"] = _stored(vault)
    return row


def _stored(vault: Vault) -> dict[str, dict[str, int]]:
    stored: dict[str, dict[str, int]] = {}
    for info in vault.store.list(""):
        folder = stored.setdefault(info.name.split("/")[0], {"objects": 0, "bytes": 0})
        folder["objects"] += 1
        folder["bytes"] += info.size
    return stored


def vault_text(row: dict[str, Any]) -> str:
    """The result of `vault_json` as text."""
    lines = [
        f"vault     {row['vault']}",
        f"id        {row['id']}",
        f"format    version {row['version']}",
        f"created   {row['created']}",
    ]
    lines += [
        f"key slot  {s['id']}, of {s['created']}: Argon2id, {s['memory_kib'] // 1024} MiB, {s['passes']} passes, "
        f"{s['lanes']} lanes"
        for s in row["slots"]
    ]
    lines += [f"admin key {admin_text(admin)}" for admin in row["admins"]] or ["admin key none"]
    if row["immutable"] is not None:
        lines.append(f"immutable {immutable_text(Immutable(**row['immutable']))}")
    lines += _copy_lines(row)
    lines.append(f"points    {_points_text(row['points'])}")
    for machine in row["machines"]:
        text = f"machine   {machine['name']} ({machine['id'][:8]}), {machine['system']}"
        lines.append(text + (", forgotten" if machine["forgotten"] else ""))
        lines += [
            f"  item    {i['name']} ({i['id'][:8]})"
            + ("" if i["points"] is None else f": {counted(i['points'], 'point')}")
            for i in machine["items"]
        ]
    for folder, held in row.get("stored", {}).items():
        lines.append(f"stored    {folder}: {counted(held['objects'], 'object')}, {size_text(held['bytes'])}")
    if "stored" in row:
        lines.append(f"stored    in all {size_text(sum(held['bytes'] for held in row['stored'].values()))}")
    return "\n".join(map(safe_text, lines))


def _points_text(points: int | None) -> str:
    return f"more than {MANY:,}; `rpdrive vault info --count` counts them" if points is None else f"{points:,}"


def _copy_lines(row: dict[str, Any]) -> list[str]:
    """What a place is a copy of, and what other copies this machine knows."""
    lines, copy = list[str](), row["copy"]
    if copy is not None and copy["promoted"] is None:
        lines.append(f"copy      of {copy['of']}, since {copy['since']}: it follows, and takes no backups")
    elif copy is not None:
        lines.append(f"copy      of {copy['of']} until {iso_time(copy['promoted'] * 10**9)}, when it was promoted")
    return lines + [f"copy at   {_known_copy(one)}" for one in row.get("copies", ())]


def _known_copy(one: dict[str, Any]) -> str:
    """A known copy, and what its last run came to."""
    if one["copied"] is None:
        return f"{one['address']}: not complete yet"
    behind = f", {one['behind']:,} more were missing" if one["behind"] else ""
    problems = "; that run had problems" if one["problems"] else ""
    return f"{one['address']}: {counted(one['points'], 'point')}, as of {one['copied']}{behind}{problems}"


def credentials_json(made: Credentials) -> dict[str, Any]:
    """Vault credentials for --json, without the token."""
    row = made.to_json()
    return {
        "vault": row["address"],
        "id": row["vault"],
        "role": row["role"],
        "issued": row["issued"],
        "expires": row["expires"],
        "endpoint": made.token.endpoint if made.token else None,
        "signed_by": made.token.signed_by if made.token else None,
        "enforced_by": "the server" if made.token else "rpdrive only",
    }


def credentials_text(made: Credentials) -> str:
    """Vault credentials as text, without the token."""
    lines = [
        f"  vault    {made.vault_id.hex()} at {made.address}",
        f"  role     {made.role}: {_MAY[made.role]}",
        f"  expires  {made.expires:%Y-%m-%d %H:%M:%S} UTC",
    ]
    if made.foreign_endpoint:
        lines.append(f"  endpoint {safe_text(made.foreign_endpoint)}: the token and all requests go there")
    if made.tokens and made.token:
        lines.append(f"  token    {made.tokens.describe(made.token)}")
    else:
        lines.append("  token    none: the vault is a folder. The role is only advice, which rpdrive follows;")
        lines.append("           the folder's permissions decide what others can do in it")
    return "\n".join(map(safe_text, lines))


def credentials_warnings(made: Credentials) -> list[str]:
    """Warnings for the person who hands out vault credentials."""
    tokens, lifetime = made.tokens, made.expires - made.issued
    warnings = []
    if lifetime > DEFAULT_LIFETIME:
        end = tokens.revocation(made.token) if tokens and made.token else ""
        warnings.append(
            f"anyone who has this file can access the store for {lifetime.days} days" + (end and f"; {end}")
        )
    return warnings + (tokens.warnings(made.address) if tokens else [])
