"""Runs `rpdrive repair` for a person, or for a program with --json."""

from __future__ import annotations

import sqlite3
import time
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

from catalog.access.also import OtherPlace, other_places
from catalog.access.numbers import known_admins, seen_number
from catalog.access.passphrases import confirm_on_terminal
from catalog.access.session import Session
from catalog.errors import (
    WITH_PROBLEMS,
    AccessDenied,
    Damaged,
    LocalError,
    NoVault,
    RpdriveError,
    UsageError,
    WrongPassphrase,
)
from catalog.heap import steady_heap
from catalog.machines.registry import id_here
from catalog.repair.copied import CopiedRecord, Records
from catalog.repair.examine import Examination, Found, Wanted
from catalog.repair.listing import (
    found_json,
    found_lines,
    records_json,
    records_lines,
    taken_text,
    written_lines,
)
from catalog.repair.neighbours import readable_version
from catalog.repair.run import Repair, record_job
from catalog.repair.state import Signer
from catalog.repair.taking import Copied, Taken, Taking
from catalog.repair.vault_file import LostFile, find_copy, find_spare, of_another_place, put_back, write_spare
from catalog.screen.output import print_json, say
from catalog.screen.phases import NoFollower, PhaseScreen
from catalog.screen.text import counted
from catalog.signing import signing_key
from catalog.store.roles import Role
from catalog.vault import Vault

_MOST_TAKES = 20  # from other places: each may reach folders below those that the one before has brought


class Request(NamedTuple):
    """What a person asked for."""

    machine: str | None = None
    dry: bool = False
    yes: bool = False
    read_all: bool = False
    acknowledge: bool = False
    as_json: bool = False


def run_repair(session: Session, request: Request) -> int:
    """Repair, and print what was done. The exit code: 3 if something stays lost.

    Raises AccessDenied before the first request if the role is too little, UsageError if nobody can confirm, and
    LocalError if the disk for temporary files is full.
    """
    if not request.dry:
        session.require(Role.MAINTAIN)
        if request.as_json and not request.yes:
            raise UsageError("nobody can confirm what --json does", "use --yes, or --dry-run to look")
    steady_heap()  # before there are threads
    try:
        return _Run(session, request).run()
    except sqlite3.Error as e:
        raise LocalError(f"a temporary file can't be written: {e}", "free some space, or set TMPDIR") from e


