"""The command `rpdrive`: combines the packages' commands and maps errors to exit codes.

Each `commands.py` of the packages has an `app` (a Typer) with its commands. It is imported when one of them runs or
all of them are listed, and imports little itself: a command imports its body when it runs.
"""

from __future__ import annotations

import codecs
import copy
import gc
import importlib.util
import io
import os
import re
import signal
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

# A command makes many long-lived objects and no cycles, most of them by its imports: the defaults cost it 5%.
gc.set_threshold(50_000, 20, 50)

import typer  # noqa: E402
from typer.core import TyperGroup  # noqa: E402


def _check_packages() -> None:
    """Exit if Python finds a package of another program in place of ours: their names are common words."""
    home = Path(__file__).resolve().parent
    for name in ("catalog", "cache", "mount", "backup"):
        spec = importlib.util.find_spec(name)
        where = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if where != home / name:
            found = f"in {where}" if where else "nowhere"
            raise SystemExit(
                f"rpdrive: Python finds the package `{name}` {found} and not in {home}; "
                "install rpdrive into an environment of its own (`uv tool install` or `pipx install`)"
            )


_check_packages()

from catalog.access.passphrases import GivenPassphrases  # noqa: E402
from catalog.access.session import Session  # noqa: E402
from catalog.errors import LocalError, RpdriveError, UsageError  # noqa: E402
from catalog.interruption import check, is_cause, listening  # noqa: E402
from catalog.program import ADMIN_PASSPHRASE, later  # noqa: E402
from catalog.screen.redacted import log_to_stderr, protect_stderr, redacted  # noqa: E402
from catalog.screen.stderr import warn  # noqa: E402
from catalog.screen.text import safe_text  # noqa: E402

# The modules with commands, and the names of these, so that only the modules needed are imported.
PACKAGES = {
    "backup.commands": ("backup", "run-due"),
    "backup.snapshot.commands": ("snapshots",),
    "catalog.points.commands": ("points", "ls"),
    "catalog.access.commands": ("vault",),
    "catalog.copies.commands": ("vault",),
    "catalog.cost.commands": ("vault",),
    "catalog.policies.commands": ("policy",),
    "catalog.plans.commands": ("plan", "protect"),
    "catalog.machines.commands": ("machine",),
    "catalog.ledger.commands": ("forget", "undelete", "hold", "release"),
    "catalog.repair.commands": ("repair",),
    "catalog.jobs.commands": ("jobs",),
    "catalog.hooks.commands": ("hooks",),
    "catalog.alerts.commands": ("alerts", "health", "watch"),
    "catalog.prune.commands": ("prune",),
    "catalog.seeds.commands": ("seed",),
    "catalog.schedule.commands": ("tick", "timer"),
    "catalog.notify.commands": ("notify",),
    "catalog.report.commands": ("report",),
    "catalog.history.commands": ("find", "versions", "diff"),
    "catalog.inventory.commands": ("system",),
    "catalog.check.commands": ("check",),
    "mount.commands": ("mount", "unmount", "mounts"),
    "mount.restore.commands": ("restore",),
    "mount.loop.commands": ("loop",),
    "mount.restoretest.commands": ("test-restore",),
    "mount.doctor.commands": ("doctor",),
    "mount.fleet.commands": ("fleet",),
    "mount.rebuild.commands": ("system",),
    "mount.promoting.commands": ("vault",),
    "mount.browse.commands": ("browse",),
    "cache.commands": ("cache",),
}
BROKEN_PIPE = 141  # 128 + SIGPIPE
_EMPTY_OPTION = re.compile(r"--[a-z][a-z-]*=")
_ERROR_LOGS = 50  # kept; an error in every run must not fill the disk
_EVERYWHERE = ("vault", "also", "passphrase_file", "admin_passphrase_file", "verbose")
# The commands and groups that read from other places of the vault, too; the others refuse --also.
_ALSO = {"mount", "browse", "restore", "points", "ls", "find", "versions", "diff", "jobs", "system", "repair"}
# The commands and groups that sign records, and so may need the passphrase of the admin key.
_SIGNING = {"set", "import", "stop", "prune", "repair", "forget", "undelete", "hold", "release", "admin", "protect"}
_VERBOSE = "rpdrive.verbose"  # in the context's `meta`, which all commands share


