"""Gets the private key of an admin, which signs records of upkeep."""

from __future__ import annotations

from catalog.access.passphrases import Passphrases
from catalog.access.secrets import SavedAdminKeys
from catalog.errors import Locked, WrongPassphrase
from catalog.format.admins import Admin, open_admin, public_key
from catalog.format.keys import Keys

_LOST = "try again; if it is lost, `rpdrive vault admin passphrase --forgotten` makes a new key (docs/protect.md)"
_CHANGED = "if somebody changed it on purpose, run `rpdrive vault admin lock`; if not, see docs/protect.md"


class AdminUnlock:
    """Gets private keys of admins: saved ones, or with the passphrase, asked for once, or with the vault's key."""

    def __init__(self, saved: SavedAdminKeys | None, passphrases: Passphrases, keys: Keys, address: str) -> None:
        self._saved, self._passphrases, self._keys, self._address = saved, passphrases, keys, address
        self._passphrase: str | None = None
        self._opened: dict[bytes, bytes] = {}

    def __call__(self, admin: Admin) -> bytes:
        """The private key, 32 bytes. Raises Locked, WrongPassphrase, Damaged or LocalError."""
        if admin.id not in self._opened:
            self._opened[admin.id] = self._open(admin)
        return self._opened[admin.id]

    def _open(self, admin: Admin) -> bytes:
        saved = None if self._saved is None else self._saved.load(self._keys.vault_id)
        if saved is not None and public_key(saved) == admin.public:
            return saved
        if admin.slot is None:
            if saved is not None:  # whoever put another key into vault.json must not be signed for by a timer
                raise Locked("the vault's admin key is no longer the one that is saved on this machine", _CHANGED)
            return open_admin(self._keys, admin)
        if self._passphrase is None:
            self._passphrase = self._passphrases.existing(self._address)
        try:
            return open_admin(self._keys, admin, self._passphrase)
        except WrongPassphrase as e:
            raise WrongPassphrase("this is not the passphrase of the vault's admin key", _LOST) from e
