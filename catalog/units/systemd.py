"""systemd units as files, and systemctl: for whatever rpdrive has systemd start."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from catalog.errors import LocalError


class Unit(NamedTuple):
    """A unit's file. `system`: a unit of the system, not of this user."""

    path: Path
    system: bool

    @property
    def name(self) -> str:
        return self.path.name

    def systemctl(self, *arguments: str) -> list[str]:
        return ["systemctl", *([] if self.system else ["--user"]), *arguments]


def quoted(argument: str, *, program: bool = False) -> str:
    """Quote any text as one word of a unit's command line (systemd.service(5), COMMAND LINES)."""
    parts = []
    for byte in os.fsencode(argument):
        char = chr(byte)
        if char in '"\\':
            parts.append(f"\\{char}")
        elif char == "%":
            parts.append("%%")
        elif char == "$" and not program:  # systemd replaces no variables in the program's path
            parts.append("$$")
        elif byte < 0x20 or byte == 0x7F:
            parts.append(f"\\x{byte:02x}")
        else:
            parts.append(char)
    word = "".join(parts)
    try:
        word = word.encode("latin-1").decode()
    except UnicodeDecodeError:  # units are UTF-8: escape other bytes
        word = "".join(c if c < "\x80" else f"\\x{ord(c):02x}" for c in word)
    return f'"{word}"'


def check_program(paths: Iterable[str], instead: str) -> None:
    """Check that root alone can change the program that root's unit runs. Raises LocalError.

    `paths` are the interpreter and where it looks for modules; those that don't exist count by the folder above.
    `instead` is what else the user can do.
    """
    for path in {resolved for text in paths if text for resolved in (Path(text).absolute(), Path(text).resolve())}:
        below: os.stat_result | None = None
        for here in (path, *path.parents):
            try:
                status = os.lstat(here)
            except FileNotFoundError:
                continue
            if _others_can_change(status, below):
                raise LocalError(
                    f"a unit that runs as root would run {path}, and others than root can change {here}",
                    f"install rpdrive as root in a folder of root's, or {instead}",
                )
            below = status


def _others_can_change(status: os.stat_result, below: os.stat_result | None) -> bool:
    """Whether users other than root can change a file, or put another one in the place of `below` in a folder."""
    if status.st_uid != 0:
        return True
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o022:
        return False
    # In a folder like /tmp nobody can replace what is root's.
    return not (status.st_mode & stat.S_ISVTX and below is not None and below.st_uid == 0)


def one_line(path: Path) -> str:
    """A path for the description of a unit."""
    text = "".join(c if c.isprintable() else "?" for c in str(path))
    return text.replace("%", "%%").rstrip("\\")


def write(unit: Unit, text: str, instead: str) -> None:
    """Write a unit's file. `instead` is what a user who is not root can do. Raises LocalError."""
    try:
        unit.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = unit.path.with_name(f".{unit.name[:200]}.tmp")
        temporary.write_bytes(os.fsencode(text))
        temporary.replace(unit.path)
    except OSError as e:
        advice = f"run it as root, or {instead}" if unit.system else ""
        raise LocalError(f"the unit {unit.path} can't be written: {e.strerror}", advice) from e


def succeeds(unit: Unit, *arguments: str) -> bool:
    """Whether systemctl ended well."""
    done = run(unit, *arguments)
    return done is not None and done.returncode == 0


def run(unit: Unit, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Run systemctl for a unit. None if there is none here, or it does not answer."""
    program = shutil.which("systemctl")
    if program is None:
        return None
    try:
        return subprocess.run(
            [program, *unit.systemctl(*arguments)[1:]], capture_output=True, text=True, errors="replace",
            check=False, timeout=240, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
