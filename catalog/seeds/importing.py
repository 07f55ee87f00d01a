"""`rpdrive seed import`: what disks bring goes into the vault, and its points when all of it is there.

No key is used: names, sizes and hashes are enough, and the vault's credentials may do no more than add objects.
Packs and the index are taken from whatever disks are there, in any order and on any days. Jobs, points and the
seed's end wait until one listing of the vault shows every object of every disk, so no recovery point is ever seen
that lacks something. A run that was stopped anywhere is finished by the same command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from catalog.access.session import Session
from catalog.errors import (
    Damaged,
    NotFound,
    ObjectExists,
    ObjectNotFound,
    RpdriveError,
    StoreError,
    StoreFull,
    StoreUnreachable,
    UsageError,
)
from catalog.format.sealed import MAX_SEALED
from catalog.format.seeds import counts_until
from catalog.screen.phases import Follower, Phase
from catalog.screen.text import counted, local_time, size_text
from catalog.seeds.arriving import EARLY, LATE, DiskState, Names, Row, Some, compared, hashed, tally
from catalog.seeds.brought import (
    TWIN,
    Brought,
    DiskList,
    fetch_list,
    list_twin,
    open_sources,
    read_whole,
    temporary_folder,
)
from catalog.seeds.disk import DiskRow, Listed, SeedFile
from catalog.seeds.verifying import differing
from catalog.store.base import ObjectInfo, Store
from catalog.store.following import following_copy
from catalog.store.roles import Role
from catalog.transfer.engine import transfer
from catalog.transfer.outcome import Outcome, Wanted

_EARLY = tuple(folder for step in EARLY for folder in step)
_LATE = tuple(folder for step in LATE for folder in step)
_ABANDON = "run `rpdrive seed abandon` on the machine that wrote it: its next backup sends what is missing"


class Request(NamedTuple):
    """What to import. `sources` are folders and addresses.

    `verify` reads back what is in the vault. `partial`: no points are stored, and a missing disk is no problem.
    """

    sources: Sequence[str]
    verify: bool = False
    partial: bool = False


class Result:
    """What an import came to. `seed` and `vault` are ids as hex.

    `stored` objects with `stored_bytes` are new in the vault, and `points` of them are recovery points. `is_whole`:
    everything of the seed is in the vault, its points too; `ends`: the record of its end as well, which is not on
    disks that have a twin. `had_ended`: it was so before, and nothing was stored.
    `knows_all`: the last disk was there, so `disks` are all there are. `late` are objects of the last disk that are
    damaged on it, and hold the points back. `problems` are disks and lists that could not be used, `notes` what did
    not stand in the way.
    """

    def __init__(self, seed: str, vault: str, *, partial: bool) -> None:
        self.seed = seed
        self.vault = vault
        self.partial = partial
        self.disks: list[DiskState] = []
        self.stored = self.stored_bytes = self.points = 0
        self.is_whole = self.ends = self.had_ended = self.knows_all = False
        self.late = Some()
        self.problems: list[RpdriveError] = []
        self.notes: list[str] = []

    @property
    def has_damage(self) -> bool:
        """Whether something on a disk or in the vault is not what it should be, and stands in the way."""
        some = (self.late, *(d.damaged for d in self.disks), *(d.conflicts for d in self.disks))
        return not self.is_whole and bool(self.problems or any(one.objects for one in some))


def import_seed(session: Session, request: Request, follow: Follower) -> Result:
    """Import what the sources bring.

    Raises UsageError for a source that is no disk, or is one of another vault or seed; FollowingCopy if the vault
    is a copy; NotFound if it does not expect this seed, or no longer; Damaged if nothing of it can be read;
    StoreError if a disk or the vault is away, or full: what was stored until then stays, and the same command goes
    on from there.
    """
    session.require(Role.BACKUP)
    store, file = session.open_store(), session.read_vault_file()
    if file.copy is not None and file.is_following:
        raise following_copy(session.address, file.copy.of)
    with ExitStack() as opened:
        brought, problems = open_sources(session, request.sources, opened)
        if not brought:
            raise problems[0]
        first = _one_seed(brought, file.vault_id.hex(), session.address)
        folder = opened.enter_context(temporary_folder())
        run = _Import(store, request, brought, first, folder, follow)
        run.result.problems += problems
        return run.run()


def _one_seed(brought: Sequence[Brought], vault: str, address: str) -> SeedFile:
    """The seed.json that tells most. Raises UsageError if the disks are not all of one seed of this vault."""
    first = max((one.file for one in brought), key=lambda f: (f.complete, len(f.disks)))
    for one in brought:
        if one.file.vault != vault:
            raise UsageError(
                f"{one.what} at {one.shown} is for the vault {one.file.vault[:8]}, and the vault at {address} is "
                f"{vault[:8]}",
                "name the vault that it is for (--vault)",
            )
    for one in brought:
        if one.file.seed != first.seed:
            raise UsageError(
                f"{one.what} at {one.shown} belongs to the seed {one.file.seed[:8]}, and others to"
                f" {first.seed[:8]}",
                "import one seed at a time",
            )
    return first


class _Import:
    def __init__(
        self,
        store: Store,
        request: Request,
        brought: list[Brought],
        first: SeedFile,
        folder: Path,
        follow: Follower,
    ) -> None:
        self._store, self._request, self._brought = store, request, brought
        self._first, self._folder, self._follow = first, folder, follow
        self._expires = min(one.file.expires for one in brought)
        self._names = Names(first.ended_name, first.machine)
        self._rows: dict[int, DiskRow] = {}
        self._lists: dict[int, DiskList] = {}
        self._disks: dict[int, DiskState] = {}
        self.result = Result(first.seed, first.vault, partial=request.partial)
        self._has_twin = any(one.is_twin for one in brought)
        self.result.knows_all = first.complete or self._has_twin

    def run(self) -> Result:
        has_ended = self._look()
        self._know_disks()
        if has_ended:
            return self._ended()
        for step in EARLY:
            for one in sorted(self._brought, key=lambda one: one.is_twin):
                self._take(one, step)
        self._compare()
        if self._request.verify:
            self._read_back(_EARLY)
        if not self._request.partial and self._all_arrived():
            self._store_late()
        return self.result

    # --- what is known ------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Whether the seed has ended. Raises NotFound if the vault has none of this id, or it has expired."""
        found = {info.name: info for info in self._store.list(self._first.record_name)}
        if self._first.ended_name in found:
            return True
        record, short = found.get(self._first.record_name), self._first.seed[:8]
        if record is None:
            raise NotFound(
                f"the vault at {self._store.url} knows no seed {short}",
                "check --vault; `rpdrive seed status` on the machine that wrote the disks says what it waits for",
            )
        until = counts_until(self._expires, record.modified)
        if self._store.now() >= until:
            raise NotFound(f"the seed {short} expired at {local_time(until)}", _ABANDON)
        return False

    def _know_disks(self) -> None:
        """Learn what is on each disk, from itself or from the last one. Raises if nothing is known of any."""
        for one in self._brought:
            if one.is_twin and TWIN not in self._lists:
                self._lists[TWIN] = twin = list_twin(one, self._folder)
                for listed in twin:
                    self._names.check(listed.name, one.named)
            self._rows[one.number] = self._lists[TWIN].row if one.is_twin else one.row
        for row in self._first.disks:
            if self._first.complete or row.number not in self._rows:
                self._rows[row.number] = row
        self._brought = [one for one in self._brought if self._fits(one)]
        places = {one.number: one.shown for one in reversed(self._brought)}
        for number, row in sorted(self._rows.items()):
            found = self._lists[TWIN] if number == TWIN else self._list_of(row)
            if found is None and self._has_twin:
                continue  # it has what is on all disks
            if found is not None:
                self._lists[number] = found
            state = DiskState(number, row.label, places.get(number, ""), known=found is not None)
            state.objects, state.bytes = row.objects, row.bytes
            self._disks[number] = state
            self.result.disks.append(state)
        self._brought = [one for one in self._brought if one.number in self._lists]
        if not self._brought:
            raise self.result.problems[0]

    def _fits(self, one: Brought) -> bool:
        row = self._rows[one.number]
        if one.is_twin:
            return True
        if not one.row.is_finished:
            self._problem(
                Damaged(
                    f"{one.named} is not finished",
                    "run `rpdrive seed close` on the machine that writes it",
                )
            )
            return False
        if (row.id, row.list) != (one.row.id, one.row.list):
            self._problem(
                Damaged(
                    f"{one.named} is not the one that the last disk tells of",
                    "look for the disk that was written last with this number",
                )
            )
            return False
        return True

    def _list_of(self, row: DiskRow) -> DiskList | None:
        """The list of a disk, the first of its copies that is good and lists only what can travel."""
        if not row.is_finished:
            return None
        errors: list[RpdriveError] = []
        for one in self._brought:
            if one.number != row.number and not one.file.complete:
                continue
            try:
                found = fetch_list(one, row, self._folder)
                for listed in found:
                    self._names.check(listed.name, f"the list of disk {row.number}")
            except ObjectNotFound:
                what = f"{one.shown} has no list of disk {row.number}"
                errors.append(Damaged(what, "take another copy of the disk"))
            except (Damaged, StoreUnreachable) as e:
                errors.append(e)
            else:
                self.result.notes += [f"{error}; its list on another disk was used" for error in errors]
                return found
        self.result.problems += errors
        return None

    def _problem(self, error: RpdriveError) -> None:
        self.result.problems.append(error)

    # --- packs and the index ------------------------------------------------------------------------------

    def _take(self, one: Brought, step: tuple[str, ...]) -> None:
        """Store what the vault lacks of a disk, of one step."""
        # Of a twin nobody knows hashes, but for what is on disks whose lists are here.
        lists = self._lists if one.is_twin else {one.number: self._lists[one.number]}
        rows = compared([(number, _of(found, step)) for number, found in lists.items()], self._listing(step))
        # Between two stores elsewhere the service may copy by itself, which it does not if bytes are to be hashed.
        is_far = not one.store.is_near and not self._store.is_near
        missing = hashed(rows, one.number)
        wanted = (Wanted(row.name, row.size, None if is_far else row.hash or None) for row in missing)
        outcome, state = Outcome(), self._disks[one.number]
        self._transfer(one, wanted, outcome)
        for fault in outcome.damaged:
            state.damaged.add(fault.name, fault.size)
        for name in outcome.gone:
            state.damaged.add(name, 0)
        state.damaged.objects += (
            outcome.damaged_count - len(outcome.damaged) + outcome.gone_count - len(outcome.gone)
        )

    def _transfer(self, one: Brought, wanted: Iterator[Wanted], outcome: Outcome) -> None:
        with self._reading(one):
            transfer(
                one.store, self._store, wanted, on_copied=self._copied, follow=self._follow,
                total=self._disks[one.number].bytes, into=outcome,
            )  # fmt: skip

    @contextmanager
    def _reading(self, one: Brought) -> Iterator[None]:
        """Name the disk if it is away, and say what is stored."""
        try:
            yield
        except StoreFull as e:
            raise StoreFull(f"{e}; {self._stored()}", e.advice) from e
        except StoreError as e:
            if not one.is_away():
                raise
            raise StoreUnreachable(
                f"{one.named} can't be read any more; {self._stored()}",
                "connect it again and run the same command: the rest follows",
            ) from e

    def _copied(self, wanted: Wanted) -> None:
        self.result.stored += 1
        self.result.stored_bytes += wanted.size

    def _stored(self) -> str:
        return f"{counted(self.result.stored, 'object')} of it, {size_text(self.result.stored_bytes)}, are stored"

    def _listing(self, folders: tuple[str, ...]) -> Iterator[ObjectInfo]:
        machine = self._names.machine
        late = (f"jobs/{machine}/", f"points/{machine}/", self._first.ended_name)
        for prefix in sorted([*self._names.prefixes(), *late]):
            if prefix.startswith(folders):
                yield from self._store.list(prefix)

    def _compare(self) -> None:
        """Look once what of all disks is in the vault."""
        self._follow.phase(Phase("comparing with the vault"))
        known = {number: self._disks[number] for number in self._lists}
        tally(compared(self._lists.items(), self._listing(_EARLY)), known)
        for state in known.values():
            if not state.missing.objects:  # another disk, or another process, had it
                state.damaged = Some()

    def _read_back(self, folders: tuple[str, ...]) -> None:
        """Read what has arrived of all disks that are known, and compare it."""
        for number, rows in self._lists.items():
            there = compared([(number, _of(rows, folders))], self._listing(folders))
            wanted = (Wanted(row.name, row.size, row.hash or None) for row in there if row.there == row.size)
            for one in differing(self._store, wanted, self._follow):
                self._disks[number].conflicts.add(one.name, one.size)

    def _all_arrived(self) -> bool:
        return self.result.knows_all and all(state.has_arrived for state in self._disks.values())

    # --- jobs, points, the end ----------------------------------------------------------------------------

    def _store_late(self) -> None:
        """Store what makes the seed visible: everything else is in the vault."""
        if self._look():  # another import was faster
            self._ended()
            return
        for rows in self._late():
            row = rows[0]
            if row.is_missing and self._read(rows) is None:
                self.result.late.add(row.name, row.size)
            elif row.is_conflict:
                self._disks[row.disk].conflicts.add(row.name, row.size)
            self.result.ends |= row.name == self._first.ended_name
        if self.result.late.objects or any(state.conflicts.objects for state in self._disks.values()):
            return
        for step in LATE:
            for rows in self._late(step):
                if rows[0].is_missing:
                    self._store_one(rows)
        if self._request.verify:
            self._read_back(_LATE)
        self.result.is_whole = not any(state.conflicts.objects for state in self._disks.values())

    def _late(self, step: tuple[str, ...] = _LATE) -> Iterator[list[Row]]:
        """What is stored last, in order of name, so points by their times. A row for each that lists it."""
        lists = [(number, _of(rows, step)) for number, rows in self._lists.items()]
        for _name, rows in groupby(compared(lists, self._listing(step)), key=lambda row: row.name):
            yield sorted(rows, key=lambda row: not row.hash)  # a disk's before the twin's

    def _read(self, rows: list[Row]) -> bytes | None:
        """The bytes of a small object; None if nothing that is here has them."""
        for row in rows:
            for one in self._brought:
                if one.number != row.disk:
                    continue
                try:
                    with self._reading(one):
                        return read_whole(one.store, Listed(row.name, row.size, row.hash), MAX_SEALED)
                except Damaged:
                    continue
        return None

    def _store_one(self, rows: list[Row]) -> None:
        row, data = rows[0], self._read(rows)
        if data is None:
            raise Damaged(f"{row.name} was read from the last disk, and can't be read again", "look after the disk")
        try:
            self._store.create(row.name, [data])
        except ObjectExists:
            if self._store.get(row.name, max(1, row.size)) != data:
                raise Damaged(
                    f"the vault has another object under the name {row.name}; it was left alone", _ABANDON
                ) from None
            return
        self._copied(Wanted(row.name, row.size))
        self.result.points += row.name.startswith("points/")

    def _ended(self) -> Result:
        """The seed had ended: look whether it was imported, and store nothing. Raises NotFound if it was not."""
        known = {number: self._disks[number] for number in self._lists}
        tally(compared(self._lists.items(), self._listing((*_EARLY, *_LATE))), known, lambda _name: True)
        missing = sum(state.missing.objects + state.conflicts.objects for state in known.values())
        if missing:
            raise NotFound(
                f"the seed {self._first.seed[:8]} has ended, and {counted(missing, 'object')} of these disks are"
                " not in the vault: it was abandoned, or they were pruned since; nothing was stored",
                "the next backup of its machine sends what is missing",
            )
        self.result.had_ended = self.result.ends = True
        if self._request.verify:
            self._read_back((*_EARLY, *_LATE))
        self.result.is_whole = not any(state.conflicts.objects for state in known.values())
        return self.result


def _of(rows: DiskList, folders: tuple[str, ...]) -> Iterator[Listed]:
    return (row for row in rows if row.name.startswith(folders))
