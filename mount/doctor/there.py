"""What the vault and the access to it tell. Reads only, and asks no person anything."""

from __future__ import annotations

import threading
import time

from catalog.access.protecting import report_of
from catalog.access.session import Session
from catalog.alerts.overdue import hours
from catalog.alerts.rules import DAY
from catalog.errors import Locked, RpdriveError
from catalog.format.keys import Keys
from catalog.format.vaultfile import VaultFile
from catalog.plans.local import LocalPlans
from catalog.store.roles import Role
from mount.doctor.examine import Check, Result, State
from mount.doctor.here import SKEW, room_of

SOON = 14 * DAY  # ns before a token ends


class There:
    """The checks of the vault."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._file: VaultFile | RpdriveError | None = None

    def checks(self) -> list[Check]:
        return [
            Check("vault", self.vault), Check("key", self.key), Check("credentials", self.credentials),
            Check("role", self.role), Check("clock of the store", self.clock),
            Check("room in the vault", self.room),
            Check("protection", self.protection),
        ]  # fmt: skip

    def _read(self) -> VaultFile:
        """vault.json, read once for all checks."""
        with self._lock:
            if self._file is None:
                try:
                    self._file = self._session.read_vault_file()
                except RpdriveError as e:
                    self._file = e
            if isinstance(self._file, RpdriveError):
                raise self._file
            return self._file

    def _keys(self) -> Keys:
        file = self._read()
        master = self._session.saved_keys.load(file.vault_id)
        if master is None:
            raise Locked("no key is saved, so the timer can't open the vault", "rpdrive vault unlock --save")
        return file.verify(Keys(master, file.vault_id))

    def vault(self) -> Result:
        self._read()
        return State.OK, self._session.address

    def key(self) -> Result:
        """Whether the saved key can be read without a person, and opens the vault."""
        self._keys()
        return State.OK, "saved, and opens the vault without a passphrase"

    def credentials(self) -> Result:
        """Whether the token lasts."""
        found, now = self._session.credentials(), time.time_ns()
        if found is None:
            local = self._session.is_local
            return State.OK, "none are needed for a folder" if local else "none are saved: those of the environment"
        left = found.grant.expires - now
        mend = "make new ones with rpdrive vault credentials, then rpdrive vault connect FILE"
        if left <= 0:
            return State.FAIL, f"they ended {hours(-left)} ago", mend
        return (State.WARN, f"they end in {hours(left)}", mend) if left < SOON else (State.OK, f"for {hours(left)}")

    def role(self) -> Result:
        """Whether the role is enough for what the plan wants."""
        known = self._session.known_id()
        plan = None if known is None else LocalPlans(self._session.settings.where("state")).of(known)
        wanted = Role.RESTORE
        if plan is not None and plan.items:
            wanted = Role.MAINTAIN if plan.plan.prune.every else Role.BACKUP
        found = self._session.credentials()
        if found is not None and not found.role.includes(wanted):
            text = f"the plan needs the role {wanted}, and the credentials have {found.role}"
            return State.WARN, text, "rpdrive vault connect FILE with more, or let another machine prune"
        return State.OK, f"enough for {wanted}"

    def clock(self) -> Result:
        """Whether the clocks of the store and of this machine agree."""
        if self._session.is_local:
            return State.OK, "a folder has none of its own"  # and asking for it would write
        self._read()
        apart = self._session.open_store().now() - time.time_ns()
        if abs(apart) > SKEW:
            which = "behind" if apart > 0 else "ahead of"
            return State.FAIL, f"this machine's is {hours(abs(apart))} {which} the store's", "set the clock"
        return State.OK, "it agrees with this machine's"

    def room(self) -> Result:
        if self._session.folder is None:
            return State.OK, "the store does not say"
        found = room_of(self._session.folder)
        return (State.WARN, found, "make room, or rpdrive prune") if found else (State.OK, "enough")

    def protection(self) -> Result:
        """What the store's place lacks."""
        missing = report_of(self._session, self._session.open_store(), self._read()).missing
        if missing:
            more = f" ({len(missing)} such)" if len(missing) > 1 else ""
            return State.WARN, f"missing: {missing[0].what}{more}", "rpdrive vault protect"
        return State.OK, "nothing is missing"
