"""The folders of a vault's records: names that nothing reads (level 0), and records that do not open (level 1).

Trees, packs and points are looked at elsewhere. What is here costs no file, but may cost what a person has set: a
policy, the name of a machine, a hold. One bad object costs that object.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from catalog.check.finding import Finding, What
from catalog.errors import AccessDenied, Damaged, NewerFormat, ObjectNotFound, refused_object
from catalog.format.checks import checks_folder, checks_named, decode_checks
from catalog.format.ledger import decode_ledger, ledger_named
from catalog.format.message import Id, decode
from catalog.format.packs import SERIES_BYTES, BlockRow, check_rows
from catalog.format.places import decode_places, places_named
from catalog.format.plan import decode_plan, plan_named
from catalog.format.records import Item, ItemName, Job, JobName, Machine, MachineName, StartName, decode_record
from catalog.format.retention import decode_retention, policy_named
from catalog.format.sealed import Kind, open_object
from catalog.format.signed import open_signed, signer_of
from catalog.format.vaultfile import MAX_VAULT_FILE, VaultFile
from catalog.store.base import ObjectInfo
from catalog.vault import Vault

NAMES, OPENED = 0, 1  # levels
MOST = 64  # records of a folder that a run opens, below level 3
MOST_BYTES = 64 << 20  # of records of a folder that it reads, but for the first one
EVERYTHING = 3  # the level that opens all
_NAMED = 20  # names of a folder that are told one by one
_PARALLEL, _AT_ONCE = 8, 512  # requests, and records that wait for them
_LARGE = 4 << 20  # bytes; such objects are read one by one
_KNOWN = {
    "packs", "meta", "index", "machines", "items", "points", "jobs", "policies", "plans", "places", "ledger",
    "checks", "marks", "seeds", "vault",
}  # fmt: skip
_INDEX = re.compile("index/[0-9a-f]{32}/[0-9a-f]{32}")
_COPY = re.compile("vault/([1-9][0-9]{0,18})[.]json")
_JUNK = "nothing reads an object of this name: if no newer rpdrive stored it, it is junk; delete it"
_NO_FOLDER = "it is no folder of a vault: if no newer rpdrive made it, it is junk, and can be deleted"

Open = Callable[[Vault, str, bytes], object]  # raises Damaged, or NewerFormat


class _Folder(NamedTuple):
    """A folder of records: which names it has, how one is opened, and what to do with one that does not open.

    `signed`: only an admin can make them. `needed`: a record that does not open is damage.
    """

    is_known: Callable[[str], object]
    open: Open
    advice: str
    signed: Kind | None = None
    needed: bool = True


class _RawPack(msgspec.Struct, array_like=True):
    pack: Id
    blocks: msgspec.Raw


class _RawIndex(msgspec.Struct):
    packs: list[_RawPack]


_index = msgspec.msgpack.Decoder(_RawIndex)
_rows = msgspec.msgpack.Decoder(list[BlockRow])


def _open_record(
    kind: Kind, cls: type[Any], parse: Callable[[str], Any], vault: Vault, name: str, data: bytes
) -> None:
    parse(name).check(decode_record(cls, open_object(vault.keys, kind, name, data), name))


def _open_index(vault: Vault, name: str, data: bytes) -> None:
    """Open an index object, pack by pack: as a whole its rows would take ten times the memory."""
    for one in decode(_index, open_object(vault.keys, Kind.INDEX, name, data), name).packs:
        check_rows(decode(_rows, bytes(one.blocks), name), name)


def _open_copy(vault: Vault, name: str, data: bytes) -> None:
    file, m = VaultFile.decode(data), _COPY.fullmatch(name)
    if m is None or file.number != int(m[1]) or file.vault_id != vault.id:
        raise Damaged(f"{name} holds another vault.json than its name says")
    file.verify(vault.keys)


def _open_checks(vault: Vault, name: str, data: bytes) -> None:
    decode_checks(open_object(vault.keys, Kind.CHECKS, name, data), name)


def _open_plan(vault: Vault, name: str, data: bytes) -> None:
    decode_plan(open_object(vault.keys, Kind.PLAN, name, data), name)


def _open_signed(
    kind: Kind, decode_it: Callable[[bytes, str], object], vault: Vault, name: str, data: bytes
) -> None:
    signer_of(vault.keys, kind, name, data)
    try:
        content = open_signed(vault.keys, vault.file.admins, kind, name, data)
    except Damaged as e:
        raise _Unsigned(str(e)) from e
    decode_it(content, name)


def _job_named(name: str) -> JobName | StartName | None:
    return JobName.parse(name) or StartName.parse(name)


class _Unsigned(Damaged):
    """A record that opens, and that no admin of the vault signed."""


_NEWEST = "if it is the newest there, bring it back from a copy of the vault; otherwise delete it"
FOLDERS = {
    "machines/": _Folder(
        MachineName.parse, partial(_open_record, Kind.MACHINE, Machine, MachineName.parse),
        "another version of it is used, or `rpdrive repair` makes one; then delete it",
    ),
    "items/": _Folder(
        ItemName.parse, partial(_open_record, Kind.ITEM, Item, ItemName.parse),
        "another version of it is used, or `rpdrive repair` makes one; then delete it",
    ),
    "index/": _Folder(
        _INDEX.fullmatch, _open_index,
        "`rpdrive repair` writes again what it said; then delete it: no restore needs it",
    ),
    "policies/": _Folder(
        policy_named, partial(_open_signed, Kind.RETENTION, decode_retention),
        "if it is the newest there, bring it back from a copy of the vault, or set the policy again with "
        "`rpdrive policy set`; otherwise delete it", Kind.RETENTION,
    ),
    "plans/": _Folder(
        plan_named, _open_plan, "if it is the newest there, set the plan again; then delete it"
    ),
    "ledger/": _Folder(ledger_named, partial(_open_signed, Kind.LEDGER, decode_ledger), _NEWEST, Kind.LEDGER),
    "places/": _Folder(places_named, partial(_open_signed, Kind.PLACES, decode_places), _NEWEST, Kind.PLACES),
    "checks/": _Folder(checks_named, _open_checks, "the record before it is used; delete it", needed=False),
    "jobs/": _Folder(
        _job_named, partial(_open_record, Kind.JOB, Job, _job_named),
        "it is for people only; delete it", needed=False,
    ),
    "vault/": _Folder(_COPY.fullmatch, _open_copy, ""),
}  # fmt: skip


class Looked(NamedTuple):
    """What was found, and what a person should know of how much was looked at."""

    findings: list[Finding]
    notes: list[str]


class Strangers:
    """Objects in a folder with names that nothing reads: how many, and some of the names."""

    def __init__(self, folder: str) -> None:
        self._folder, self._names, self._count = folder, list[str](), 0

    def add(self, name: str) -> None:
        self._count += 1
        if len(self._names) < _NAMED:
            self._names.append(name)

    def findings(self) -> Iterator[Finding]:
        for name in self._names:
            yield Finding(NAMES, What.STRANGE, name, _JUNK)
        more = self._count - len(self._names)
        if more:
            yield Finding(
                NAMES, What.STRANGE, self._folder, f"{more:,} more objects in it have names that nothing reads"
            )


def look_at_folders(
    vault: Vault,
    level: int,
    *,
    machine: bytes | None = None,
    known: Iterable[str] = (),
    most: int = MOST,
    there: Callable[[str], object] = lambda name: None,
) -> Looked:
    """Look at the folders of records, of a machine (its id) or of the vault.

    A listing of each folder; from level 1 on a request for each record that is opened, as the store has it: up to
    `most` of a folder below level 3. Objects that are `known` to be bad are not told again. `there` gets the name
    of each record. Raises StoreError.
    """
    findings, notes, told = list[Finding](), list[str](), set(known)
    if machine is None:
        strange = (name for name in vault.store.folders("") if name not in _KNOWN)
        findings += [Finding(NAMES, What.STRANGE, f"{name}/", _NO_FOLDER) for name in islice(strange, _NAMED)]
    for prefix, folder in FOLDERS.items():
        within = _within(prefix, machine)
        if within is None:
            continue
        strangers = Strangers(prefix)
        infos = _listed(vault, folder, within, strangers, there)
        if level < OPENED:
            deque(infos, maxlen=0)
        elif level < EVERYTHING:
            some, count = _sample(infos, most)
            findings += [one for one in _unopened(vault, folder, some) if one.object not in told]
            if len(some) < count:
                notes.append(f"{len(some):,} of {count:,} records in {prefix} were opened, drawn at random")
        else:
            findings += [one for one in _unopened(vault, folder, infos) if one.object not in told]
        findings += strangers.findings()
    return Looked(findings, notes)


def _listed(
    vault: Vault, folder: _Folder, prefix: str, strangers: Strangers, there: Callable[[str], object]
) -> Iterator[ObjectInfo]:
    """The records below a prefix. What is none is added to `strangers`."""
    for info in vault.store.list(prefix):
        if not folder.is_known(info.name):
            strangers.add(info.name)
        else:
            there(info.name)
            yield info


def _sample(infos: Iterable[ObjectInfo], most: int) -> tuple[list[ObjectInfo], int]:
    """Up to `most` records, drawn at random if there are more, with no more bytes than a run reads; and how many
    there are."""
    rng, found, count = random.Random(), list[ObjectInfo](), 0
    for count, info in enumerate(infos, 1):
        if len(found) < most:
            found.append(info)
        elif (at := rng.randrange(count)) < most:
            found[at] = info
    rng.shuffle(found)
    total = 0
    for n, info in enumerate(found):
        total += info.size
        if n and total > MOST_BYTES:
            del found[n:]
            break
    return sorted(found), count


def _within(prefix: str, machine: bytes | None) -> str | None:
    """Where the records of a machine are in a folder; None if it has none of its own there."""
    if machine is None:
        return prefix
    if prefix in ("policies/", "plans/", "vault/"):
        return None
    if prefix == "places/":
        return prefix + machine[:SERIES_BYTES].hex()  # and its shards
    return checks_folder(machine) if prefix == "checks/" else f"{prefix}{machine.hex()}/"


def _unopened(vault: Vault, folder: _Folder, infos: Iterable[ObjectInfo]) -> Iterator[Finding]:
    """What does not open, and why."""
    newest = dict[str, tuple[int, str]]()  # the records that an admin signed, by folder
    unsigned = list[tuple[str, str]]()
    for name, error in _errors(vault, folder, infos):
        place = name.rpartition("/")[0]
        if error is None:
            newest[place] = max(newest.get(place, (0, "")), _order(name))
        elif isinstance(error, _Unsigned):
            unsigned.append((name, str(error)))
        elif isinstance(error, NewerFormat):
            yield Finding(OPENED, What.NEWER, name, f"{error}; a newer rpdrive can read it")
        else:
            what = What.RECORD if folder.needed else What.MINOR
            yield Finding(OPENED, what, name, f"{error}; {_advice(vault, folder, name)}")
    for name, reason in unsigned:  # an earlier admin may have signed those below the newest one
        if _order(name) > newest.get(name.rpartition("/")[0], (0, "")):
            yield Finding(OPENED, What.UNSIGNED, name, f"{reason}, and does not count; delete it")


def _order(name: str) -> tuple[int, str]:
    """Names of the records of a folder in the order of their numbers."""
    return len(name), name


def _advice(vault: Vault, folder: _Folder, name: str) -> str:
    if folder.advice:
        return folder.advice
    is_newest = name == f"vault/{vault.file.number}.json"
    return "`rpdrive repair` makes it anew" if is_newest else "it is the copy of an earlier vault.json; delete it"


def _errors(
    vault: Vault, folder: _Folder, infos: Iterable[ObjectInfo]
) -> Iterator[tuple[str, Damaged | NewerFormat | None]]:
    """Each record that is still there, and why it does not open."""

    def opened(info: ObjectInfo) -> tuple[bool, Damaged | NewerFormat | None]:
        try:
            folder.open(vault, info.name, _fetched(vault, info.name))
        except ObjectNotFound:
            return False, None
        except (Damaged, NewerFormat) as e:
            return True, e
        return True, None

    rest = iter(infos)
    with ThreadPoolExecutor(_PARALLEL, "records") as pool:
        while some := list(islice(rest, _AT_ONCE)):
            small = [info for info in some if info.size < _LARGE]
            found = dict(zip(small, pool.map(opened, small), strict=True))
            for info in some:
                there, error = found[info] if info in found else opened(info)
                if there:
                    yield info.name, error


def _fetched(vault: Vault, name: str) -> bytes:
    """The bytes of an object as the store has them, and no cached copy."""
    kind = _KINDS.get(name.partition("/")[0])
    if kind is None:
        try:
            return vault.store.get(name, MAX_VAULT_FILE)
        except AccessDenied as e:
            raise refused_object(name) from e
    return vault.fetch_sealed(kind, name)


_KINDS = {
    "machines": Kind.MACHINE, "items": Kind.ITEM, "index": Kind.INDEX, "policies": Kind.RETENTION,
    "plans": Kind.PLAN, "ledger": Kind.LEDGER, "places": Kind.PLACES, "checks": Kind.CHECKS, "jobs": Kind.JOB,
}  # fmt: skip