class Unexpected(RpdriveError):
    """An exception that no code expected: a bug. The traceback is in a log file."""

    exit_code = 70  # EX_SOFTWARE


class Interrupted(RpdriveError):
    """Ctrl-C, or SIGINT."""

    exit_code = 130  # 128 + SIGINT


class Commands(TyperGroup):
    """The commands of all packages. A group may have commands of several: they are joined under its name."""

    def list_commands(self, ctx: Any) -> list[str]:
        for package in PACKAGES:
            self._load(package)
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        owners = [package for package, names in PACKAGES.items() if cmd_name in names]
        for package in owners or PACKAGES:
            self._load(package)
        return self.commands.get(cmd_name)

    def _load(self, package: str) -> None:
        loaded: set[str] = self.__dict__.setdefault("loaded", set())
        if package in loaded:
            return
        loaded.add(package)
        module = importlib.import_module(package)
        module.app.rich_markup_mode = None
        shared = [p for p in self.params if p.name in _EVERYWHERE]
        for name, command in typer.main.get_group(module.app).commands.items():
            _accept_everywhere(command, shared, reads=command.name in _ALSO)
            before = self.commands.get(name)
            if isinstance(before, TyperGroup) and isinstance(command, TyperGroup):
                before.commands.update(command.commands)  # a group of several packages, e.g. `system`
            else:
                self.commands[name] = command


def _accept_everywhere(command: Any, shared: list[Any], signs: bool = False, reads: bool = False) -> None:
    """Accept the global options after the command, too. `signs`: with the admin key; `reads`: with --also."""
    signs = signs or command.name in _SIGNING
    if isinstance(command, TyperGroup):
        for below in command.commands.values():
            _accept_everywhere(below, shared, signs, reads)
        return
    taken = {o for p in command.params for o in p.opts}
    for param in shared:
        if taken.isdisjoint(param.opts):
            again = copy.copy(param)
            again.expose_value, again.callback, again.envvar, again.default = False, _override, None, None
            again.hidden = (param.name == "admin_passphrase_file" and not signs) or (
                param.name == "also" and not reads
            )
            command.params.append(again)


def _override(ctx: typer.Context, param: Any, value: Any) -> None:
    """Apply a global option given after the command. It replaces the one given before."""
    if not value:
        return
    session: Session = ctx.obj
    match param.name:
        case "vault":
            session.vault_option = value
        case "also":
            session.also_given, session.also_required = tuple(value), True
        case "passphrase_file":
            session.passphrases = GivenPassphrases(Path(value))
        case "admin_passphrase_file":
            session.admin_passphrases = GivenPassphrases(Path(value), ADMIN_PASSPHRASE, admin=True)
        case "verbose":
            _be_verbose(ctx)


def _be_verbose(ctx: typer.Context) -> None:
    import logging

    ctx.meta[_VERBOSE] = True
    log_to_stderr("rpdrive: %(message)s", logging.WARNING)
    logging.getLogger("rpdrive").setLevel(logging.INFO)


app = typer.Typer(
    cls=Commands, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"rpdrive {version('rpdrive')}")
        except PackageNotFoundError:
            print("rpdrive (not installed)")
        raise typer.Exit


