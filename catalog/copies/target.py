"""The place of a copy: whether it may be one, and its vault.json, which is written before everything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from catalog.errors import Damaged, NoVault, ObjectExists, ObjectNotFound, UsageError, VaultExists
from catalog.format.admins import Admin
from catalog.format.vaultfile import MAX_COPY_OF, MAX_VAULT_FILE, CopyMark, VaultFile
from catalog.seeds.disk import read_twin_file
from catalog.store.base import Store
from catalog.vault import VAULT_FILE, Vault, now_iso

_EMPTY = "choose an empty place for the copy"


class Place(NamedTuple):
    """A place that may hold the copy. `file` is its vault.json, of version `tag`; None: it is empty."""

    store: Store
    file: VaultFile | None
    tag: str = ""


def check_apart(source: Path | None, target: Path | None) -> None:
    """Raise UsageError if two folders (None: no folder) are one, also by another name, or one is in the other."""
    if source is None or target is None:
        return
    one, other = Path(os.path.realpath(source)), Path(os.path.realpath(target))
    try:
        same = os.path.samefile(one, other)
    except OSError:
        same = one == other
    if same:
        raise UsageError(f"{target} is the vault's own folder", _EMPTY)
    if other.is_relative_to(one) or one.is_relative_to(other) or _inside(other, one) or _inside(one, other):
        raise UsageError(f"one of {source} and {target} is in the other", _EMPTY)


def _inside(folder: Path, above: Path) -> bool:
    """Whether a folder is in another one that is also mounted elsewhere."""
    try:
        top = os.stat(above)
    except OSError:
        return False
    for parent in folder.parents:
        try:
            status = os.stat(parent)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (top.st_dev, top.st_ino):
            return True
    return False


def check_addresses(source: str, target: str) -> None:
    """Raise UsageError if two addresses (in their normal spelling) are one, or one is below the other."""
    one, other = f"{source}/", f"{target}/"
    if one == other:
        raise UsageError(f"{target} is the vault's own address", _EMPTY)
    if one.startswith(other) or other.startswith(one):
        raise UsageError(f"one of {source} and {target} is in the other", _EMPTY)


def check_no_twin(folder: Path | None) -> None:
    """Raise VaultExists if a folder is the twin of a seed: it has objects that the vault does not have yet."""
    if folder is not None and read_twin_file(folder) is not None:
        raise VaultExists(f"{folder} is the twin of a first backup that travels (docs/seeding.md)", _EMPTY)


def look_at(store: Store, vault: Vault, *, known: bool) -> Place:
    """What is at the place of the copy. One request; a second one if it has no vault.json.

    `known`: this machine knows a copy there. Raises NoVault if that is away, VaultExists if something else is
    there, Damaged if its vault.json is not of this vault's key, NewerFormat, or StoreError.
    """
    try:
        data, tag = store.get_tagged(VAULT_FILE, MAX_VAULT_FILE)
    except ObjectNotFound:
        if known:
            raise NoVault(
                f"the copy at {store.url} is not there",
                "check that its disk is mounted; --new begins another copy there",
            ) from None
        other = next(iter(store.list("")), None)
        if other is not None:
            raise VaultExists(
                f"there is something at {store.url} that is no copy of this vault, e.g. {other.name}", _EMPTY
            ) from None
        return Place(store, None)
    file = _decoded(store, data, vault)
    if file.mac == vault.file.mac:
        raise VaultExists(f"{store.url} is the vault that is to be copied, by another name", _EMPTY)
    if file.copy is None:
        raise VaultExists(
            f"the vault at {store.url} has the same id as this one, and is no copy that `rpdrive vault copy` made",
            "backups may have been made into both; choose an empty place for the copy",
        )
    if not file.is_following:
        raise VaultExists(
            f"the copy at {store.url} was promoted: it is a vault in its own right and follows no other",
            "copy that one to an empty place, if it is the vault that you use now",
        )
    return Place(store, file, tag)


def _decoded(store: Store, data: bytes, vault: Vault) -> VaultFile:
    try:
        file = VaultFile.decode(data)
        if file.vault_id == vault.id:
            file.verify(vault.keys)
            return file
    except Damaged as e:
        raise Damaged(
            f"in the copy at {store.url}: {e}",
            f"`rpdrive --vault {store.url} repair` puts an earlier one back there",
        ) from e
    raise VaultExists(f"there is another vault at {store.url}: {file.vault_id.hex()[:8]}", _EMPTY)


def begin_copy(store: Store, vault: Vault, address: str) -> Place:
    """Write the vault.json of a new copy. Raises VaultExists if another program did so, or another StoreError."""
    mark = CopyMark(of=address[:MAX_COPY_OF], since=now_iso())
    body = vault.file.changed(number=1, copy=mark).encode(vault.keys)
    try:
        store.create(VAULT_FILE, [body])
    except ObjectExists as e:
        raise VaultExists(f"a vault was made at {store.url} meanwhile", "run the command again") from e
    return _read(store)


def check_follows(place: Place) -> None:
    """Raise VaultExists if a copy was promoted since it was looked at, NoVault if it is away. One request."""
    try:
        data, tag = place.store.get_tagged(VAULT_FILE, MAX_VAULT_FILE)
    except ObjectNotFound as e:
        raise NoVault(f"the copy at {place.store.url} is not there any more", "run the command again") from e
    if tag != place.tag and not VaultFile.decode(data).is_following:
        raise VaultExists(
            f"the copy at {place.store.url} was promoted meanwhile: nothing more is copied or deleted there",
            "copy that one to an empty place, if it is the vault that you use now",
        )


def add_number(place: Place) -> None:
    """Keep vault.json under its number, too, where a run that was stopped did not."""
    data, tag = place.store.get_tagged(VAULT_FILE, MAX_VAULT_FILE)
    if tag == place.tag:
        _create(place.store, f"vault/{VaultFile.decode(data).number}.json", data)


def follow_file(place: Place, vault: Vault, *, last: bool) -> Place:
    """Bring vault.json of the copy up to the source's: one who may open the source may open the copy.

    A key that signs stays until the records of another one are in the copy; at the end (`last`) it goes. No request
    if there is nothing to change. Raises AccessDenied if these credentials may not, or another StoreError.
    """
    file = place.file
    assert file is not None
    new = _followed(file, vault.file, last=last)
    if new is file:
        return place
    number = file.number + 1
    while True:
        body = new.changed(number=number).encode(vault.keys)
        if _create(place.store, f"vault/{number}.json", body):
            break
        number += 1
    place.store.replace(VAULT_FILE, body, place.tag)
    return _read(place.store)


def is_behind(file: VaultFile, source: VaultFile) -> bool:
    """Whether vault.json of the copy says something else than the source's."""
    return _followed(file, source, last=True) is not file


