"""What runs on a worker: one piece at a time, on a vault that is opened once for each run of a command.

The worker opens the vault by what it has itself: a saved key, or a file with the passphrase that the variable
RPDRIVE_PASSPHRASE_FILE names; a worker of `local:N` got the key through a pipe. Nothing that it answers has a key,
and no exception leaves it.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from catalog.access.passphrases import GivenPassphrases
from catalog.access.session import Session
from catalog.errors import FleetFailed, Locked, RpdriveError
from catalog.format.admins import Admin
from catalog.interruption import was_stopped
from catalog.program import ADMIN_PASSPHRASE, VAULT
from catalog.screen.redacted import redacted
from catalog.signing import signing_key
from catalog.store.metered import Traffic
from catalog.store.roles import Role
from catalog.vault import Vault
from mount.fleet.here import Here, Wanted
from mount.fleet.kinds import function_of
from mount.fleet.pieces import MOST_RESULT, Failure, Note, Order, Reply, decode_order, own_version

PASSPHRASE_FILE = "RPDRIVE_PASSPHRASE_FILE"
ADMIN_PASSPHRASE_FILE = "RPDRIVE_ADMIN_PASSPHRASE_FILE"
_LONGEST = 4000  # characters of a message


class Keys(NamedTuple):
    """What a worker of `local:N` was given: the master key, and the key that signs, if the command has it."""

    master: bytes
    admin: bytes = b""  # the admin's id
    private: bytes = b""


class _Opened(NamedTuple):
    run: str
    session: Session
    vault: Vault
    kept: dict[str, object]


class Worker:
    """The vault of the run that this process works for. `keys` were given to it; None: it has its own."""

    def __init__(self, keys: Keys | None = None) -> None:
        self._keys = keys
        self._opened: _Opened | None = None
        self._lock = threading.Lock()

    def answer(self, data: bytes, worker: str, is_wanted: Callable[[], bool]) -> bytes:
        """Do what an order says. Raises nothing."""
        began = time.monotonic()
        order_id = ""
        with self._lock:
            before = Traffic()
            result, failure, again = b"", None, False
            try:
                order = decode_order(data)
                order_id = order.id
                opened = self._open(order)
                before = _traffic(opened.session)
                if order.kind:
                    here = Here(opened.session, opened.vault, Wanted(is_wanted), opened.kept)
                    result = function_of(order.kind)(here, order.body)
                    if len(result) > MOST_RESULT:
                        raise FleetFailed(f"the result has {len(result):,} bytes", "see docs/fleet.md")
            except BaseException as e:  # noqa: BLE001 - an exception would be pickled, and logged
                failure, again = _failure(e), not isinstance(e, ValueError)
            traffic, notes = before, tuple[Note, ...]()
            if self._opened is not None:
                traffic = _traffic(self._opened.session)
                with suppress(Exception):
                    rows = self._opened.vault.passed_over.report()[:100]
                    notes = tuple(Note(row.name, _failure(row.error), row.lost) for row in rows)
            return msgspec.msgpack.encode(
                Reply(
                    id=order_id, worker=worker, host=platform.node(), seconds=time.monotonic() - began,
                    result=None if failure is not None else result, failure=failure, again=again,
                    requests=traffic.requests - before.requests, received=traffic.received - before.received,
                    sent=traffic.sent - before.sent, notes=notes,
                )
            )  # fmt: skip

    def _open(self, order: Order) -> _Opened:
        """The vault for this run. Raises RpdriveError, also if it is another one than the command's."""
        if order.version != own_version():
            raise FleetFailed(
                f"rpdrive {own_version()} is installed there, and not {order.version}",
                "install the same version on all workers",
            )
        if self._opened is None or self._opened.run != order.run:
            self.close()
            session = _session(order)
            master = None if self._keys is None else self._keys.master
            try:
                vault = session.open_vault(master=master)
            except Locked as e:
                raise Locked(
                    f"the vault {session.address} is locked there",
                    f"run `rpdrive vault unlock --save` there, or set {PASSPHRASE_FILE} for the worker",
                ) from e
            self._opened = _Opened(order.run, session, vault, {})
            if self._keys is not None and self._keys.private:
                _sign_with(vault, self._keys)
        session, vault = self._opened.session, self._opened.vault
        if vault.id != order.vault:
            self.close()
            raise FleetFailed(
                f"{session.address} is the vault {vault.id.hex()[:8]} there, and not {order.vault.hex()[:8]}",
                f"set {VAULT} for the worker to the address of the right one",
            )
        if order.needs:
            session.require(Role(order.needs))
        if order.signs:
            signing_key(vault)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.session.close()
            self._opened = None


def _session(order: Order) -> Session:
    """A session that asks nobody."""
    return Session(
        vault=os.environ.get(VAULT) or order.address,
        passphrases=_passphrases(PASSPHRASE_FILE),
        admin_passphrases=_passphrases(ADMIN_PASSPHRASE_FILE, admin=True),
        records_factory=_records,
    )


def _passphrases(variable: str, *, admin: bool = False) -> GivenPassphrases:
    file = Path(os.environ[variable]) if os.environ.get(variable) else None
    if admin:
        return GivenPassphrases(file, ADMIN_PASSPHRASE, ask=lambda prompt: None, admin=True)
    return GivenPassphrases(file, ask=lambda prompt: None)


def _records(session: Session, vault_id: bytes) -> MutableMapping[str, bytes] | None:
    from cache.disk import DiskCache

    try:
        disk = DiskCache(session.settings.cache)
    except RpdriveError:
        return None
    session.on_close(disk.close)
    return disk.records(vault_id)


def _sign_with(vault: Vault, keys: Keys) -> None:
    own = vault.unlock_admin
    vault.unlock_admin = lambda admin: keys.private if _is(admin, keys) else own(admin)


def _is(admin: Admin, keys: Keys) -> bool:
    return admin.id == keys.admin


def _traffic(session: Session) -> Traffic:
    return session.meter.snapshot() if session.meter is not None else Traffic()


def _failure(error: BaseException) -> Failure:
    """An error as it is told: one line, without tokens."""
    if was_stopped(error):
        return Failure("FleetFailed", "it was stopped there")
    text = " ".join(redacted(str(error)).split())[:_LONGEST]
    if isinstance(error, RpdriveError):
        return Failure(error.kind, text, " ".join(redacted(error.advice).split())[:_LONGEST])
    return Failure("RpdriveError", f"unexpected {type(error).__name__}: {text}", "this is a bug: please report it")


WORKER = Worker()  # this process's; `local:N` puts one with keys in its place


def answer(order: bytes) -> bytes:
    """What Dask runs on a worker."""
    from mount.fleet.dask_worker import watch_task

    worker, is_wanted = watch_task()
    return WORKER.answer(order, worker, is_wanted)
