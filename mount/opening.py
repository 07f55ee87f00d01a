"""Runs `rpdrive mount`: opens a drive, or has the system open it at every login or start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from catalog.access.session import Session
from catalog.errors import Locked, UsageError
from catalog.program import secret_environment
from catalog.screen.text import parse_duration, parse_size, safe_text
from mount.drivers import choice
from mount.place.base import Held
from mount.place.this import PLACES
from mount.process.background import BackgroundDrive
from mount.process.this import PROCESSES

if TYPE_CHECKING:
    from catalog.throttle.given import Given
    from catalog.vault import Vault
    from mount.process.order import Order

_LEAST_CACHE = 1 << 20  # bytes


class Request(NamedTuple):
    """The options of `rpdrive mount`; sizes and times are the text that the user wrote."""

    mount_point: Path
    point: str | None
    machine: str | None
    item: str | None
    allow_other: bool
    driver: str
    cache_size: str | None
    read_timeout: float
    idle: str | None
    total: str | None
    disk: bool
    limit: str | None = None
    limit_up: str | None = None
    limit_down: str | None = None

    @property
    def limits(self) -> Given:
        from catalog.throttle.given import Given  # loads msgspec: the drive's process should start before that

        return Given(self.limit, self.limit_up, self.limit_down)

    def check(self) -> None:
        """Raise UsageError if an option is malformed, or this system does not have the driver."""
        choice.check_name(self.driver)
        self.sizes()
        if (self.limit, self.limit_up, self.limit_down) != (None, None, None):
            self.limits.limits()

    def sizes(self) -> _Sizes:
        """The options that are sizes and times, parsed. Raises UsageError."""
        return _Sizes(
            None if self.cache_size is None else _cache_size(self.cache_size),
            None if self.idle is None else parse_duration(self.idle),
            None if self.total is None else parse_duration(self.total),
        )

    def arguments(self) -> list[str]:
        """The options as `rpdrive mount` takes them."""
        options = {
            "--point": self.point, "--machine": self.machine, "--item": self.item,
            "--allow-other": self.allow_other,
            "--driver": None if self.driver == choice.AUTO else self.driver, "--cache-size": self.cache_size,
            "--read-timeout": self.read_timeout, "--idle": self.idle, "--for": self.total, "--disk": self.disk,
            "--limit": self.limit, "--limit-up": self.limit_up, "--limit-down": self.limit_down,
        }  # fmt: skip
        given = {name: value for name, value in options.items() if value is not None and value is not False}
        return [name if value is True else f"{name}={value}" for name, value in given.items()]


class _Sizes(NamedTuple):
    """Bytes and seconds."""

    cache: int | None
    idle: float | None
    total: float | None


class Opened(NamedTuple):
    """A drive that is open."""

    place: Path
    point: str | None  # as the user named it
    notices: tuple[str, ...] = ()  # what the person should know of it

    def text(self) -> str:
        what = "All recovery points are" if self.point is None else f"Recovery point {self.point} is"
        said = f"{what} open at {self.place}; close with: rpdrive unmount {PLACES.quoted(self.place)}"
        return "\n".join(map(safe_text, (said, *self.notices)))


def open_in_background(
    session: Session,
    request: Request,
    vault: Vault | None = None,
    follow: Callable[[BackgroundDrive], object] | None = None,
) -> Opened:
    """Open a drive in a process of its own. Raises UsageError, MountFailed, LocalError, and as `serve`.

    `vault` is the session's if it is open already: nobody is asked for a passphrase. `follow` gets the drive's
    process once it is open.
    """
    place = _prepare(session, request)
    with closing(PLACES.hold(place)) as held:
        # Started before the passphrase prompt: it loads while the user types and the key is computed.
        drive = BackgroundDrive(session.settings, place, PLACES, PROCESSES)
        try:
            drive.mount(_order(session, request, place, held, vault))
        finally:
            drive.cancel()
    if follow is not None:
        follow(drive)
    return Opened(place, request.point, tuple(drive.notices))


def serve_in_foreground(session: Session, request: Request, opened: Callable[[Opened], None]) -> None:
    """Open a drive in this process, and return when it is closed. Raises as open_in_background.

    `opened` is called when the drive is open.
    """
    from mount.login.this import LOGIN
    from mount.process.service import serve

    place = _prepare(session, request)

    def ready(notices: list[str]) -> None:
        opened(Opened(place, request.point, tuple(notices)))
        LOGIN.report_ready()

    with closing(PLACES.hold(place)) as held:
        order = _order(session, request, place, held, counted=True)  # the session goes on with the drive
    serve(order, session, ready)


def open_by_itself(session: Session, request: Request, *, at_login: bool, service: bool) -> Iterator[str]:
    """Have the system open the drive at every login or start; yields a line for each step.

    Raises UsageError, Locked, MountFailed or LocalError.
    """
    from mount.login.base import Entry, of_system
    from mount.login.this import LOGIN

    request.check()
    system = of_system(at_login=at_login, service=service)
    place, is_open = _place_for_later(session, request.mount_point)
    vault_id = session.known_id()
    if vault_id is None or session.saved_keys.load(vault_id) is None:
        raise Locked(
            f"no key of {session.address} is saved here, and there is no passphrase prompt at login or start",
            "run `rpdrive vault unlock --save` first",
        )
    also = session.read_elsewhere()
    places = [f"--also={place.url}" for place in also.places] if also is not None else []
    arguments = [f"--vault={session.address}", *places, *request.arguments()]
    entry = Entry(place, arguments, system, session.folder)
    yield from map(safe_text, LOGIN.add(entry, now=not is_open))
    if not session.is_local and session.credentials() is None:
        yield "The drive will not see this shell's environment: store credentials with `rpdrive vault connect`"


def _prepare(session: Session, request: Request) -> Path:
    request.check()
    choice.check_system()
    PLACES.check(allow_other=request.allow_other)
    return PLACES.prepare(request.mount_point, session.own_folders())


def _order(
    session: Session,
    request: Request,
    place: Path,
    held: Held,
    vault: Vault | None = None,
    *,
    counted: bool = False,
) -> Order:
    """The order for the drive's process. `counted`: the drive runs in this session, whose meter counts on."""
    # Both load msgspec, as opening the vault does.
    from catalog.throttle.limiting import limit_traffic
    from mount.process.order import Order

    counted = counted or vault is not None  # what was spent before was not for this drive
    if vault is None:
        limit_traffic(session, request.limits, patient=False)
        vault = session.open_vault(reading=True)
    traffic = session.meter.snapshot() if session.meter is not None and not counted else None
    sizes = request.sizes()
    return Order(
        address=session.address, vault_file=Order.vault_text(vault), master=vault.keys.master,
        mount_point=bytes(place), folder=held.identity,
        point=request.point, machine=request.machine, item=request.item,
        allow_other=request.allow_other, driver=request.driver, disk=request.disk, cache_size=sizes.cache,
        read_timeout=request.read_timeout, idle=sizes.idle, total=sizes.total, secrets=secret_environment(),
        limits=request.limits,
        also=session.also.urls if session.also is not None else (),
        away=session.also.why_away if session.also is not None else "",
        requests=traffic.requests if traffic else 0, received=traffic.received if traffic else 0,
    )  # fmt: skip


def _place_for_later(session: Session, mount_point: Path) -> tuple[Path, bool]:
    """A place, and whether a drive is open there now; if none is, the place is free. Raises MountFailed."""
    from mount.process.control.this import CONTROL
    from mount.process.registry import Registry

    if not PLACES.is_next_free(mount_point):
        place = PLACES.absolute(mount_point)
        if CONTROL.is_open(Registry(session.settings, PROCESSES), place):
            return place, True
    return PLACES.prepare(mount_point, session.own_folders()), False


def _cache_size(text: str) -> int:
    size = parse_size(text)
    if size < _LEAST_CACHE:
        raise UsageError(f"a cache of {text} is too small", "use 1M or more")
    return size
