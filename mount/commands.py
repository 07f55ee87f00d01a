"""Commands about drives. They parse, call and print; imports that cost are inside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.access.session import Session
from catalog.screen.options import Json
from catalog.windows.machine import IS_WINDOWS

if TYPE_CHECKING:
    from mount.process.order import Order

app = typer.Typer(rich_markup_mode=None)

_PLACE = r"a letter (`R:`), `*` for the next free one, an empty folder, or \\rpdrive\NAME"
MountPoint = Annotated[Path, typer.Argument(metavar="MOUNTPOINT", help=_PLACE if IS_WINDOWS else "an empty folder")]


@app.command("mount")
def mount(
    ctx: typer.Context,
    mount_point: MountPoint,
    point: Annotated[
        str | None, typer.Option(metavar="POINT", help="one recovery point: an id, a time, or `latest`")
    ] = None,
    machine: Annotated[str | None, typer.Option(help="only this machine, by name or id")] = None,
    item: Annotated[str | None, typer.Option(help="only this item, by name or id")] = None,
    allow_other: Annotated[bool, typer.Option("--allow-other", help="let other users in, too")] = False,
    foreground: Annotated[bool, typer.Option("--foreground", "-f", help="stay until it is unmounted")] = False,
    driver: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            envvar="RPDRIVE_DRIVER",
            help="`kernel` (Linux only), `fuse` (by libfuse), `winfsp` (Windows only), or `auto`",
        ),
    ] = "auto",
    cache_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="limit of the cache on disk, as 10G; for a local vault: use one"),
    ] = None,
    read_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1.0, help="how long a read waits for the store before it fails")
    ] = 60.0,
    idle: Annotated[
        str | None, typer.Option(metavar="TIME", help="close it after so long without use, as 30m or 6h")
    ] = None,
    total: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="close it after so long in any case, as 24h or 2d")
    ] = None,
    at_login: Annotated[
        bool,
        typer.Option("--at-login", help="open it at every login of this user, by a unit of systemd or a task"),
    ] = False,
    service: Annotated[
        bool,
        typer.Option("--service", help="open it at every start of the machine; on Windows, the same as --at-login"),
    ] = False,
    disk: Annotated[
        bool, typer.Option("--disk", hidden=not IS_WINDOWS, help="a letter of a local disk, and not of the network")
    ] = False,
) -> None:
    """Open one recovery point, or all of them, as a read-only drive."""
    from catalog.screen.text import parse_duration
    from mount.drivers import choice
    from mount.place import posix as places
    from mount.place import windows as windows_places

    session: Session = ctx.obj
    choice.check_name(driver)
    size = None if cache_size is None else _cache_size(cache_size)
    idle_seconds = None if idle is None else parse_duration(idle)
    total_seconds = None if total is None else parse_duration(total)
    if at_login or service:
        options = {
            "--point": point, "--machine": machine, "--item": item, "--allow-other": allow_other,
            "--driver": None if driver == "auto" else driver, "--cache-size": cache_size,
            "--read-timeout": read_timeout, "--idle": idle, "--for": total, "--disk": disk,
        }  # fmt: skip
        return _install(session, mount_point, options, system=_of_system(at_login, service))
    choice.check_system()
    if IS_WINDOWS:
        place = windows_places.prepare(mount_point, session.own_folders())
    else:
        if allow_other:
            places.check_allow_other()
        place = places.prepare(mount_point, session.own_folders())

    def order() -> Order:
        from mount.process.order import Order

        vault = session.open_vault()
        # In the foreground the drive goes on with this very session, which counts for itself.
        traffic = session.meter.snapshot() if session.meter is not None and not foreground else None
        return Order(
            address=session.address, vault_file=Order.vault_text(vault), master=vault.keys.master,
            mount_point=bytes(place), point=point, machine=machine, item=item,
            allow_other=allow_other, driver=driver, disk=disk, cache_size=size, read_timeout=read_timeout,
            idle=idle_seconds, total=total_seconds,
            requests=traffic.requests if traffic else 0, received=traffic.received if traffic else 0,
        )  # fmt: skip

    if foreground:
        from mount.login.systemd import notify_ready
        from mount.process.service import serve

        def ready() -> None:
            print(_mounted(place, point), flush=True)
            notify_ready()

        serve(order(), session, ready)
        return
    from mount.process.background import BackgroundDrive

    drive = BackgroundDrive(session.settings, place)
    try:
        drive.mount(order())
    finally:
        drive.cancel()
    print(_mounted(place, point))


def _mounted(place: Path, point: str | None) -> str:
    import shlex

    from catalog.screen.text import safe_text

    quoted = _quoted_for_windows(place) if IS_WINDOWS else shlex.quote(str(place))
    what = "All recovery points are" if point is None else f"Recovery point {point} is"
    return safe_text(f"{what} open at {place}; close with: rpdrive unmount {quoted}")


def _quoted_for_windows(place: Path) -> str:
    return f'"{place}"' if " " in str(place) else str(place)


def _of_system(at_login: bool, service: bool) -> bool:
    """Which kind of unit is meant. UsageError."""
    from catalog.errors import UsageError

    if at_login and service:
        raise UsageError("--at-login and --service can't be used together", "say one of them")
    return service


def _install(session: Session, mount_point: Path, options: dict[str, Any], *, system: bool) -> None:
    """Write the unit, and let systemd know of it."""
    import shlex

    from catalog.errors import Locked
    from catalog.screen.text import safe_text
    from catalog.windows.machine import user_sid
    from mount.login import schtasks, systemd

    is_open, place = _place_for_later(session, mount_point)
    vault_id = session.settings.known_vaults().get(session.address)
    if vault_id is None or session.saved_keys.load(vault_id) is None:
        raise Locked(
            f"no key of {session.address} is saved here, and nobody is there to type a passphrase at a start",
            "run `rpdrive vault unlock --save` first",
        )
    arguments = [f"--vault={session.address}"]
    for name, value in options.items():
        if value is not None and value is not False:
            arguments.append(name if value is True else f"{name}={value}")
    if IS_WINDOWS:
        task = schtasks.task_for(place)
        schtasks.enable(task, schtasks.task_xml(place, arguments, sid=user_sid()), now=not is_open)
        print(safe_text(f"Made the task {task.name}: the drive will be open at every log-on"))
        return
    unit = systemd.unit_for(place, system=system)
    systemd.write(unit, systemd.unit_text(place, arguments, system=system, vault=session.folder))
    print(safe_text(f"Wrote {unit.path}"))
    if systemd.enable(unit, now=not is_open):
        print(f"The drive will be open at every {'start' if system else 'login'}")
    else:
        name = shlex.quote(unit.name)
        commands = [["daemon-reload"], ["enable", "--now", name]]
        print("Systemd doesn't answer here. Where it does, run:")
        for command in commands:
            print("    " + " ".join(unit.systemctl(*command)))
    if not session.is_local and session.credentials() is None:
        print("It doesn't get the credentials in this shell's environment: give it some by `rpdrive vault connect`")


def _place_for_later(session: Session, mount_point: Path) -> tuple[bool, Path]:
    """Whether a drive is open there now, and the place; if none is, whether it will do. MountFailed."""
    from mount.place import posix as places
    from mount.place import windows as windows_places
    from mount.process.registry import Registry

    if IS_WINDOWS:
        if str(mount_point) in ("*", "*:"):
            return False, windows_places.prepare(mount_point, ())
        place = windows_places.absolute(mount_point)
        if Registry(session.settings).drive_at(place) is not None:
            return True, place
        return False, windows_places.prepare(mount_point, session.own_folders())
    place = places.absolute(mount_point)
    is_open = places.file_system_at(place) == places.FILE_SYSTEM
    if not is_open:
        places.prepare(mount_point, session.own_folders())
    return is_open, place


def _cache_size(text: str) -> int:
    from catalog.errors import UsageError
    from catalog.screen.text import parse_size

    size = parse_size(text)
    if size < 1 << 20:
        raise UsageError(f"a cache of {text} is too small", "give it 1M or more")
    return size


@app.command("unmount")
def unmount(
    ctx: typer.Context,
    mount_point: MountPoint,
    lazy: Annotated[
        bool, typer.Option("--lazy", "--force", help="detach it at once, though files on it are open")
    ] = False,
    at_login: Annotated[
        bool, typer.Option("--at-login", help="remove the unit that opens it at login, too")
    ] = False,
    service: Annotated[
        bool, typer.Option("--service", help="remove the unit that opens it at the machine's start, too")
    ] = False,
) -> None:
    """Close a drive."""
    from mount.place import posix as places
    from mount.place import windows as windows_places
    from mount.process.registry import Registry, await_end

    session: Session = ctx.obj
    if (at_login or service) and _uninstall(session, mount_point, system=_of_system(at_login, service)):
        return
    registry = Registry(session.settings)
    if IS_WINDOWS:
        windows_places.unmount(registry, mount_point, lazy=lazy)
        return
    drive = registry.drive_at(places.absolute(mount_point))
    place = places.unmount(mount_point, lazy=lazy)
    if drive is not None and not lazy:
        await_end(drive)
    registry.remove(place)


def _uninstall(session: Session, mount_point: Path, *, system: bool) -> bool:
    """Remove the unit; whether nothing is left to unmount. MountFailed if there is none."""
    from catalog.errors import MountFailed
    from catalog.screen.text import safe_text
    from mount.login import schtasks, systemd
    from mount.place import posix as places
    from mount.place import windows as windows_places
    from mount.process.registry import Registry

    if IS_WINDOWS:
        place = windows_places.absolute(mount_point)
        task = schtasks.task_for(place)
        if not schtasks.remove(task):
            raise MountFailed(
                f"there is no task {task.name}", "leave out --at-login or --service to close the drive"
            )
        print(safe_text(f"Removed the task {task.name}"))
        return Registry(session.settings).drive_at(place) is None
    place = places.absolute(mount_point)
    unit = systemd.unit_for(place, system=system)
    if not systemd.remove(unit):
        raise MountFailed(f"there is no unit {unit.path}", "leave out --at-login or --service to close the drive")
    print(safe_text(f"Removed {unit.path}"))
    return places.file_system_at(place) != places.FILE_SYSTEM


@app.command("mounts")
def mounts(ctx: typer.Context, as_json: Json = False) -> None:
    """List the drives that are open, and what they have fetched and served."""
    from mount.process.registry import Registry
    from mount.process.rows import info_json, to_json
    from mount.process.status_socket import ask_drive

    session: Session = ctx.obj
    rows: list[dict[str, Any]] = []
    for drive in Registry(session.settings).drives():
        answer = ask_drive(drive)
        rows.append(info_json(drive) | (to_json(answer) if answer else {}) | {"answers": answer is not None})
    if as_json:
        import json

        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print("No drives are open")
        return
    from catalog.screen.text import duration_text, safe_text, size_text, table

    def closes(row: dict[str, Any]) -> str:
        left = [row[k] for k in ("idle_left", "for_left") if row.get(k) is not None]
        return f"in {duration_text(min(left))}" if left else "-"

    print(
        table(
            ("MOUNTPOINT", "POINT", "VAULT", "PROCESS>", "UPTIME>", "CLOSES>", "REQUESTS>", "FETCHED>", "SERVED>"),
            [
                [
                    safe_text(r["mount_point"]),
                    (r.get("point") or "all")[:8],
                    safe_text(r["vault"]),
                    str(r["pid"]),
                    duration_text(r["uptime"]) if r["answers"] else "no answer",
                    closes(r),
                    f"{r.get('store_requests', 0):,}",
                    size_text(r.get("bytes_fetched", 0)),
                    size_text(r.get("bytes_served", 0)),
                ]
                for r in rows
            ],
        )
    )
