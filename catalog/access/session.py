"""A command's access to the vault: settings, store, passphrase or saved key. It is the `obj` of Typer's context."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from catalog.access.memory import protect_memory
from catalog.access.passphrases import GivenPassphrases, Passphrases, unlock
from catalog.access.secrets import SavedAdminKeys, SavedKeys
from catalog.access.settings import Settings
from catalog.errors import Damaged, LocalError, NoVault, StoreUnreachable, UsageError
from catalog.program import ADMIN_PASSPHRASE

if TYPE_CHECKING:
    from catalog.access.also import Also
    from catalog.access.credentials import Credentials
    from catalog.access.damage import DamagedPacks
    from catalog.format.keys import Keys
    from catalog.format.vaultfile import VaultFile
    from catalog.store.base import Store
    from catalog.store.metered import MeteredStore
    from catalog.store.roles import Grant, Role
    from catalog.store.stack import StoreStack
    from catalog.store.throttled import Gate
    from catalog.vault import Vault

FIRST_SILENCE = 5.0  # seconds
Noting: TypeAlias = "Callable[[Session, Vault], Note | None]"
RecordsFactory: TypeAlias = "Callable[[Session, bytes], MutableMapping[str, bytes] | None]"


class Opener(Protocol):
    """Opens the store at an address, like catalog.store.address.open_store."""

    def __call__(self, url: str, *, token: str | None = None, endpoint: str | None = None) -> Store: ...


class Note(Protocol):
    """What a person should know of an open vault, as text and for --json."""

    def json(self) -> dict[str, Any]: ...


class OwnFolder(NamedTuple):
    """A folder that rpdrive uses itself. `what` names it in a message."""

    what: str
    path: Path


class Session:
    """The vault that the global options name, and what was opened of it.

    `passphrases` is asked when no saved key opens the vault, `admin_passphrases` when a record is to be signed and
    no saved key can. `records_factory` returns the mapping in which a vault (by id) caches its immutable records,
    or None: the cache is a package above this one. `opener` opens
    the store in place of `open_store`. `waiting` gets a message when the store does not answer for some seconds.
    `also` are addresses of other places of the vault (also.py), `lacking` says what one of them does not have yet.
    `noting` says how far the place is behind others: what compares points is a room above this one.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        vault: str | None = None,
        passphrases: Passphrases | None = None,
        admin_passphrases: Passphrases | None = None,
        records_factory: RecordsFactory | None = None,
        opener: Opener | None = None,
        waiting: Callable[[str], None] | None = None,
        also: Sequence[str] = (),
        lacking: Callable[[Settings, Vault], str] = lambda settings, vault: "",
        noting: Noting | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.vault_option = vault
        self.passphrases = passphrases or GivenPassphrases()
        self.admin_passphrases = admin_passphrases or GivenPassphrases(variable=ADMIN_PASSPHRASE, admin=True)
        self._records_factory = records_factory
        self._closing = ExitStack()
        self.connecting: Credentials | None = None  # new credentials on trial, in place of the remembered ones
        self._opener = opener
        self._waiting = waiting
        self.also_given, self.also_required = tuple(also), False  # required: for this command, not by a variable
        self.also: Also | None = None  # once the session reads from other places, too
        self.lacking = lacking
        self.noting = noting
        self._silent_until = 0.0
        self._stack: StoreStack | None = None
        self._usual = 0.0  # patience of this kind of store, in seconds
        self.gate: Gate | None = None  # of the vault's traffic; set before the store is opened
        self.vault: Vault | None = None  # once it is open
        self._address: str | None = None
        self._asked: Role | None = None  # the highest role that the command has asked for

    def another(self, address: str) -> Session:
        """A session of the same user for another vault."""
        return Session(
            self.settings, vault=address, passphrases=self.passphrases, admin_passphrases=self.admin_passphrases,
            records_factory=self._records_factory, opener=self._opener, waiting=self._waiting,
            noting=self.noting,
        )  # fmt: skip

    @property
    def address(self) -> str:
        """The vault's address, normalised. Raises UsageError if no vault was named."""
        if self._address is None:
            self._address = self.settings.vault_address(self.vault_option)
        return self._address

    @address.setter
    def address(self, address: str) -> None:
        self._address = address

    @property
    def folder(self) -> Path | None:
        """The vault's folder; None if it is not in a folder of this machine."""
        from catalog.store.address import local_folder

        path = local_folder(self.address)
        return None if path is None else Path(path)

    @property
    def is_local(self) -> bool:
        """Whether the vault is in a folder of this machine."""
        return self.folder is not None

    @property
    def saved_keys(self) -> SavedKeys:
        return SavedKeys(self.settings)

    @property
    def saved_admin_keys(self) -> SavedAdminKeys:
        return SavedAdminKeys(self.settings)

    @property
    def meter(self) -> MeteredStore | None:
        """The counter of requests to the vault's store; None until the store is opened."""
        return None if self._stack is None else self._stack.meter

    def open_store(self, patience: float | None = None) -> Store:
        """The vault's store, opened once and metered (`meter`).

        A request without an answer is repeated for `patience` seconds; None: the default of this kind of store.
        Raises UsageError if the address is malformed, and AccessDenied if the credentials are missing or expired.
        """
        if self._stack is None:
            protect_memory()  # soon there will be tokens, and keys
            from catalog.store.address import open_store, scheme_of
            from catalog.store.stack import StoreStack

            scheme = scheme_of(self.address)
            opener = self._opener or open_store
            credentials = self.credentials()
            if credentials is None:
                self._stack = StoreStack(
                    opener(self.address), scheme.patience, waiting=self._say_waiting, gate=self.gate
                )
            else:
                grant = credentials.grant
                grant.check(self.address)
                store = opener(self.address, token=grant.token, endpoint=grant.endpoint)
                self._stack = StoreStack(
                    store, scheme.patience, grant, self._newest_grant, self._say_waiting, self.gate
                )
            self._usual = scheme.patience
        if self.also is not None:
            return self.also.front(self._stack, self._usual if patience is None else patience, self._usual)
        return self._stack.front(patience)

    def read_elsewhere(self, say: Callable[[str], None] | None = None) -> Also | None:
        """Read from the other places that were given what the first one can't give: from now on, and lazily.

        To be called before the store is opened. `say` gets lines for the person. None if no place was given. Raises
        UsageError if one is malformed, or given twice.
        """
        if self.also is None and self.also_given:
            from catalog.access.also import Also

            self.also = Also(self, self.also_given, say or self.say, self.lacking, strict=self.also_required)
        return self.also

    def credentials(self) -> Credentials | None:
        """The credentials this machine uses for the vault.

        None if it is not connected to the vault, or if the environment supplies credentials.
        """
        if self.connecting is not None:
            return self.connecting
        try:
            vault_id = self.known_id()
        except LocalError:
            return None  # the list is not needed if --vault names the vault
        if vault_id is None:
            return None
        if self.environment_has_credentials():
            return None
        from catalog.access.credentials import Connections

        return Connections(self.settings).load(vault_id, self.address)

    def known_id(self) -> bytes | None:
        """The id of the vault, or of the copy of one, that this machine knows by the address. Raises LocalError."""
        known = self.settings.known_vaults().get(self.address)
        if known is None:
            from catalog.access.copies import KnownCopies

            copy = KnownCopies(self.settings).all().get(self.address)
            known = None if copy is None else copy.vault_id
        return known

    def environment_has_credentials(self) -> bool:
        """Whether the environment has credentials for the vault, which come before any others."""
        from catalog.store.address import scheme_of

        tokens = scheme_of(self.address).tokens
        return tokens is not None and tokens.in_environment(self.address, os.environ)

    def own_folders(self, *, config: bool = True) -> list[OwnFolder]:
        """The folders that rpdrive itself reads and writes: the vault's, if it is local, and those of Settings.

        `config` includes the folder of the user's settings, which a backup should save.
        """
        kinds = ("config", "state", "cache", "run") if config else ("state", "cache", "run")
        folders = [OwnFolder("rpdrive's own folder", self.settings.where(kind)) for kind in kinds]
        return folders if self.folder is None else [OwnFolder("the vault", self.folder), *folders]

    def require(self, role: Role) -> None:
        """Check the role before any work.

        Raises AccessDenied if this machine's credentials for the vault have a lesser role or have expired, and
        FollowingCopy if the vault is a copy that follows; if it is not open yet, `open_vault` raises that.
        """
        if self._asked is None or role.includes(self._asked):
            self._asked = role
        if self.vault is not None:
            self._check_following(self.vault.file)
        credentials = self.credentials()
        if credentials is None:
            return
        from catalog.errors import AccessDenied

        if not credentials.role.includes(role):
            raise AccessDenied(
                f"this needs the role {role}, but this machine's credentials for {self.address} have the role "
                f"{credentials.role}",
                f"run `rpdrive vault connect FILE` with credentials for the role {role} (docs/credentials.md)",
            )
        credentials.grant.check(self.address)

    def _check_following(self, file: VaultFile) -> None:
        """Raise FollowingCopy if vault.json is that of a copy which follows, and the command may write."""
        from catalog.store.roles import Role

        if file.copy is not None and file.is_following and self._asked not in (None, Role.RESTORE):
            from catalog.store.following import following_copy

            raise following_copy(self.address, file.copy.of)

    def _newest_grant(self) -> Grant | None:
        """The grant of the credentials that are remembered now; None if there are none."""
        if self.connecting is not None:
            return None  # the earlier credentials must not replace those on trial
        try:
            credentials = self.credentials()
        except LocalError:
            return None
        return None if credentials is None else credentials.grant

    def open_vault(
        self,
        *,
        master: bytes | None = None,
        saved: bool = True,
        meanwhile: Callable[[Store], object] | None = None,
        copying: bool = False,
        reading: bool = False,
    ) -> Vault:
        """Open the vault with `master`, a saved key (if `saved`) or the passphrase, in this order. One request.

        `meanwhile` runs while keys are derived from the passphrase, which keeps one core busy for a third of a
        second. A copy that follows can't be written to, unless `copying`. With `reading`, for a command that writes
        nothing it can't do without, what the vault can't give is read from the places that `--also` names. Raises
        NoVault, Locked, WrongPassphrase, Damaged, NewerFormat, LocalError or StoreError, and FollowingCopy if the
        command asked for more than to read (`require`).
        """
        from catalog.access.admin_key import AdminUnlock
        from catalog.access.numbers import note_number

        if reading:
            self.read_elsewhere()
        elif self.also_required and self.also is None:
            raise UsageError("this command uses one place of a vault: --also is for reading", "leave --also out")
        store = self.open_store()
        file = self.read_vault_file()
        if not copying:
            self._check_following(file)
        if master is None and saved:
            master = self.saved_keys.load(file.vault_id)
        if master is not None:
            from catalog.format.keys import Keys

            keys = file.verify(Keys(master, file.vault_id))
        else:
            keys = unlock(file, self.passphrases.existing(self.address), meanwhile and (lambda: meanwhile(store)))
        if self.also is None or not self.also.gave_file:  # vault.json of a copy has numbers of its own
            note_number(self.settings.where("state"), file, self.state_id(file))
            if file.copy is not None and file.is_following and not copying:
                from catalog.store.following import FollowingStore

                store = FollowingStore(store, file.copy.of)
        self.vault = vault = self.opened(store, keys, file, self._records(file.vault_id))
        vault.unlock_admin = AdminUnlock(self.saved_admin_keys, self.admin_passphrases, keys, self.address)
        vault.tell = self._waiting or vault.tell
        return vault

    def opened(
        self, store: Store, keys: Keys, file: VaultFile, records: MutableMapping[str, bytes] | None
    ) -> Vault:
        """An open vault, which knows its place, and notes damage there in the state of this machine. No request."""
        from catalog.vault import Vault

        also = self.also
        if also is None:
            vault = Vault(store, keys, file, records)
            vault.state_id = self.state_id(file)
            vault.on_damage = self.damaged_packs(vault.state_id).note
            return vault
        vault = also.opened(store, keys, file, records)
        vault.state_id = self.state_id_of(file.vault_id) if also.gave_file else self.state_id(file)
        damaged = self.damaged_packs(vault.state_id)
        vault.on_damage = lambda kind, pack: None if also.is_away else damaged.note(kind, pack)
        return vault

    def read_vault_file(self) -> VaultFile:
        """vault.json, parsed but not authenticated.

        Raises NoVault, also if it is that of another vault than the one known by this address, NewerFormat,
        Damaged or StoreError.
        """
        from catalog.vault_json import read_vault_file

        store = self.open_store()
        # The first request: a network that swallows packets is silent for as long as connecting may take.
        silence = threading.Timer(FIRST_SILENCE, self._say_waiting)
        silence.daemon = True
        silence.start()
        try:
            known = None if self.connecting is not None else self.known_id()
        except LocalError:
            known = None  # the list is not needed if --vault names the vault
        try:
            file = read_vault_file(store)
        except (StoreUnreachable, NoVault, Damaged) as e:
            if self.also is None:
                from catalog.access.also import with_advice

                raise with_advice(e, self, known) from e.__cause__
            file = self.also.file(e, known)
        finally:
            silence.cancel()
        if known not in (None, file.vault_id):
            raise NoVault(
                f"the vault at {self.address} is {file.vault_id.hex()[:8]}, and not {known.hex()[:8]}, which this "
                "machine knows by that address",
                "if it was replaced on purpose, run `rpdrive vault disconnect` first",
            )
        return file

    def say(self, text: str) -> None:
        """Tell the person a line on stderr, unless the output is for programs."""
        if self._waiting is not None:
            self._waiting(text)

    def _say_waiting(self) -> None:
        """Tell the person that the store does not answer, at most once a minute."""
        now = time.monotonic()
        if self._waiting is not None and now >= self._silent_until:
            self._silent_until = now + 60.0
            self._waiting(f"no answer yet from {self.address}; still trying")

    def state_id(self, file: VaultFile) -> str:
        """What names files about this place of the vault in the state folder. `file` is its vault.json."""
        return self.state_id_of(file.vault_id, following=file.is_following)

    def state_id_of(self, vault_id: bytes, *, following: bool = False) -> str:
        """The same, also where vault.json is lost."""
        from catalog.access.place import VaultPlaces

        try:
            known = [at for at, one in self.settings.known_vaults().items() if one == vault_id]
        except LocalError:
            known = []
        return VaultPlaces(self.settings.where("state"), vault_id).state_id(
            self.address, known, following=following
        )

    def damaged_packs(self, state_id: str) -> DamagedPacks:
        """The packs at a place of a vault that were found damaged on this machine."""
        from catalog.access.damage import DamagedPacks

        return DamagedPacks(self.settings.where("state"), state_id)

    def _records(self, vault_id: bytes) -> MutableMapping[str, bytes] | None:
        if self.is_local or self._records_factory is None:
            return None  # caching them on the same disk would gain nothing
        return self._records_factory(self, vault_id)

    # --- saved keys ---------------------------------------------------------------------------------------

    def save_key(self, vault: Vault) -> Path:
        """Save an open vault's key on this machine and remember the vault. Returns the file. Raises LocalError."""
        where = self.saved_keys.save(vault.id, vault.keys.master)
        self.remember(vault)
        return where

    def remember(self, vault: Vault) -> None:
        """Remember the vault's address, or that of a copy, which is a list of its own. Raises LocalError."""
        if vault.file.copy is None or not vault.file.is_following:
            self.settings.remember_vault(self.address, vault.id)
            return
        from catalog.access.copies import KnownCopies

        KnownCopies(self.settings).remember(self.address, vault.id, vault.file.copy.of)

    # --- connections --------------------------------------------------------------------------------------

    def connect(self, credentials: Credentials) -> Vault:
        """Open the vault with these credentials and, if it opens, remember them.

        Raises UsageError if they are for another vault, and as `open_vault`.
        """
        from catalog.access.credentials import Connections
        from catalog.vault_json import read_vault_file

        self.address, self.connecting = credentials.address, credentials
        credentials.grant.check(self.address)
        found = read_vault_file(self.open_store()).vault_id
        if found != credentials.vault_id:  # checked before asking for a passphrase
            raise UsageError(
                f"the credentials are for the vault {credentials.vault_id.hex()}, "
                f"but the vault at {self.address} is {found.hex()}",
                "ask the vault's administrator for new credentials",
            )
        vault = self.open_vault()
        Connections(self.settings).save(credentials)
        self.remember(vault)
        return vault

    def disconnect(self) -> bool:
        """Forget the vault's credentials, saved key and address. False if it was not known. Raises LocalError."""
        from catalog.access.disconnecting import disconnect

        vault_id = self.known_id()
        if vault_id is not None:
            disconnect(self.settings, self.address, vault_id)
        return vault_id is not None

    def delete_key(self) -> bool:
        """Delete the vault's saved key. False if there was none. Sends a request only if the vault is not known."""
        return self.saved_keys.delete(self._vault_id())

    def delete_admin_key(self) -> bool:
        """The same for the saved key of an admin."""
        return self.saved_admin_keys.delete(self._vault_id())

    def _vault_id(self) -> bytes:
        vault_id = self.known_id()
        if vault_id is None:
            from catalog.vault_json import read_vault_file

            vault_id = read_vault_file(self.open_store()).vault_id
        return vault_id

    def on_close(self, action: Callable[[], object]) -> None:
        """Have an action run when this session is closed."""
        self._closing.callback(action)

    def close(self) -> None:
        """Run what was given to `on_close`, and close the store."""
        self._closing.close()
        if self.also is not None:
            self.also.close()
        if self._stack is not None:
            self._stack.close()
