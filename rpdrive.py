"""The command `rpdrive`: composes the packages' commands, maps errors to exit codes.

Each package has a `commands.py` whose `app` (a Typer) holds its commands; it imports only typer, and each
command imports what it needs when it runs. A package is imported when one of its commands is asked for, or
for a list of all.
"""

from __future__ import annotations

import copy
import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from catalog.errors import RpdriveError
from catalog.session import Session

# Packages, and the commands by which they are known without being imported.
PACKAGES = {
    "backup": ("backup",),
    "catalog": ("points", "ls", "vault"),
    "mount": ("mount", "unmount", "mounts", "restore"),
    "cache": ("cache",),
}
UNEXPECTED = 70  # EX_SOFTWARE
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE


class Commands(TyperGroup):
    """The commands of all packages."""

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
        try:
            module = importlib.import_module(f"{package}.commands")
        except ModuleNotFoundError as e:
            if e.name != f"{package}.commands":
                raise
            return
        module.app.rich_markup_mode = None
        shared = [p for p in self.params if p.name in ("vault", "passphrase_file", "verbose")]
        for name, command in typer.main.get_group(module.app).commands.items():
            _accept_everywhere(command, shared)
            self.commands[name] = command


def _accept_everywhere(command: Any, shared: list[Any]) -> None:
    """Let global options stand after the command too."""
    if isinstance(command, TyperGroup):
        for below in command.commands.values():
            _accept_everywhere(below, shared)
        return
    taken = {o for p in command.params for o in p.opts}
    for param in shared:
        if taken.isdisjoint(param.opts):
            again = copy.copy(param)
            again.expose_value, again.callback, again.envvar, again.default = False, _override, None, None
            command.params.append(again)


def _override(ctx: Any, param: Any, value: Any) -> None:
    if value:
        setattr(ctx.obj, {"vault": "vault_option"}.get(param.name, param.name), value)


app = typer.Typer(
    cls=Commands, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"rpdrive {version('rpdrive')}")
        raise typer.Exit


@app.callback()
def rpdrive(
    ctx: typer.Context,
    vault: Annotated[
        str | None,
        typer.Option(
            envvar="RPDRIVE_VAULT", metavar="ADDRESS", help="file:///PATH, a path, or azure://ACCOUNT/CONTAINER"
        ),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="read the passphrase from a file")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="say more, on stderr")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Open any recovery point of an encrypted backup vault as a read-only drive."""
    session = Session(vault=vault, passphrase_file=passphrase_file, verbose=verbose)
    session.records_factory = _records
    ctx.obj = session
    ctx.call_on_close(session.close)


def _records(session: Session, vault_id: bytes) -> Any:
    return None


def main() -> None:
    """Entry point of the console command."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run one command; the exit code. Errors meant for a person are one line on stderr."""
    try:
        result = typer.main.get_command(app).main(args, "rpdrive", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except RpdriveError as e:
        return _report(args, e.kind, str(e), e.advice, e.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _report(args, "Interrupted", "interrupted", "", INTERRUPTED)
    except BrokenPipeError:
        # The reader has seen enough. Python would try to flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except Exception as e:  # noqa: BLE001 - the last line of defence
        if hasattr(e, "format_message"):  # Typer's own, about the command line
            usage = getattr(e, "ctx", None)
            advice = f"see `{usage.command_path} --help`" if usage else ""
            return _report(args, "UsageError", e.format_message(), advice, getattr(e, "exit_code", 2))
        return _unexpected(args, e)


def _report(args: list[str], kind: str, message: str, advice: str, exit_code: int) -> int:
    if "--json" in args:
        import json

        error = {"kind": kind, "message": message, "advice": advice, "exit_code": exit_code}
        text = json.dumps({"error": error})
    else:
        text = " ".join(f"rpdrive: {message}{'; ' if advice else ''}{advice}".split())
    try:
        print(text.encode(errors="backslashreplace").decode(), file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody listens; the exit code still tells
    return exit_code


def _unexpected(args: list[str], error: Exception) -> int:
    import time
    import traceback

    from catalog.settings import Settings, private_folder, write_private

    what = f"unexpected {type(error).__name__}: {error}"
    try:
        folder = private_folder(Settings().state / "errors")
        path = folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
        write_private(path, "".join(traceback.format_exception(error)).encode(errors="backslashreplace"))
        advice = f"this is a bug in rpdrive: please report it with {path}"
    except RpdriveError:
        traceback.print_exception(error)
        advice = "this is a bug in rpdrive: please report it"
    return _report(args, "Unexpected", what, advice, UNEXPECTED)


if __name__ == "__main__":
    main()
