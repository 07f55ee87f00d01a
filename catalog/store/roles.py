"""What a store may be asked for, by whom: roles, and the store that keeps to one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from catalog.errors import AccessDenied
from catalog.store.base import ObjectInfo, Store
from catalog.store.wrapper import Kind, Request, StoreWrapper, T


class Role(StrEnum):
    """Each may do what those before it may."""

    RESTORE = "restore"
    BACKUP = "backup"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        roles = list(Role)
        return roles.index(self) >= roles.index(other)


_NEEDS: dict[Kind, Role] = {"create": Role.BACKUP, "replace": Role.ADMIN, "delete": Role.ADMIN}
_DOES = {"create": "add to it", "replace": "change it", "delete": "delete from it"}
RENEW = "ask whoever looks after the vault for new credentials, then run `rpdrive vault connect FILE`"


class Grant(NamedTuple):
    """What vault credentials give: a role until `expires` (ns, UTC); a token, and where, for Azure."""

    role: Role
    expires: int
    token: str | None = None
    endpoint: str | None = None

    def check(self, url: str) -> None:
        """AccessDenied if it has expired, by this machine's clock."""
        if time.time_ns() >= self.expires:
            when = datetime.fromtimestamp(self.expires // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            raise AccessDenied(f"the credentials for {url} expired at {when}", RENEW)


class RoleStore(StoreWrapper):
    """Keeps to a grant: what its role may not do, or may no more, is AccessDenied before the store is asked.

    `renewed` looks for a newer grant and returns None if there is none. It is called when the grant has expired
    or the store refuses; the store then gets the new token and the request once more, so an open drive goes on.
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
        last = ""
        while True:
            grant = self.grant
            try:
                self._check(Request("list", prefix), grant)
                for info in self.inner.list(prefix):
                    if info.name > last:  # after a renewal the listing begins anew: names come in order
                        last = info.name
                        yield info
                return
            except AccessDenied:
                if not self._renew(grant):
                    raise

    def _check(self, request: Request, grant: Grant) -> None:
        needed = _NEEDS.get(request.kind, Role.RESTORE)
        if not grant.role.includes(needed):
            raise AccessDenied(
                f"credentials of the role {grant.role} open the vault {self.url}: they can't {_DOES[request.kind]}",
                f"this needs the role {needed} (docs/credentials.md)",
            )
        grant.check(self.url)

    def _renew(self, failed: Grant) -> bool:
        """Whether there is another grant than the one that failed."""
        with self._lock:
            if self.grant != failed:
                return True  # another thread has been here
            newer = self._renewed()
            if newer is None or newer == failed:
                return False
            if newer.token is not None:
                self.inner.renew(newer.token)
            self.grant = newer
            return True
