"""The command line of `rpdrive backup`; foreground.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.access.session import Session
from catalog.errors import UsageError
from catalog.screen.options import Limit, LimitDown, LimitUp
from catalog.store.roles import Role

if TYPE_CHECKING:
    from backup.request import Request

app = typer.Typer(rich_markup_mode=None)


@app.command("backup")
def backup(
    ctx: typer.Context,
    # Typer would ask for `readable`; but what can't be read is a problem of the backup, not of the command line.
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH…", readable=False, help="files and folders to save")
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="DEVICE", readable=False, help="save an image of a disk or partition, not files"),
    ] = None,
    image_of: Annotated[
        Path | None, typer.Option(metavar="MOUNT", readable=False, help="the same, of what is mounted there")
    ] = None,
    crash_like: Annotated[
        bool, typer.Option("--crash-like", help="take an image while it is in use, if no snapshot can be made")
    ] = False,
    keep_unreadable: Annotated[
        bool, typer.Option("--keep-unreadable", help="go on where the device of an image can't read")
    ] = False,
    freeze: Annotated[
        int,
        typer.Option(metavar="SECONDS", min=0, max=600, help="of an image: freeze a mount for so long at most"),
    ] = 0,
    keep_snapshot: Annotated[
        bool,
        typer.Option("--keep-snapshot", help="of an image: keep a thin snapshot, to read only changes then"),
    ] = False,
    volume: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", readable=False, help="save one file system, all of it, e.g. /srv or D:"),
    ] = None,
    item: Annotated[
        str | None, typer.Option(metavar="NAME", help="name of the item (default: made from the paths)")
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="name for this machine at its first backup, or the machine to take over"),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="leave out paths that match, as in .gitignore; can be repeated"),
    ] = None,
    exclude_file: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", readable=False, help="read such patterns from a file; can be repeated"),
    ] = None,
    ignore_files: Annotated[
        str, typer.Option(metavar="NAME", help="read more from files of this name in the folders that are saved")
    ] = "",
    exclude_caches: Annotated[
        bool, typer.Option("--exclude-caches", help="leave out what is in folders with a CACHEDIR.TAG")
    ] = False,
    ignore_case: Annotated[
        bool | None,
        typer.Option("--ignore-case/--match-case", help="case in patterns (default: ignored on Windows and macOS)"),
    ] = None,
    why: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="say whether PATH would be saved, and which rule decides; store nothing"),
    ] = None,
    one_file_system: Annotated[
        bool, typer.Option("--one-file-system", "-x", help="stay within the file systems of the paths")
    ] = False,
    snapshot: Annotated[
        str,
        typer.Option(metavar="WHEN", help="from snapshots: auto, always or never (default for root: auto)"),
    ] = "",
    snapshot_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="room for a snapshot of LVM, e.g. 10% or 20G (default: 10%)")
    ] = None,
    snapshot_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="time limit for making snapshots, e.g. 2m (default: 2m)")
    ] = None,
    snapshot_exclude: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="MOUNT", readable=False, help="read this mount or subvolume without a snapshot; can be repeated"
        ),
    ] = None,
    system_state: Annotated[
        bool, typer.Option("--system-state", help="save what this machine is made of, instead of paths; needs root")
    ] = False,
    luks_headers: Annotated[
        bool, typer.Option("--with-luks-headers", help="with --system-state: headers of LUKS, which are secrets")
    ] = False,
    verify_packages: Annotated[
        bool,
        typer.Option("--verify-packages", help="with --system-state: read all files of packages, list changed"),
    ] = False,
    staging: Annotated[
        str, typer.Option(metavar="X:", help="with --system-state on Windows: the drive that wbadmin writes to")
    ] = "",
    sfc: Annotated[
        bool, typer.Option("--sfc", help="with --system-state on Windows: have `sfc` check Windows's files first")
    ] = False,
    snapshot_provider: Annotated[
        str, typer.Option(metavar="vss|wmi", help="on Windows: what makes shadow copies (default: vss)")
    ] = "",
    no_system_exclusions: Annotated[
        bool,
        typer.Option(
            "--no-system-exclusions", help="on Windows: also save what the registry tells backups to leave"
        ),
    ] = False,
    cloud_files: Annotated[
        bool, typer.Option("--cloud-files", help="on Windows: download and save files that are only in a cloud")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="store nothing, print what is new or changed")
    ] = False,
    cache_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="disk cache limit, e.g. 500M or 20G")
    ] = None,
    limit: Limit = None,
    limit_up: LimitUp = None,
    limit_down: LimitDown = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Save files and folders, a volume, an image or the system state, as a new recovery point."""
    session: Session = ctx.obj
    if volume:
        from backup.wanted import check_volume

        check_volume(volume, paths or [], image, image_of, system_state=system_state)
    if system_state:
        item = item or "system state"
    elif not paths and not volume and image is None and image_of is None:
        more = "name files or folders, or use --volume, --system-state or --image"
        raise UsageError("nothing to save was named", more)
    elif luks_headers or verify_packages or staging or sfc:
        options = (
            (luks_headers, "--with-luks-headers"),
            (verify_packages, "--verify-packages"),
            (staging, "--staging"),
        )
        option = next((name for given, name in options if given), "--sfc")
        raise UsageError(f"{option} is for --system-state", "leave it out, or save the system state")
    elif (crash_like or keep_unreadable or keep_snapshot or freeze) and image is None and image_of is None:
        raise UsageError("--crash-like, --keep-unreadable and --keep-snapshot are for --image", "leave them out")

    def request() -> Request:
        from backup.request import Request
        from backup.sources.image_choice import image_item, image_paths
        from catalog.format.records import ItemKind

        what = image_paths(image, image_of, paths or [], system_state=system_state)
        kind = ItemKind.IMAGE if what else ItemKind.SYSTEM if system_state else ItemKind.FILES
        kind = ItemKind.VOLUME if volume else kind
        return Request(
            what or volume or paths or [],
            item=item or (image_item(what[0]) if what else None),
            crash_like=crash_like,
            keep_unreadable=keep_unreadable,
            keep_snapshot=keep_snapshot,
            freeze=freeze,
            machine=machine,
            excludes=exclude or [],
            exclude_files=exclude_file or [],
            ignore_files=ignore_files,
            exclude_caches=exclude_caches,
            ignore_case=ignore_case,
            one_file_system=one_file_system or bool(volume),
            fetch=cloud_files,
            cache_size=cache_size,
            dry=dry_run,
            snapshot=snapshot,
            snapshot_size=snapshot_size,
            snapshot_timeout=snapshot_timeout,
            snapshot_excludes=snapshot_exclude or [],
            kind=kind,
            luks_headers=luks_headers,
            verify_packages=verify_packages,
            staging=staging,
            sfc=sfc,
            snapshot_provider=snapshot_provider,
            system_exclusions=not no_system_exclusions,
        )

    if why:
        from backup.why import explain

        explain(session, request(), why, as_json=as_json)
        return
    if not dry_run:
        session.require(Role.BACKUP)
    from catalog.throttle.given import Given
    from catalog.throttle.limiting import limit_traffic

    limit_traffic(session, Given(limit, limit_up, limit_down), item)
    vault = session.open_vault(meanwhile=_load)
    from backup.foreground import back_up

    code = back_up(session, vault, request(), as_json=as_json)
    if code:
        raise typer.Exit(code)


def _load(_store: object) -> None:
    """Import the body while a passphrase is turned into keys: 0.1 s next to 0.3 s on another processor."""
    import backup.foreground  # noqa: F401


@app.command("run-due", hidden=True)
def run_due(ctx: typer.Context) -> None:
    """Run what is due by the plans of this machine, one job after the other. `rpdrive tick` starts this."""
    from backup.scheduled import run_due

    run_due(ctx.obj)