def _followed(file: VaultFile, source: VaultFile, *, last: bool) -> VaultFile:
    """What a copy's vault.json is to say. One with the `locked` rule keeps it, whatever the source says now."""
    admins = source.admins if last else (*source.admins, *_only_in(file.admins, source.admins))
    immutable = source.immutable
    if file.immutable is not None and file.immutable.locked:
        days = max(file.immutable.days, 0 if immutable is None else immutable.days)
        immutable = msgspec.structs.replace(file.immutable, days=days)
    new: dict[str, object] = {
        "created": source.created,
        "slots": source.slots,
        "admins": admins,
        "soft_delete_days": source.soft_delete_days,
        "immutable": immutable,
    }
    if all(getattr(file, name) == value for name, value in new.items()):
        return file
    return file.changed(**new, parsed=source.parsed)


def _only_in(admins: tuple[Admin, ...], others: tuple[Admin, ...]) -> list[Admin]:
    known = {admin.id for admin in others}
    return [admin for admin in admins if admin.id not in known]


def _create(store: Store, name: str, data: bytes) -> bool:
    try:
        store.create(name, [data])
        return True
    except ObjectExists:
        return False


def _read(store: Store) -> Place:
    data, tag = store.get_tagged(VAULT_FILE, MAX_VAULT_FILE)
    return Place(store, VaultFile.decode(data), tag)
