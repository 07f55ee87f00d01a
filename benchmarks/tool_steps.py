"""Steps that are commands: a backup, a restore. Figures by the ends of the rows' names."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from measured import Measured, run, stored
from tools import Tool, restored

BACKUPS = ("first", "unchanged", "changed")


def back_up(row: str, tool: Tool, source: Path, log: Path, forget: Callable[[], object]) -> dict[str, float]:
    """One backup, after what the kernel keeps was dropped. Raises CommandFailed."""
    forget()
    done = run(tool.backup(source), tool.environment, log)
    size = {f"{row}-stored": stored(tool.repository) / 1e6} if tool.packs else {}
    return _figures(row, done) | size


def restore(
    row: str, tool: Tool, source: Path, target: Path, log: Path, forget: Callable[[], object]
) -> dict[str, float]:
    """Restore the newest backup of `source` into a new folder, which stays, and compare. Raises CommandFailed.

    The folder is to be removed at the end of a round: ext4 takes long over new files for some seconds after many
    were deleted.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    words = tool.restore(source, target)
    forget()
    done = run(words, tool.environment, log, target)
    subprocess.run(["diff", "-r", restored(source, target), source], check=True, stdout=subprocess.DEVNULL)
    return _figures(row, done)


def _figures(row: str, done: Measured) -> dict[str, float]:
    return {row: done.seconds, f"{row}-cpu": done.cpu, f"{row}-memory": done.memory / 1e6}
