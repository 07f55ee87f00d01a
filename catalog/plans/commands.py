"""The command lines of `rpdrive plan …`; other modules here do the work."""

from __future__ import annotations

import typer

from catalog.access.session import Session
from catalog.errors import UsageError
from catalog.plans import options as o
from catalog.screen.options import Json, importing
from catalog.store.roles import Role

app = typer.Typer(rich_markup_mode=None)
plan_app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Set and show what is backed up and when, and pause or stop it.",
)
app.add_typer(plan_app, name="plan")


@plan_app.command("set")
def set_plan(
    ctx: typer.Context,
    paths: o.Paths = None,
    *,
    at: o.At = None,
    every: o.Every = None,
    on: o.On = None,
    every_weeks: o.EveryWeeks = None,
    start: o.Start = None,
    zone: o.Zone = None,
    exclude: o.Exclude = None,
    ignore_files: o.IgnoreFiles = None,
    exclude_caches: o.ExcludeCaches = None,
    ignore_case: o.IgnoreCase = None,
    one_file_system: o.OneFileSystem = None,
    cloud_files: o.CloudFiles = None,
    what: o.What = None,
    snapshot: o.Snapshot = None,
    catch_up: o.CatchUp = None,
    spread: o.Spread = None,
    grace: o.Grace = None,
    ac_power: o.AcPower = None,
    unmetered: o.Unmetered = None,
    load: o.Load = None,
    window: o.Windows = None,
    at_most: o.AtMost = None,
    limit: o.Limits = None,
    prune_every: o.Prune = None,
    check_1_every: o.Check1 = None,
    check_2_every: o.Check2 = None,
    check_3_every: o.Check3 = None,
    restore_test_every: o.RestoreTest = None,
    inherit: o.Inherit = None,
    file: o.File = None,
    replace: o.Replace = False,
    machine: o.Machine = None,
    item: o.Item = None,
    everywhere: o.Everywhere = False,
    as_json: Json = False,
) -> None:
    """Set what is backed up and when, and which upkeep runs by itself: of an item, a machine or everywhere.

    With PATH…, it is an item's, which is made if need be. Fields that are not given stay as they are; `off`
    switches one off, `inherit` takes it from the wider level.
    """
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    from catalog.plans.setting import Times, read_fields

    given: dict[str, object] = {
        "zone": zone, "exclude": exclude, "ignore_files": ignore_files, "exclude_caches": exclude_caches,
        "ignore_case": ignore_case, "one_file_system": one_file_system, "cloud_files": cloud_files,
        "what": what, "snapshot": snapshot,
        "catch_up": catch_up, "spread": spread, "grace": grace, "ac_power": ac_power, "unmetered": unmetered,
        "load": load, "windows": window, "at_most": at_most, "throttle": limit, "prune": prune_every,
        "check_1": check_1_every, "check_2": check_2_every, "check_3": check_3_every,
        "restore_test": restore_test_every,
    }  # fmt: skip
    times = Times(at, every, on, every_weeks, start)
    fields = read_fields(file, given, inherit or [], needed=not paths and not times.is_given and not replace)
    times.check()
    vault = session.open_vault(meanwhile=importing("catalog.plans.show"))
    from catalog.plans.show import set_plan as run

    run(
        session, vault, paths or [], machine, item, fields, times,
        everywhere=everywhere, anew=replace, as_json=as_json,
    )  # fmt: skip


@plan_app.command("show")
def show(
    ctx: typer.Context,
    machine: o.Machine = None,
    item: o.Item = None,
    everywhere: o.Everywhere = False,
    as_json: Json = False,
) -> None:
    """Show a plan, which level each value comes from, and the next backups."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.plans.show"))
    from catalog.plans.show import show_plan

    show_plan(session, vault, machine, item, everywhere=everywhere, as_json=as_json)


@plan_app.command("list")
def list_plans(
    ctx: typer.Context,
    machine: o.OnlyMachine = None,
    as_json: Json = False,
) -> None:
    """List what all machines back up by themselves, and when next."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.plans.show"))
    from catalog.plans.show import list_plans as run

    run(session, vault, machine, as_json=as_json)


@plan_app.command("export")
def export(
    ctx: typer.Context,
    machine: o.Machine = None,
    item: o.Item = None,
    everywhere: o.Everywhere = False,
    as_json: Json = False,
) -> None:
    """Print plans as TOML, for `rpdrive plan import`: all of them, or what one machine or item says itself."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.plans.transfer"))
    from catalog.plans.transfer import export_plans

    export_plans(session, vault, machine, item, everywhere=everywhere, as_json=as_json)


@plan_app.command("import")
def import_(
    ctx: typer.Context,
    file: o.ImportFile,
    dry_run: o.DryRun = False,
    as_json: Json = False,
) -> None:
    """Set the plans that a TOML file names to what it says. Others stay as they are."""
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault(meanwhile=importing("catalog.plans.transfer"))
    from catalog.plans.transfer import import_plans

    import_plans(session, vault, file, dry_run=dry_run, as_json=as_json)


@plan_app.command("refresh")
def refresh(ctx: typer.Context, as_json: Json = False) -> None:
    """Read this machine's plans from the vault now. Each job does so, too."""
    session: Session = ctx.obj
    vault = session.open_vault(meanwhile=importing("catalog.plans.show"))
    from catalog.plans.show import refresh_here

    refresh_here(session, vault, as_json=as_json)


