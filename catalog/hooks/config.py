"""hooks.toml: which commands run around jobs. It lies in the local configuration folder, and nowhere else.

Whoever may change it, or a program that it names, runs commands with this user's rights: nothing of it comes from a
vault, and nothing is used that other users of the machine may change.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from catalog.access.settings import Settings
from catalog.access.trusted import read_trusted
from catalog.errors import LocalError
from catalog.systems.this import SYSTEM

FILE = "hooks.toml"
LONGEST = 1 << 20  # bytes of the file
TIME = 300.0  # seconds that a hook may take


class Stage(StrEnum):
    """When a hook runs. `hold` runs while files are read; `after` runs whatever happened."""

    BEFORE = "before"
    HOLD = "hold"
    AFTER = "after"
    ON_FAILURE = "on_failure"
    BEFORE_RESTORE = "before_restore"
    AFTER_RESTORE = "after_restore"


class Mode(StrEnum):
    """What a failure means: the job fails, it has a problem, or the same and the job does not wait for the hook."""

    ESSENTIAL = "essential"
    OPTIONAL = "optional"
    ASYNC = "async"


class Hook(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """One command: the program and its arguments. Without `items` (names) it runs for all of them.

    `timeout` is in seconds: until the command ends, or until one of the stage `hold` is ready.
    """

    stage: Stage
    run: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1000)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    items: list[str] = []
    mode: Mode = Mode.ESSENTIAL
    timeout: Annotated[float, msgspec.Meta(gt=0, le=7 * 86400)] = TIME

    def is_for(self, item: str) -> bool:
        return not self.items or item in self.items


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    hook: list[Hook] = []


class Hooks(NamedTuple):
    """The hooks of a file, in its order."""

    path: Path
    rows: Sequence[Hook]

    def of_items(self, names: Collection[str]) -> Hooks:
        """The hooks for at least one of these items, as hooks for all."""
        rows = [msgspec.structs.replace(hook, items=[]) for hook in self.rows if any(map(hook.is_for, names))]
        return Hooks(self.path, rows)

    def of(self, stage: Stage, item: str) -> list[Hook]:
        return [hook for hook in self.rows if hook.stage is stage and hook.is_for(item)]


def read_hooks(settings: Settings) -> Hooks:
    """The hooks of this machine; none if there is no file.

    Raises LocalError if the file is malformed (the message names the field), or if other users may change the file,
    its folder, a program, or a program's folder.
    """
    path = settings.where("config") / FILE
    data = read_trusted(path, LONGEST)
    if data is None:
        return Hooks(path, [])
    _check_folder(path.parent, str(path))
    try:
        rows = msgspec.convert(tomllib.loads(data.decode()), _File).hook
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as e:
        raise LocalError(f"{path} is malformed: {e}", "see docs/hooks.md, and try `rpdrive hooks show`") from e
    names = [hook.name for hook in rows]
    for hook in rows:
        if names.count(hook.name) > 1:
            raise LocalError(f"{path} has more than one hook {hook.name!r}", "give each a name of its own")
        if hook.mode is Mode.ASYNC and hook.stage is Stage.HOLD:
            raise LocalError(f"{path}: the hook {hook.name!r} can't be async", "use essential or optional")
        check_program(hook)
    return Hooks(path, rows)


def check_program(hook: Hook) -> None:
    """Raise LocalError if the program of a hook is not there, or may be changed by other users."""
    program = Path(hook.run[0])
    if any("\0" in word for word in hook.run) or not program.is_absolute():
        raise LocalError(
            f"the hook {hook.name!r} can't run {str(program)!r}",
            "write the whole path of a program",
        )
    try:
        real = program.resolve(strict=True)
        status = real.stat()
        runnable = os.access(real, os.X_OK)
    except (OSError, RuntimeError) as e:
        raise LocalError(f"the program of the hook {hook.name!r}, {program}, can't be used: {e}", "check it") from e
    if not SYSTEM.is_trusted(status):
        raise LocalError(
            f"{real}, the program of the hook {hook.name!r}, may be changed by other users, so it does not run",
            "make it belong to this user or root, and run `chmod go-w` on it",
        )
    if not runnable:
        raise LocalError(f"{real}, the program of the hook {hook.name!r}, may not be run", "run `chmod +x` on it")
    for folder in {program.parent, real.parent}:
        _check_folder(folder, f"the program of the hook {hook.name!r}")


def _check_folder(folder: Path, what: str) -> None:
    try:
        trusted = SYSTEM.is_trusted_folder(folder.stat())
    except OSError as e:
        raise LocalError(f"the folder of {what}, {folder}, can't be read: {e.strerror}", "check it") from e
    if not trusted:
        raise LocalError(
            f"other users may put files into {folder}, so {what} is not used",
            "make the folder belong to this user or root, and run `chmod go-w` on it",
        )
