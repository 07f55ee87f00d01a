"""Roles, and the store that refuses requests outside one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from catalog.errors import AccessDenied
from catalog.store.base import ObjectInfo, Store
from catalog.store.protection import Lock
from catalog.store.wrapper import Kind, Request, StoreWrapper, T


class Role(StrEnum):
    """The rights of credentials. Each role includes the ones before it.

    Only an admin may overwrite an object; a maintainer may add and delete some.
    """

    RESTORE = "restore"
    BACKUP = "backup"
    MAINTAIN = "maintain"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        roles = list(Role)
        return roles.index(self) >= roles.index(other)


_NEEDS: dict[Kind, Role] = {
    "create": Role.BACKUP,
    "compose": Role.MAINTAIN,
    "replace": Role.ADMIN,
    "delete": Role.MAINTAIN,
    "extend": Role.MAINTAIN,
}
_DOES = {
    "create": "add objects",
    "compose": "put objects together",
    "replace": "change objects",
    "delete": "delete objects",
    "extend": "lock objects",
}
_RENEW = "ask the vault's administrator for new credentials, then run `rpdrive vault connect FILE`"


class Grant(NamedTuple):
    """The rights of vault credentials: a role until `expires` (ns since the epoch, UTC).

    `token` is the access token, None for a store without tokens; `endpoint` is the URL where it is valid, None if
    the vault's address says so.
    """

    role: Role
    expires: int
    token: str | None = None
    endpoint: str | None = None

    def check(self, url: str) -> None:
        """Raise AccessDenied if the grant has expired by this machine's clock."""
        if time.time_ns() >= self.expires:
            when = datetime.fromtimestamp(self.expires // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            raise AccessDenied(f"the credentials for {url} expired at {when}", _RENEW)


class RoleStore(StoreWrapper):
    """Limits a store to a grant: a request outside its role, or after it expired, raises AccessDenied unsent.

    `renewed` looks for a newer grant and returns None if there is none. It is called when the grant has expired
    or the store refuses; the store then gets the new token and the request once more, so an open drive goes on.
    A grant for another endpoint is none for this store.
    """

    def __init__(self, inner: Store, grant: Grant, renewed: Callable[[], Grant | None]) -> None:
        super().__init__(inner)
        self.grant = grant
        self._renewed = renewed
        self._lock = threading.Lock()

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        grant = self.grant
        try:
            self._check(request, grant)
            return call()
        except AccessDenied:
            if not self._renew(grant):
                raise
        self._check(request, self.grant)
        return call()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._renewing(prefix, self.inner.list, lambda info: info.name)

    def folders(self, prefix: str) -> Iterator[str]:
        return self._renewing(prefix, self.inner.folders, lambda name: name + "/")

    def locks(self, prefix: str) -> Iterator[Lock]:
        return self._renewing(prefix, self.inner.locks, lambda lock: lock.name)

    def _renewing(self, prefix: str, listing: Callable[[str], Iterator[T]], key: Callable[[T], str]) -> Iterator[T]:
        last = ""
        while True:
            grant = self.grant
            try:
                self._check(Request("list", prefix), grant)
                for row in listing(prefix):
                    if key(row) > last:  # after a renewal the listing starts again; names come in order
                        last = key(row)
                        yield row
                return
            except AccessDenied:
                if not self._renew(grant):
                    raise

    def _check(self, request: Request, grant: Grant) -> None:
        needed = _NEEDS.get(request.kind, Role.RESTORE)
        if not grant.role.includes(needed):
            raise AccessDenied(
                f"credentials with the role {grant.role} can't {_DOES[request.kind]} in the vault {self.url}",
                f"use credentials with the role {needed} (docs/credentials.md)",
            )
        grant.check(self.url)

    def _renew(self, failed: Grant) -> bool:
        """Whether there is a grant other than the one that failed."""
        with self._lock:
            if self.grant != failed:
                return True  # another thread has renewed it
            newer = self._renewed()
            if newer is None or newer == failed or newer.endpoint != failed.endpoint:
                return False  # this store talks to its endpoint: a token for another one must not go there
            if newer.token is not None:
                self.inner.renew(newer.token)
            self.grant = newer
            return True
