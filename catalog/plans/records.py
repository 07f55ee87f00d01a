"""Reads and writes the records of plans of an open vault, and keeps this machine's copy of its own."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import msgspec

from catalog.access.settings import Settings
from catalog.author import who
from catalog.errors import (
    Damaged,
    LocalError,
    MissingData,
    NewerFormat,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    RpdriveError,
    Unwritable,
)
from catalog.format.numbers import HIGHEST_NUMBER, written_number
from catalog.format.plan import PlanRecord, ReadPlan, decode_plan, encode_plan, plan_folder, plan_named
from catalog.format.records import ItemKind, Machine
from catalog.format.sealed import Kind, open_object, seal_object
from catalog.machines.registry import Registration
from catalog.plans.allowed import FILE as ALLOWED
from catalog.plans.allowed import Allowed
from catalog.plans.effective import SNAPSHOTS, Level, Plan, effective
from catalog.plans.local import MOST_BYTES, LocalItem, LocalPlans, LocalVault
from catalog.store.following import following_copy
from catalog.vault import Vault

_TRIES = 100  # versions of a level that are read, and numbers that are tried for the next one
_MOST_FAULTS = 100  # noted in a copy


class Plans:
    """The newest records of plans in a vault. One listing, when it is made, and one request for each level.

    A record that does not open, or is malformed, is noted in the vault's `passed_over`, and the one before it
    counts: nothing is removed because of a plan, and a machine without one would make no backups.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._numbers: dict[bytes, list[int]] = {}
        self._levels: dict[bytes, Level] = {}
        for info in vault.store.list("plans/"):
            named = plan_named(info.name)
            if named is not None:
                self._numbers.setdefault(named[0], []).append(named[1])

    @property
    def ids(self) -> list[bytes]:
        """The ids of the vault, the machines and items that may have records."""
        return list(self._numbers)

    def level(self, what: str, name: str, level: bytes) -> Level:
        """What the vault, a machine or an item says. Raises StoreError."""
        found = self._levels.get(level)
        if found is None:
            found = self._levels[level] = self._read(Level(what, name, level))
        return found

    def of_vault(self) -> Level:
        return self.level("vault", "", self._vault.id)

    def levels(self, machine: bytes, machine_name: str, item: bytes = b"", item_name: str = "") -> list[Level]:
        """The levels that count for an item, or for a machine, the nearest first. Raises StoreError."""
        found = [self.level("machine", machine_name, machine), self.of_vault()]
        return [self.level("item", item_name, item), *found] if item else found

    def _read(self, level: Level) -> Level:
        bad: list[tuple[str, RpdriveError]] = []
        numbers = sorted(self._numbers.get(level.id, ()), reverse=True)
        level = level._replace(highest=numbers[0] if numbers else 0)
        found = level
        for number in numbers[:_TRIES]:
            name = plan_folder(level.id) + written_number(number)
            try:
                read = read_plan(self._vault, name)
            except (Damaged, MissingData, NewerFormat, ObjectNotFound) as e:
                bad.append((name, e))
                continue
            found = level._replace(number=number, record=read.record, raw=read.raw)
            break
        for name, error in bad:
            self._vault.passed_over.note(name, error, lost=found.record is None)
        return found


def read_plan(vault: Vault, name: str) -> ReadPlan:
    """A record by its name. Raises Damaged, NewerFormat, MissingData, ObjectNotFound or another StoreError."""
    return decode_plan(open_object(vault.keys, Kind.PLAN, name, vault.fetch_sealed(Kind.PLAN, name)), name)


def add_plan(vault: Vault, level: Level, record: PlanRecord) -> Level:
    """Store a record after the one of a level that counts. Returns the level with it.

    `record.number` is not looked at. A number that is taken by what is no plan is passed over. Raises
    ObjectChanged if somebody else was faster, Unwritable, or another StoreError.
    """
    for number in range(level.number + 1, min(level.number + _TRIES, HIGHEST_NUMBER) + 1):
        new = msgspec.structs.replace(record, number=number)
        name = plan_folder(level.id) + written_number(number)
        content = encode_plan(new, level.read)
        try:
            vault.store.create(name, [seal_object(vault.keys, Kind.PLAN, name, content)])
        except ObjectExists:
            if level.record is None and level.highest >= _TRIES:
                break  # the one that was there may be below those that can't be read
            if _is_plan(vault, name):
                raise ObjectChanged(
                    f"the plan of {level} was changed by another run meanwhile", "look at it, and run this again"
                ) from None
            continue
        read = decode_plan(content, name)
        return level._replace(number=number, record=read.record, raw=read.raw)
    if level.number >= HIGHEST_NUMBER:
        raise Unwritable(
            f"the plan of {level} has the highest number that there is, so that none can follow it",
            f"delete {plan_folder(level.id)}{written_number(level.number)} in the vault's place",
        )
    raise Unwritable(
        f"{_TRIES} numbers of plans of {level} are taken by objects that are none",
        f"delete those, which are in {plan_folder(level.id)} of the vault's place; this machine names them when it"
        " looks at the plan",
    )


def _is_plan(vault: Vault, name: str) -> bool:
    try:
        read_plan(vault, name)
        return True
    except (Damaged, MissingData, NewerFormat, ObjectNotFound):
        return False


def next_record(level: Level, **changes: object) -> PlanRecord:
    """The record that follows that of a level, with these fields."""
    record = level.record or PlanRecord(id=level.id, number=0, written=0)
    return msgspec.structs.replace(record, written=max(time.time_ns(), 0), by=who(), **changes)


