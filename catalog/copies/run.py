"""Makes a second copy of a vault, or brings it up to date: looks at the place, copies in rounds, lets go."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from catalog.access.copies import KnownCopies
from catalog.access.numbers import doubt
from catalog.access.session import Session
from catalog.copies.letting_go import Gone, LettingGo
from catalog.copies.missing import LastRun, MissingObjects, state_of_copy
from catalog.copies.plan import Look
from catalog.copies.rounds import Done, Job, Round
from catalog.copies.target import (
    Place,
    add_number,
    begin_copy,
    check_addresses,
    check_apart,
    check_follows,
    check_no_twin,
    follow_file,
    is_behind,
    look_at,
)
from catalog.errors import AccessDenied
from catalog.prune.deleting import Deleter
from catalog.screen.phases import Follower, NoFollower
from catalog.store.base import Store
from catalog.store.deadline import steady
from catalog.store.reading import time_to_read
from catalog.store.roles import Role
from catalog.throttle.given import Given
from catalog.throttle.limiting import limit_traffic
from catalog.vault import VAULT_FILE, Vault

ROUNDS = 8  # while points come at the source
LONG = 300.0  # seconds of a round after which it is worth looking for what came meanwhile


class Request(NamedTuple):
    """What is asked for. `to` is the copy's address; with `follow`, it lets go what the source has let go.

    `verify`: read all objects on both sides and compare them. `again`: begin a copy where this machine knows one
    that is away. `seconds` is the time allowed, None: no limit; `given` limits the traffic with each side.
    """

    to: str
    follow: bool = False
    dry: bool = False
    verify: bool = False
    again: bool = False
    seconds: float | None = None
    given: Given = Given()


class Copied(NamedTuple):
    """What a run did, or, if it was dry, would do. `new`: the copy was not there. `look` is the last listing.

    `gone` is None if nothing was to be let go. `waiting` are names that came while it ran,
    `vanished` some that the last listing had, and the source no longer had when they were to be copied. `file`:
    vault.json was written; `behind`: it could not be. `clean`: the copy has all of the source.
    """

    request: Request
    address: str
    new: bool
    file: bool
    behind: str
    look: Look
    done: Done
    gone: Gone | None
    waiting: tuple[str, ...]
    vanished: tuple[str, ...] = ()

    @property
    def is_stopped(self) -> bool:
        """Whether the time allowed was over before everything was copied, or let go."""
        return self.done.stopped or (self.gone is not None and self.gone.stopped)

    @property
    def is_clean(self) -> bool:
        done = self.done
        faults = done.outcome.conflict_count + done.outcome.damaged_count + done.held_points + done.held_places
        return not (faults or self.waiting or self.vanished or done.stopped or self.behind)

    @property
    def has_problems(self) -> bool:
        """Whether a person should look: being stopped by the time allowed is none."""
        gone, done = self.gone, self.done
        faults = done.outcome.conflict_count + done.outcome.damaged_count + done.held_points + done.held_places
        left = gone is not None and bool(gone.refused or gone.needed or gone.why)
        return bool(faults or self.waiting or self.vanished or self.behind or done.unexplained_count or left)


class Sides(NamedTuple):
    """What is copied, and to where. `source` and `target` are addresses; `deleting` is `store` without retries.

    In `state` this machine notes what it saw of the copy. `known`: it knows a copy there. `remember` is called once
    there is one. `doubt`: why vault.json of the source may be one that somebody put there.
    """

    vault: Vault
    source: str
    store: Store
    deleting: Store
    target: str
    state: Path
    known: bool = False
    remember: Callable[[], object] = lambda: None
    doubt: str = ""


def copy_vault(session: Session, vault: Vault, request: Request, follow: Follower = NoFollower()) -> Copied:
    """Copy the session's vault. Raises UsageError, NoVault, VaultExists, LocalError, Damaged or a StoreError.

    At every moment the copy opens, and every point in it is whole.
    """
    other = session.another(request.to)
    check_addresses(session.address, other.address)
    check_apart(session.folder, other.folder)
    check_no_twin(other.folder)
    if not request.dry:
        other.require(Role.BACKUP)
    limit_traffic(other, request.given)
    try:
        store, deleting = other.open_store(), other.open_store(patience=0.0)
        state = session.settings.where("state") if request.dry else session.settings.state
        copies = KnownCopies(session.settings)
        known = other.address in copies.of(vault.id)

        def remember() -> None:
            copies.remember(other.address, vault.id, session.address)

        why = doubt(session.settings.where("state"), vault.file, vault.state_id)
        sides = Sides(vault, session.address, store, deleting, other.address, state, known, remember, why)
        return copy_to(sides, request, follow)
    finally:
        other.close()


def copy_to(sides: Sides, request: Request, follow: Follower = NoFollower()) -> Copied:
    """The same between stores that are open."""
    return _Run(sides, request, follow).run()


class _Run:
    def __init__(self, sides: Sides, request: Request, follow: Follower) -> None:
        self._sides, self._vault, self._request, self._follow = sides, sides.vault, request, follow
        self._until = None if request.seconds is None else steady() + request.seconds
        self._done = Done()
        self._notes = state_of_copy(sides.state, sides.vault.id, sides.target)
        self._file, self._behind = False, ""

    def run(self) -> Copied:
        request, vault, store = self._request, self._vault, self._sides.store
        place = look_at(store, vault, known=self._sides.known and not request.again)
        new = place.file is None
        if not request.dry:
            place = self._begun(place)
            self._sides.remember()
        elif place.file is not None:
            self._file = not self._sides.doubt and is_behind(place.file, vault.file)
        with MissingObjects(self._notes.with_suffix(".sqlite"), reading=request.dry) as notes:
            if not request.dry:
                store.sweep(notes.mark)  # a run that was killed may have left large files
            copy = None if place.file is None else Vault(store, vault.keys, place.file)
            now = time.time_ns() if copy is None else time_to_read(store)  # a folder's clock makes the folder
            job = Job(
                vault, copy, store, notes, now, request.dry, request.verify, self._until, self._follow,
                lambda: check_follows(place),
            )  # fmt: skip
            last = self._rounds(job, place)
            behind = last.look.points - last.look.copied_points - last.new_points
            gone = self._let_go(job, last) if copy is not None and request.follow else None
            found = Copied(
                request, self._sides.target, new, self._file, self._behind, last.look, self._done, gone,
                () if last.is_last else tuple(sorted(last.look.waiting))[:1000], tuple(last.gone),
            )  # fmt: skip
            if not request.dry:
                self._settle(place, found, notes, max(0, behind))
        return found._replace(file=self._file, behind=self._behind)

    def _begun(self, place: Place) -> Place:
        if place.file is None:
            self._file = True
            return begin_copy(place.store, self._vault, self._sides.source)
        return self._followed(place, last=False)

    def _followed(self, place: Place, *, last: bool) -> Place:
        """Bring vault.json of the copy up to date, if these credentials may, and the source's is not in doubt."""
        assert place.file is not None
        if self._sides.doubt:
            if is_behind(place.file, self._vault.file):
                self._behind = f"vault.json of the copy stays as it is: {self._sides.doubt}"
            return place
        try:
            after = follow_file(place, self._vault, last=last)
        except AccessDenied as e:
            self._behind = f"vault.json of the copy is older than the source's, and could not be replaced: {e}"
            return place
        self._file |= after is not place
        return after

    def _rounds(self, job: Job, place: Place) -> Round:
        waited: set[str] = set()
        for number in range(1, ROUNDS + 1):
            one = Round(job, self._done, waited)
            try:
                began = steady()
                one.list()
                name = f"vault/{place.file.number}.json" if place.file is not None else VAULT_FILE
                if not job.dry and name not in one.look.numbers:
                    add_number(place)
                one.copy()
            finally:
                one.close()
            if self._done.stopped or job.dry or number == ROUNDS:
                return one
            if one.is_last and (steady() - began < LONG or not one.copied):
                return one
            waited |= one.look.waiting
        raise AssertionError

    def _let_go(self, job: Job, last: Round) -> Gone | None:
        if self._done.stopped or last.gone:
            return None  # the copy may lack what explains the rest
        if job.dry:
            return LettingGo(job, last.held, last.doubted, None).run(None)
        deleter = Deleter(self._sides.deleting, self._follow, self._until)
        return LettingGo(job, last.held, last.doubted, self._notes).run(deleter)

    def _settle(self, place: Place, found: Copied, notes: MissingObjects, behind: int) -> None:
        """Finish vault.json, and note the run."""
        if found.is_clean and place.file is not None:
            self._followed(place, last=True)
        if not self._done.stopped:
            notes.note_run(LastRun(time.time_ns(), found.look.points, behind, int(found.has_problems)))
