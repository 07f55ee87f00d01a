"""Puts vault.json back from its copies, if it is missing or damaged. A good one is never replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple, TypeAlias

from catalog.errors import (
    Damaged,
    NewerFormat,
    NoVault,
    ObjectExists,
    ObjectNotFound,
    RpdriveError,
    StoreError,
    StoreUnreachable,
    WrongPassphrase,
)
from catalog.format.keys import Keys
from catalog.format.vaultfile import MAX_VAULT_FILE, VaultFile
from catalog.store.base import Store
from catalog.vault_json import NAME

_COPY = re.compile("vault/([1-9][0-9]{0,18})[.]json")
_Known: TypeAlias = Callable[[bytes], Collection[str]]
_TRIED = 100  # copies, from the newest on


class LostFile(NamedTuple):
    """What can be put in the place of a vault.json.

    `number` is that of the copy, `why` what is wrong with vault.json. `tag` is that of the damaged file, None if it
    is missing. `new_admins` says whether the copy has admins that are not known: a person should know why. `place`
    is the address of another place of the vault, if the copy is from there.
    """

    why: str
    number: int
    data: bytes
    tag: str | None
    new_admins: bool
    place: str = ""

    @property
    def what(self) -> str:
        """What is to be put back."""
        return f"vault.json at {self.place}" if self.place else f"vault/{self.number}.json"


def of_another_place(
    store: Store,
    places: Iterable[tuple[str, VaultFile]],
    passphrase: Callable[[], str],
    vault_id: bytes | None,
    seen: Callable[[bytes], int],
    known_admins: _Known,
) -> LostFile | None:
    """What to put back if there is no good copy in vault/: the vault.json of another place, without its `copy`.

    It gets a number above the one that was `seen` here last. None if no place has one that the passphrase opens, or
    this place has no recovery points: an empty folder is no damaged vault. Raises StoreError.
    """
    _data, tag, why = _present(store)
    if not why or not any(True for _ in store.list("points/")):
        return None
    for url, file in places:
        if vault_id not in (None, file.vault_id):
            continue
        try:
            keys = file.unlock(passphrase())
            number = max(file.number, seen(file.vault_id) + 1)
            data = file.changed(copy=None, number=number).encode(keys)
        except (Damaged, NewerFormat, WrongPassphrase):
            continue
        return LostFile(why, number, data, tag, _has_new(file, known_admins(file.vault_id), []), url)
    return None


def find_copy(
    store: Store,
    passphrase: Callable[[], str],
    vault_id: bytes | None = None,
    known_admins: Callable[[bytes], Collection[str]] = lambda vault_id: (),
) -> LostFile | None:
    """The copy to put back; None if vault.json is good.

    Good is a file that opens with the passphrase and has the right MAC; also one that the passphrase does not
    open, unless a copy with the same number differs and does. Copies of another vault than `vault_id` (None: it is
    not known) are passed over.

    `known_admins` says which admins (ids, hex) of a vault this machine knows. If it knows none, those count as
    known that each earlier copy has: whoever makes backups can store copies, and two may be forged.
    Raises NoVault if there is nothing to put back, WrongPassphrase, NewerFormat, or StoreError.
    """
    data, tag, why = _present(store)
    if data is not None and not why:
        return _changed(store, data, tag, passphrase, vault_id, known_admins)
    numbers = _numbers(store)
    if not numbers:
        raise NoVault(f"{why}, and there is no copy of it in vault/", "restore vault.json from a copy of the vault")
    copy = _newest(store, numbers, passphrase(), vault_id, why, known_admins)
    return LostFile(why, copy.number, copy.data, tag, copy.new_admins)


def put_back(store: Store, lost: LostFile) -> None:
    """Create or replace vault.json. Raises ObjectChanged if it was changed meanwhile, or another StoreError."""
    if lost.tag is not None:
        store.replace(NAME, lost.data, lost.tag)
        return
    try:
        store.create(NAME, [lost.data])
    except ObjectExists as e:
        raise NoVault("vault.json is there again", "run the command again") from e


class Spare(NamedTuple):
    """The copy of a good vault.json that is to be written. `tag` is that of a damaged one; None: it is missing."""

    name: str
    data: bytes
    tag: str | None


def find_spare(store: Store, keys: Keys) -> Spare | None:
    """The copy of vault.json that is missing or damaged; None if it is good, or vault.json is not.

    A copy with the right number that opens with these keys is good, also if it differs. Raises StoreError.
    """
    data = store.get(NAME, MAX_VAULT_FILE)
    if not _is_good(data, keys):
        return None
    number = VaultFile.decode(data).number
    name = f"vault/{number}.json"
    try:
        there, tag = store.get_tagged(name, MAX_VAULT_FILE)
    except ObjectNotFound:
        return Spare(name, data, None)
    except StoreUnreachable:
        raise
    except (Damaged, StoreError):  # too large to be replaced, or out of reach: the rest can be repaired
        return None
    return None if _is_good(there, keys, number) else Spare(name, data, tag)


def write_spare(store: Store, spare: Spare) -> None:
    """Write the copy. Raises ObjectExists or ObjectChanged if somebody else has, or another StoreError."""
    if spare.tag is None:
        store.create(spare.name, [spare.data])
    else:
        store.replace(spare.name, spare.data, spare.tag)


def _is_good(data: bytes, keys: Keys, number: int | None = None) -> bool:
    """Whether a file opens with these keys, and has this number, if one is given."""
    try:
        file = VaultFile.decode(data)
        file.verify(keys)
    except NewerFormat:
        return True  # it is not known to be damaged
    except RpdriveError:
        return False
    return number in (None, file.number)


def _present(store: Store) -> tuple[bytes | None, str | None, str]:
    """vault.json and its tag, and what is wrong with it. Raises NewerFormat or StoreError."""
    try:
        data, tag = store.get_tagged(NAME, MAX_VAULT_FILE)
    except ObjectNotFound:
        return None, None, "vault.json is missing"
    try:
        VaultFile.decode(data)
        return data, tag, ""
    except NewerFormat:
        raise
    except Damaged as e:
        return data, tag, str(e)


def _changed(
    store: Store, data: bytes, tag: str | None, passphrase: Callable[[], str], vault_id: bytes | None, known: _Known
) -> LostFile | None:
    """The copy to put back in place of a file that can be parsed; None if it is good."""
    text = passphrase()
    try:
        VaultFile.decode(data).unlock(text)
        return None
    except WrongPassphrase:
        number = VaultFile.decode(data).number
        try:
            same = store.get(f"vault/{number}.json", MAX_VAULT_FILE)
        except RpdriveError:
            same = data
        if same == data or not _opens(same, text):
            raise
        why = "vault.json differs from its own copy"
    except Damaged as e:
        why = str(e)
    copy = _newest(store, _numbers(store), text, vault_id, why, known)
    return LostFile(why, copy.number, copy.data, tag, copy.new_admins)


class _Copy(NamedTuple):
    number: int
    data: bytes
    new_admins: bool


def _numbers(store: Store) -> list[int]:
    """The numbers of the copies, the newest first."""
    named = (_COPY.fullmatch(info.name) for info in store.list("vault/"))
    return sorted((int(m[1]) for m in named if m is not None), reverse=True)


def _newest(
    store: Store, numbers: list[int], passphrase: str, vault_id: bytes | None, why: str, known: _Known
) -> _Copy:
    """The copy with the highest number that the passphrase opens. Raises NoVault or WrongPassphrase."""
    found: tuple[int, bytes, VaultFile, Keys] | None = None
    earlier: list[VaultFile] = []  # copies of the same vault, which may have other passphrases
    wrong: RpdriveError | None = None
    for number in numbers[:_TRIED]:
        try:
            data = store.get(f"vault/{number}.json", MAX_VAULT_FILE)
            file = VaultFile.decode(data)
            if vault_id not in (None, file.vault_id):
                continue
            if found is None:
                found = number, data, file, file.unlock(passphrase)
            elif file.vault_id == found[2].vault_id:
                file.verify(found[3])
                earlier.append(file)
        except WrongPassphrase as e:
            wrong = e
        except (Damaged, NewerFormat, ObjectNotFound) as e:
            if isinstance(e, NewerFormat) and found is None:
                raise
    if found is not None:
        return _Copy(found[0], found[1], _has_new(found[2], known(found[2].vault_id), earlier))
    if wrong is not None:
        raise wrong
    raise NoVault(f"{why}, and no copy of it in vault/ can be read", "restore vault.json from a copy of the vault")


def _has_new(file: VaultFile, known: Collection[str], earlier: list[VaultFile]) -> bool:
    admins = {admin.id.hex() for admin in file.admins}
    if known:
        return not admins <= set(known)
    return any(not admins <= {admin.id.hex() for admin in one.admins} for one in earlier)


def _opens(data: bytes, passphrase: str) -> bool:
    try:
        keys: Keys = VaultFile.decode(data).unlock(passphrase)
    except RpdriveError:
        return False
    return bool(keys)