class _Run:
    def __init__(self, session: Session, request: Request) -> None:
        self._session, self._request = session, request
        self._row: dict[str, Any] = {"vault": session.address, "dry_run": request.dry, "vault_json": None}
        self._lost = False
        self._others: list[OtherPlace] = []
        self._screen: PhaseScreen | None = None if request.as_json else PhaseScreen()

    def run(self) -> int:
        self._others = other_places(self._session)
        try:
            vault = self._opened()
            if vault is not None:
                self._repair(vault, self._copies(vault))
        finally:
            for place in self._others:
                place.session.close()
        if self._request.as_json:
            print_json(self._row)
        return WITH_PROBLEMS if self._lost else 0

    def _say(self, text: str) -> None:
        if not self._request.as_json:
            say(text)

    def _confirmed(self, question: str) -> bool:
        if self._request.dry:
            return False
        if self._request.yes:
            return True
        answer = confirm_on_terminal(question)
        if answer is None:
            raise UsageError("nobody can confirm this, and nothing was written", "use --yes, or --dry-run to look")
        return answer

    # --- vault.json -----------------------------------------------------------------------------------------

    def _opened(self) -> Vault | None:
        """The open vault, after its vault.json is put back if need be; None if that is not to be."""
        session = self._session
        try:
            return session.open_vault()
        except (Damaged, NoVault, WrongPassphrase) as e:
            lost = self._copy(e)
        self._row["vault_json"] = {"why": lost.why, "copy": lost.number, "new_admins": lost.new_admins}
        if lost.place:
            self._row["vault_json"]["from"] = lost.place
        self._say(f"{lost.why}: {lost.what} is to be put in its place")
        if lost.new_admins:
            self._say("this copy names an admin key that is not known here: make sure that you know it")
        if not self._confirmed("Put it back?"):
            self._say("the rest can be looked at once vault.json is back")
            self._lost = True
            return None
        session.require(Role.ADMIN)
        put_back(session.open_store(), lost)
        self._say("wrote vault.json")
        return session.open_vault()

    def _spare(self, vault: Vault) -> None:
        """Write the copy of vault.json again, if it is missing or damaged."""
        spare = find_spare(vault.store, vault.keys)
        if spare is None:
            return
        what = "missing" if spare.tag is None else "damaged"
        self._row["vault_copy"] = {"name": spare.name, "why": what}
        self._say(f"{spare.name}, the copy of vault.json, is {what}: to be made anew")
        if not self._confirmed("Write it?"):
            return
        try:
            if spare.tag is not None:
                self._session.require(Role.ADMIN)
        except AccessDenied as e:
            self._say(f"{spare.name} stays as it is: {e}")
            return
        write_spare(vault.store, spare)
        self._say(f"wrote {spare.name}")

    def _copy(self, error: RpdriveError) -> LostFile:
        session = self._session
        try:
            known = session.known_id()
        except LocalError:
            known = None

        def admins(vault_id: bytes) -> list[str]:
            return known_admins(session.settings.state_to_read, session.state_id_of(vault_id))

        def passphrase() -> str:
            return session.passphrases.existing(session.address)

        def seen(vault_id: bytes) -> int:
            return seen_number(session.settings.state_to_read, session.state_id_of(vault_id))

        try:
            lost = find_copy(session.open_store(), passphrase, known, admins)
        except NoVault:
            there = ((place.url, place.file()) for place in self._others)
            lost = of_another_place(session.open_store(), there, passphrase, known, seen, admins)
            if lost is None:
                raise
        if lost is None:
            raise error
        return lost

    # --- other places ---------------------------------------------------------------------------------------

    def _copies(self, vault: Vault) -> list[Copied]:
        """The other places that were named, open. Raises StoreError, NoVault or Damaged if one can't be used."""
        for place in self._others:
            place.trust(vault.keys)
        return [Copied(place.url, place.vault()) for place in self._others]

    def _take_records(self, records: Records, found: list[CopiedRecord], what: str) -> None:
        """Put records back that another place has."""
        rows = self._row.setdefault("taken_records", [])
        for record in found:
            how = "does not open" if record.damaged else "is missing"
            self._say(f"{record.name} {how}: it is at {record.place.url}")
            rows.append({"name": record.name, "from": record.place.url, "damaged": record.damaged, "taken": False})
        if not found or not self._confirmed(f"Take {counted(len(found), what)} from there?"):
            return
        for record, row in zip(found, rows[-len(found) :], strict=True):
            why = records.put(record)
            row["taken"] = not why
            self._say(f"{record.name} stays as it is: {why}" if why else f"wrote {record.name}")
            self._lost |= bool(why)

    def _take(self, vault: Vault, examination: Examination, found: Found, copies: list[Copied], name: str) -> Taken:
        """Take what an examination calls lost from other places. What was taken, or with --dry-run can be."""
        taking = Taking(vault, found.machine, copies, self._screen or NoFollower())
        with self._screen or nullcontext():
            there = taking.look(examination)
        if not there:
            return there
        places = " and ".join(copy.url for copy in copies)
        self._say(f"{name}: {taken_text(there)}, lost here, can be taken from {places}")
        if not self._confirmed("Take this?"):
            return Taken()
        with self._screen or nullcontext():
            taken = taking.take(examination)
        self._say(f"{name}: took {taken_text(taken)}")
        return taken

    # --- the rest -------------------------------------------------------------------------------------------

    def _repair(self, vault: Vault, copies: list[Copied]) -> None:
        request = self._request
        self._spare(vault)
        if copies:
            elsewhere = Records(vault, copies)
            self._take_records(elsewhere, list(elsewhere.numbered()), "record")
            self._take_records(elsewhere, list(elsewhere.points()), "recovery point")
        noted = self._session.damaged_packs(vault.state_id).packs()
        wanted = Wanted(noted, request.read_all, request.dry)
        repair = Repair(vault, request.machine, wanted, self._screen or NoFollower())
        with self._screen or nullcontext():
            records = repair.lost_records()
        for line in records_lines(records, dry=request.dry):
            self._say(line)
        self._row["records"] = records_json(records)
        if (records.machines or records.items) and self._confirmed("Make these records anew?"):
            repair.write_records(records)
        rows = self._row["machines"] = []
        for first in repair.examinations():
            examination, began = first, time.time_ns()
            try:
                with self._screen or nullcontext():
                    found = examination.run()
                name = self._name(repair, found)
                taken = Taken()
                for _ in range(_MOST_TAKES if copies else 0):  # what was taken may lead to more that is lost
                    more = self._take(vault, examination, found, copies, name) if found.lost else Taken()
                    taken = Taken(taken.packs + more.packs, taken.blocks + more.blocks)
                    if not more or request.dry:
                        break
                    examination = examination.again()
                    with self._screen or nullcontext():
                        found = examination.run()
                neighbour = partial(readable_version, vault, repair.names)
                if not request.as_json:
                    for line in found_lines(found, name, neighbour):
                        say(line)
                row = found_json(found, name, neighbour) if request.as_json else {}
                row["taken"] = taken._asdict()
                rows.append(row)
                self._lost |= bool(found.lost or found.unread)
                todo = found.rows or found.rebuilt or found.unindexed
                if not (todo or (request.acknowledge and found.acknowledged)):
                    continue
                if self._confirmed("Write this?"):
                    signer = self._signer(vault)
                    with self._screen or nullcontext():
                        written = repair.carry_out(examination, found, signer, acknowledge=request.acknowledge)
                    row["written"] = {"places": written.places, "index_objects": written.indexes}
                    record_job(vault, found, name, began)
                    for line in written_lines(written, name):
                        self._say(line)
            finally:
                examination.close()

    def _name(self, repair: Repair, found: Found) -> str:
        known = repair.machines.get(found.machine)
        return known.name if known is not None else found.machine.hex()[:8]

    def _signer(self, vault: Vault) -> Signer:
        admin, private = signing_key(vault)
        return Signer(admin, private, id_here(self._session.settings, vault) or bytes(16))