@plan_app.command("now")
def now(ctx: typer.Context, item: o.OnlyItem = None, as_json: Json = False) -> None:
    """Back up what is planned for this machine at once, or one item of it, whatever the time and the conditions."""
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault(meanwhile=importing("catalog.plans.now"))
    from catalog.plans.now import back_up_now

    code = back_up_now(session, vault, item, as_json=as_json)
    if code:
        raise typer.Exit(code)


@plan_app.command("pause")
def pause(
    ctx: typer.Context,
    until: o.Until = None,
    reason: o.Reason = "",
    machine: o.Machine = None,
    item: o.Item = None,
    everywhere: o.Everywhere = False,
    as_json: Json = False,
) -> None:
    """Pause what runs by itself. Recovery points do not age meanwhile; `rpdrive backup` works as before."""
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    from catalog.plans.pausing import Scope, until_of
    from catalog.plans.pausing import pause as run

    end = until_of(until)
    vault = session.open_vault()
    run(session, vault, Scope(machine, item, everywhere), end, reason, as_json=as_json)


@plan_app.command("resume")
def resume(
    ctx: typer.Context,
    machine: o.Machine = None,
    item: o.Item = None,
    everywhere: o.Everywhere = False,
    as_json: Json = False,
) -> None:
    """End a pause, or start stopped protection again; show which recovery points would then go by policy."""
    session: Session = ctx.obj
    session.require(Role.BACKUP)
    vault = session.open_vault(meanwhile=importing("catalog.plans.pausing"))
    from catalog.plans.pausing import Scope
    from catalog.plans.pausing import resume as run

    run(session, vault, Scope(machine, item, everywhere), as_json=as_json)


@plan_app.command("stop")
def stop(
    ctx: typer.Context,
    keep: o.Keep = None,
    reason: o.Reason = "",
    yes: o.Yes = False,
    machine: o.Machine = None,
    item: o.Item = None,
    everywhere: o.Everywhere = False,
    as_json: Json = False,
) -> None:
    """Stop the protection of an item or a machine.

    With --keep-data, its recovery points stay for ever. With --delete-data, all of them are forgotten: for 14 days
    (or as the vault says) `rpdrive undelete` can bring them back.
    """
    if keep is None:
        raise UsageError("nothing says what becomes of the recovery points", "give --keep-data or --delete-data")
    session: Session = ctx.obj
    session.require(Role.BACKUP if keep else Role.MAINTAIN)
    from catalog.plans.pausing import Scope, confirm_deletion
    from catalog.plans.pausing import stop as run

    if not keep and not yes:
        confirm_deletion()
    vault = session.open_vault(meanwhile=importing("catalog.plans.pausing"))
    run(session, vault, Scope(machine, item, everywhere), keep=keep, reason=reason, as_json=as_json)


@app.command("protect")
def protect(
    ctx: typer.Context,
    paths: o.ProtectPaths = None,
    *,
    volume: o.ProtectVolume = None,
    system_state: o.ProtectSystem = False,
    image: o.ProtectImage = None,
    snapshot: o.Snapshot = None,
    item: o.ItemTitle = None,
    at: o.DailyAt = None,
    exclude: o.Exclude = None,
    zone: o.Zone = None,
    no_timer: o.NoTimer = False,
    no_backup: o.NoBackup = False,
    list_them: o.ListThem = False,
    as_json: Json = False,
) -> None:
    """Protect files and folders, a volume, the system state or an image from now on, with good defaults.

    It makes the plan, a policy, the timer, and the first backup.
    Daily at 21:00, kept for 30 days, 12 weeks, 12 months and 3 years, unless plans and policies say otherwise.
    """
    session: Session = ctx.obj
    if list_them:
        if paths or volume or image or system_state:
            raise UsageError("--list changes nothing", "give it without paths")
        vault = session.open_vault(meanwhile=importing("catalog.plans.show"))
        from catalog.plans.show import list_plans as run_list

        run_list(session, vault, None, as_json=as_json)
        return
    session.require(Role.BACKUP)
    from catalog.plans.fields import checked, value_of
    from catalog.plans.kinds import one_kind

    kind, given_paths = one_kind(paths or [], volume, image, system_state=system_state)
    given = {"zone": zone, "exclude": exclude or None, "snapshot": snapshot}
    checked({name: value_of(name, value) for name, value in given.items() if value is not None})
    vault = session.open_vault(meanwhile=importing("catalog.plans.protecting"))
    from catalog.plans.protecting import Wanted
    from catalog.plans.protecting import protect as run

    wanted = Wanted(
        given_paths, item, at, exclude or [], zone, not no_timer, not no_backup, kind=kind, snapshot=snapshot
    )
    code = run(session, vault, wanted, as_json=as_json)
    if code:
        raise typer.Exit(code)