@app.callback()
def rpdrive(
    ctx: typer.Context,
    vault: Annotated[
        str | None,
        typer.Option(
            envvar="RPDRIVE_VAULT",
            metavar="ADDRESS",
            help="the vault: a folder or a URL, e.g. azure://ACCOUNT/CONTAINER",
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            envvar="RPDRIVE_ALSO",
            metavar="ADDRESS",
            help="another copy of the vault, to read from if this one is away or damaged; may be repeated",
        ),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="read the passphrase from a file")
    ] = None,
    admin_passphrase_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="read the passphrase of the admin key from a file, where one is needed"),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="print details to stderr")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Back up files into an encrypted vault, and open any recovery point of it as a read-only drive."""
    if verbose:
        _be_verbose(ctx)
    ctx.obj = Session(
        vault=vault,
        passphrases=GivenPassphrases(passphrase_file),
        admin_passphrases=GivenPassphrases(admin_passphrase_file, ADMIN_PASSPHRASE, admin=True),
        records_factory=_records,
        waiting=None if "--json" in sys.argv else _say,
        also=also or (),
        lacking=later("catalog.points.lacking", "lacking"),
        noting=later("catalog.points.elsewhere", "behind_here"),
    )
    ctx.obj.also_required = bool(also) and "RPDRIVE_ALSO" not in os.environ
    ctx.call_on_close(lambda: _close(ctx))


def _say(text: str) -> None:
    from catalog.screen.stderr import warn

    warn(text)


def _close(ctx: typer.Context) -> None:
    session: Session = ctx.obj
    _warn_of_passed_over(session, sys.exc_info()[1])
    if ctx.meta.get(_VERBOSE) and session.meter is not None:
        print(f"rpdrive: {session.meter.snapshot()}", file=sys.stderr)
        if session.also is not None:
            print(f"rpdrive: at other places {session.also.traffic()}", file=sys.stderr)
        if session.gate is not None:
            print(f"rpdrive: {session.gate}", file=sys.stderr)
    session.close()


def _warn_of_passed_over(session: Session, error: BaseException | None) -> None:
    """Name the records that the command passed over, except the one of the error that it ends with."""
    if session.vault is None:
        return
    but = error if isinstance(error, RpdriveError) else None
    rows = session.vault.passed_over.report(but=but)
    if not rows:
        return
    with suppress(OSError, LocalError):
        sys.stdout.flush()  # so that the output appears before the warnings
    if "--json" not in sys.argv:
        for row in rows:
            warn(str(row), prefix="warning")
        return
    import json

    for row in rows:
        warn(json.dumps({"warning": row.json()}), prefix="")


def _records(session: Session, vault_id: bytes) -> MutableMapping[str, bytes] | None:
    from cache.disk import DiskCache

    try:
        disk = DiskCache(session.settings.cache)
    except LocalError:
        return None  # without a cache, the command is slower
    session.on_close(disk.close)
    return disk.records(vault_id)


def main() -> None:
    """Entry point of the console command."""
    _complete_descriptors()
    protect_stderr()
    code = run(sys.argv[1:])
    if code == Interrupted.exit_code:
        # Below -m, Python ends by a signal once KeyboardInterrupt has passed through code made from text, e.g. of a
        # named tuple that is imported, although it was caught. What is run last counts.
        exec("")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # All is done and said: what is left is the end of the interpreter, which would print a traceback.
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(Interrupted.exit_code))
    gc.freeze()  # what the interpreter's last collection walks took a fifth of the CPU of `rpdrive points`
    sys.exit(code)


def _complete_descriptors() -> None:
    """Open the standard streams that the caller closed. Otherwise files and sockets would get their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def run(args: list[str]) -> int:
    """Run one command and return its exit code (docs/exit-codes.md). An RpdriveError is one line on stderr."""
    with listening():
        return _run(args)


def _run(args: list[str]) -> int:
    _prepare_output()
    try:
        _check_current_folder()
        _refuse_empty(args)
        result = typer.main.get_command(app).main(args, "rpdrive", standalone_mode=False)
        if result == Interrupted.exit_code:  # Typer's result for KeyboardInterrupt
            raise KeyboardInterrupt
        check()
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # Typer's exception for it
            return _broken_pipe()
        raise
    except BrokenPipeError:
        return _broken_pipe()
    except (Exception, KeyboardInterrupt) as e:  # noqa: BLE001 - the last line of defence
        return _failed(args, e)


def _check_current_folder() -> None:
    """Raise LocalError if this process stands in a folder that was deleted: paths would mean nothing."""
    try:
        os.getcwd()
    except FileNotFoundError as e:
        raise LocalError("the current folder no longer exists", "change to another one") from e


def _refuse_empty(args: list[str]) -> None:
    """Raise UsageError for an empty argument or value. In a script that is a variable that was never set.

    As a path it would mean the current folder, and as a name whatever is the default.
    """
    before = ""
    for arg in args:
        if arg == "":
            what = f"the value of {before}" if before.startswith("-") and before != "--" else "an argument"
            raise UsageError(f"{what} is empty", "if it came from a variable, see that it is set")
        if before != "--" and _EMPTY_OPTION.fullmatch(arg):
            raise UsageError(f"the value of {arg[:-1]} is empty", "if it came from a variable, see that it is set")
        before = "--" if before == "--" else arg


