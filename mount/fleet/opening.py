"""Opens a fleet for a command: `local:N`, or the workers of a scheduler of Dask `distributed`."""

from __future__ import annotations

import uuid
from importlib.util import find_spec

from catalog.access.session import Session
from catalog.errors import FleetFailed, UsageError
from catalog.screen.stderr import warn
from catalog.signing import signing_key
from catalog.vault import Vault
from mount.fleet.engine import Fleet, Pool
from mount.fleet.pieces import Order, Piece, encode_order, own_version

MOST_LOCAL = 256  # processes
_FORMS = "e.g. --on local:4, or --on dask://scheduler.example:8786"


def check_on(on: str) -> tuple[int, str]:
    """The number of processes and "", or 0 and the address of a scheduler.

    Raises UsageError if `on` is neither, or if Dask is missing.
    """
    kind, _, rest = on.partition(":")
    count, address = 0, ""
    if kind == "local" and rest.isascii() and rest.isdecimal() and 1 <= int(rest) <= MOST_LOCAL:
        count = int(rest)
    elif kind == "dask" and rest.startswith("//") and len(rest) > 2:
        address = rest[2:].rstrip("/")
    else:
        raise UsageError(f"--on {on} is no fleet", _FORMS)
    if find_spec("distributed") is None:
        raise UsageError(
            "a fleet needs Dask, which is not installed",
            "install `rpdrive[fleet]` here and on all workers, e.g. `uv tool install 'rpdrive[fleet]'`",
        )
    return count, address


def _load_dask() -> None:
    """Import Dask, which reads its configuration then. Raises UsageError if that is malformed."""
    try:
        import distributed  # noqa: F401
    except ValueError as e:
        text = " ".join(str(e).split())
        raise UsageError(f"Dask's configuration can't be read: {text}", "correct that file (docs/fleet.md)") from e


def open_fleet(session: Session, vault: Vault, on: str, *, needs: str = "", signs: bool = False) -> Fleet:
    """The fleet `on` which the pieces of a command are run. To be closed.

    `needs` is the role that workers' credentials must have, `signs` whether pieces sign records. Raises UsageError,
    FleetFailed, LocalError, and what `signing_key` does.
    """
    count, address = check_on(on)
    _load_dask()
    admin = signing_key(vault) if signs else None  # made here, if the vault has none yet
    run = uuid.uuid4().hex

    def order_of(piece: Piece | None) -> bytes:
        kind, piece_id, body = ("", "", b"") if piece is None else piece[:3]
        try:
            return encode_order(
                Order(own_version(), run, vault.id, session.address, needs, signs, kind, piece_id, body)
            )
        except ValueError as e:
            raise FleetFailed(f"{piece.label if piece else ''}: {e}, which is too much") from e

    pool: Pool
    if address:
        from mount.fleet.dask_pool import join

        pool = join(address)
    else:
        from mount.fleet.local import LocalPool
        from mount.fleet.worker import Keys

        keys = Keys(vault.keys.master, *((admin[0].id, admin[1]) if admin is not None else ()))
        pool = LocalPool(count, keys, session.settings)
    return Fleet(pool, order_of, warn)
