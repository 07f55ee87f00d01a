"""Tasks of the Windows Task Scheduler: their XML, and schtasks, which creates and deletes them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from catalog.errors import LocalError

SCHEMA = "http://schemas.microsoft.com/windows/2004/02/mit/task"
FOLDER = "\\rpdrive\\"  # in the Task Scheduler's library
CHECK = "check the task in the Task Scheduler, and that its service runs"
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def element(name: str, **attributes: str) -> ElementTree.Element:
    """An element of the task's schema."""
    return ElementTree.Element(f"{{{SCHEMA}}}{name}", attributes)


def add(parent: ElementTree.Element, name: str, text: str | None = None, **attributes: str) -> ElementTree.Element:
    """Add an element to another one."""
    child = ElementTree.SubElement(parent, f"{{{SCHEMA}}}{name}", attributes)
    child.text = None if text is None else "".join(c if c.isprintable() else "?" for c in text)
    return child


def quiet_python() -> str:
    """The Python that opens no console window: that would stay on the screen while the drive is open."""
    quiet = Path(sys.executable).with_name("pythonw.exe")
    return str(quiet) if quiet.exists() else sys.executable


def create(name: str, xml: bytes, run: Run) -> None:
    """Hand a task to the Task Scheduler, in place of one of the same name. Raises LocalError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.xml"
        path.write_bytes(xml)
        done = run(["/Create", "/TN", name, "/XML", str(path), "/F"])
    if done.returncode:
        raise LocalError(f"the task {name} can't be created: {last_line(done)}", CHECK)


def delete(name: str, run: Run) -> bool:
    """Delete a task; what it started goes on. False if the task does not exist. Raises LocalError."""
    if run(["/Query", "/TN", name]).returncode:
        return False
    done = run(["/Delete", "/TN", name, "/F"])
    if done.returncode:
        raise LocalError(f"the task {name} can't be deleted: {last_line(done)}", CHECK)
    return True


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What schtasks said at last."""
    lines = (done.stderr or done.stdout or "").strip().splitlines()
    return lines[-1] if lines else f"schtasks ended with {done.returncode}"


def run_schtasks(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run schtasks. Raises LocalError."""
    program = shutil.which("schtasks")
    if program is None:
        raise LocalError("schtasks is not on this machine", "run this on Windows")
    try:
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, errors="replace", check=False, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as e:
        raise LocalError(f"schtasks doesn't answer: {e}", CHECK) from e