# --- this machine's copy ------------------------------------------------------------------------------------


def refresh(vault: Vault, address: str, settings: Settings) -> LocalVault | None:
    """Read the plans of this machine, and replace its copy of them. None if it is not registered in the vault.

    Paths that this machine's `plans.toml` does not allow are left out, and noted; if that file can't be used, so is
    everything.
    If a level had a record that counted, and none of its records opens now, the earlier copy stays as it was.
    Raises StoreError and LocalError, and FollowingCopy: jobs don't begin to lead to a copy by looking at it.
    """
    if vault.file.copy is not None and vault.file.is_following:
        raise following_copy(address, vault.file.copy.of)
    state = settings.where("state")
    known = Registration.load(state, vault)
    if known is None:
        return None
    machine_id = bytes.fromhex(known.machine)
    found = vault.machine(machine_id)
    name = found[1].name if found is not None else known.name
    machine = Machine(id=machine_id, name=name, hostname="", system="", created=0)
    plans, local = Plans(vault), LocalPlans(state)
    try:
        earlier = local.of(vault.id)
    except LocalError:
        earlier = None  # it is replaced
    if earlier is not None and earlier.machine != known.machine:
        earlier = None
    made = _bounded(_allowed(_local(vault, plans, address, machine, earlier), settings.where("config")))
    if earlier is not None and _has_lost(made, earlier):
        made = msgspec.structs.replace(earlier, fetched=made.fetched, faults=made.faults)
    local.save(made)
    return made


def _local(vault: Vault, plans: Plans, address: str, machine: Machine, earlier: LocalVault | None) -> LocalVault:
    now = time.time_ns()
    own = plans.levels(machine.id, machine.name)
    before = {} if earlier is None else {item.id: item for item in earlier.items}
    # An item whose own record no longer opens is backed up as before: that writes the record again.
    names = {item.id: item.name for item in before.values()}
    names |= {item.id.hex(): item.name for item in vault.items(machine.id).values()}
    items, numbers = [], {level.id.hex(): level.number for level in own if level.number}
    for item, name in sorted(names.items(), key=lambda one: (one[1], one[0])):
        nearest, *wider = plans.levels(machine.id, machine.name, bytes.fromhex(item), name)
        plan = effective([nearest, *wider])
        if nearest.number:
            numbers[item] = nearest.number
        if plan.saves:
            was = before.get(item)
            since = was.since if was is not None and _was_active(was.plan) else now
            items.append(LocalItem(id=item, name=name, plan=plan, since=min(since, now)))
    faults = [str(row) for row in vault.passed_over.rows("plans/")]
    return LocalVault(
        vault=vault.id.hex(), address=address, machine=machine.id.hex(), machine_name=machine.name, fetched=now,
        plan=effective(own), since=min(earlier.since, now) if earlier is not None else now, items=items,
        numbers=numbers, faults=faults[:_MOST_FAULTS],
    )  # fmt: skip


def _allowed(made: LocalVault, config: Path) -> LocalVault:
    """A copy without the paths that this machine does not allow."""
    items, faults = [], list(made.faults)
    try:
        allowed = Allowed(config, platform.system())
    except LocalError as e:
        return msgspec.structs.replace(made, items=[], faults=[f"nothing is backed up: {e}", *faults])
    for item in made.items:
        refused = [path for path in item.plan.paths if allowed.refuses(path)]
        faults += [
            f"{ALLOWED} does not allow {os.fsdecode(path)!r} of the item {item.name}" for path in refused[:3]
        ]
        paths = tuple(path for path in item.plan.paths if path not in refused)
        reason = "" if paths else ("its paths are not allowed" if item.plan.paths else allowed.refuses_system())
        reason = reason or _unknown(item.plan)
        if reason and not refused:
            faults.append(f"the item {item.name} is not backed up: {reason}")
        if not reason:
            items.append(msgspec.structs.replace(item, plan=msgspec.structs.replace(item.plan, paths=paths)))
    return msgspec.structs.replace(made, items=items, faults=faults[:_MOST_FAULTS])


def _unknown(plan: Plan) -> str:
    """Why this version can't run a plan: it has a word of a later one."""
    if plan.what not in tuple(ItemKind):
        return f"this version of rpdrive does not know what {plan.what!r} is"
    if plan.snapshot not in ("", *SNAPSHOTS):
        return f"this version of rpdrive does not know the snapshots {plan.snapshot!r}"
    return ""


def _bounded(made: LocalVault) -> LocalVault:
    """A copy without the largest plans, if all together are more than the timer is to read every five minutes."""
    sizes = {item.id: len(msgspec.json.encode(item)) for item in made.items}
    dropped: set[str] = set()
    for item in sorted(made.items, key=lambda item: sizes[item.id], reverse=True):
        if sum(size for one, size in sizes.items() if one not in dropped) > MOST_BYTES:
            dropped.add(item.id)
    faults = [f"the plan of the item {item.name} is too large" for item in made.items if item.id in dropped]
    items = [item for item in made.items if item.id not in dropped]
    return msgspec.structs.replace(made, items=items, faults=[*faults, *made.faults][:_MOST_FAULTS])


def _has_lost(made: LocalVault, earlier: LocalVault) -> bool:
    """Whether a level had a record that counted, and has none now: nobody deletes one, so it was lost.

    Junk under the name of a level that never had one is no loss: it would stop all changes.
    """
    return not earlier.numbers.keys() <= made.numbers.keys()


def _was_active(plan: Plan) -> bool:
    return plan.schedule is not None and plan.stopped is None