class _Output(io.FileIO):
    """stdout as a file or a pipe. Raises LocalError if it can't be written, e.g. because the disk is full."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as e:
            raise LocalError(f"the output can't be written: {e.strerror}", "check where stdout goes") from e


def _prepare_output() -> None:
    """Write file names that are not valid text as their original bytes, and what stdout can't hold as escapes."""
    if not isinstance(sys.stdout, io.TextIOWrapper) or sys.stdout is not sys.__stdout__:
        return
    codecs.register_error(_AS_BYTES, _as_bytes_or_escapes)
    if sys.stdout.isatty():
        sys.stdout.reconfigure(errors=_AS_BYTES)
    else:
        output = io.BufferedWriter(_Output(1, "w", closefd=False))
        sys.stdout = io.TextIOWrapper(output, sys.stdout.encoding, errors=_AS_BYTES)


_AS_BYTES = "rpdrive.bytes"


def _as_bytes_or_escapes(error: UnicodeError) -> tuple[bytes, int]:
    """The name's bytes where it is not text; `\\u65e5` for a character that the output's encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts = (
        bytes((ord(c) - 0xDC00,)) if 0xDC80 <= ord(c) <= 0xDCFF else c.encode("ascii", "backslashreplace")
        for c in error.object[error.start : error.end]
    )
    return b"".join(parts), error.end


def _failed(args: list[str], error: BaseException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
        return UsageError.exit_code
    try:
        sys.stdout.flush()  # so that the output appears before the error
    except BrokenPipeError:
        return _broken_pipe()
    except LocalError as e:
        _silence(1)
        error = e
    return _report(args, _translated(error))


def _broken_pipe() -> int:
    """The reader (`head`, a pager) closed the pipe: this is not reported as an error."""
    _silence(1)
    return BROKEN_PIPE


def _silence(descriptor: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)  # Python flushes once more at its end


def _translated(error: BaseException) -> RpdriveError:
    if is_cause(error) or isinstance(error, typer.Abort):  # also an error of the cleaning up after it
        interrupted = Interrupted("interrupted")
        interrupted.__cause__ = error if isinstance(error, RpdriveError) else None
        return interrupted
    if isinstance(error, RpdriveError):
        return error
    if hasattr(error, "format_message"):  # Typer's own, about the command line
        context = getattr(error, "ctx", None)
        advice = f"see `{context.command_path} --help`" if context else ""
        return UsageError(error.format_message().rstrip("."), advice)
    return _unexpected(error)


def _report(args: list[str], error: RpdriveError) -> int:
    if "--json" in args:
        import json

        row = {"kind": error.kind, "message": redacted(str(error)), "advice": error.advice}
        text = json.dumps({"error": row | {"exit_code": error.exit_code}})
    else:
        text = _line(f"{error}{'; ' if error.advice else ''}{error.advice}")
        cause = error.__cause__
        while cause is not None and not {"-v", "--verbose"}.isdisjoint(args):
            text += "\n" + _line(f"because of {type(cause).__name__}: {cause}")
            cause = cause.__cause__
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _silence(2)  # stderr is closed or full; the exit code still reports the error
    return error.exit_code


def _line(text: str) -> str:
    """A message as one line that is safe to print: it has other people's names, and causes quote what they got."""
    return safe_text(redacted("rpdrive: " + " ".join(text.split())))


def _unexpected(error: BaseException) -> Unexpected:
    import time
    import traceback

    from catalog.access.settings import Settings, private_folder, write_private

    text = redacted("".join(traceback.format_exception(error)))
    what = f"unexpected {type(error).__name__}: {error}"
    try:
        folder = private_folder(Settings().state / "errors")
        for old in sorted(folder.glob("*.log"))[: 1 - _ERROR_LOGS]:  # named by time
            old.unlink(missing_ok=True)
        path = folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
        write_private(path, text.encode(errors="backslashreplace"))
    except (RpdriveError, OSError):
        print(text, file=sys.stderr)
        return Unexpected(what, "this is a bug in rpdrive: please report it")
    return Unexpected(what, f"this is a bug in rpdrive: please report it with {path}")


if __name__ == "__main__":
    main()
