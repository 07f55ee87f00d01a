"""This machine as its collectors see it: its files, its tools, a folder for what they print, and notes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from catalog.inventory.tools import MOST, Tools

_SMALL = 4 << 20  # bytes of a file of the machine that is parsed
_KEPT = re.compile(r"[^A-Za-z0-9_.:+@-]")  # characters that the name of a kept file doesn't have
_NOTES = 500
_T = TypeVar("_T")


class Here:
    """A machine below `root`. What is kept goes to `folder`: the staging folder, which only rpdrive reaches.

    Without a folder nothing is kept. What is kept is the same at every run of an unchanged machine, except for
    what goes below `volatile/`.
    """

    def __init__(self, folder: Path | None, tools: Tools, root: Path = Path("/")) -> None:
        self.tools, self.root = tools, root
        self.by_root = os.geteuid() == 0
        self.notes: list[str] = []
        self._folder = folder
        self._kept: set[str] = set()

    def note(self, text: str) -> None:
        """Say what could not be learnt. Each text counts once."""
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:1000]
        if text not in self.notes and len(self.notes) < _NOTES:
            self.notes.append(text)

    def attempt(self, what: str, part: Callable[[], _T], nothing: _T) -> _T:
        """What `part` returns. What no code expected costs that part: tools change what they print."""
        try:
            return part()
        except Exception as e:  # noqa: BLE001 - one tool's output must not cost the machine's backup
            self.note(f"{what} could not be collected: {type(e).__name__}: {e}")
            return nothing

    @property
    def keeps(self) -> bool:
        """Whether outputs are kept: what serves nothing else need not be run."""
        return self._folder is not None

    # --- files --------------------------------------------------------------------------------------------

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def data(self, path: str, most: int = _SMALL) -> bytes:
        """The first bytes of a regular file (of /proc and /sys, too); b"" if it can't be read. Never waits."""
        try:
            descriptor = os.open(self.path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return b""
            parts: list[bytes] = []
            left = most
            while left > 0 and (data := os.read(descriptor, min(left, 1 << 20))):
                parts.append(data)
                left -= len(data)
            return b"".join(parts)
        except OSError:
            return b""
        finally:
            os.close(descriptor)

    def text(self, path: str, most: int = _SMALL) -> str:
        return self.data(path, most).decode(errors="replace")

    def line(self, path: str) -> str:
        """The first line of a small file, without blanks around it."""
        return self.text(path, 4096).partition("\n")[0].strip("\0 \t\r")

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; none if it can't be listed. Names that are not UTF-8 are left out."""
        try:
            found = os.listdir(self.path(path))
        except OSError:
            return []
        return sorted(name for name in found if name.isprintable())

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.path(path))

    # --- tools --------------------------------------------------------------------------------------------

    def run(
        self,
        *argv: str,
        keep: str = "",
        stable: Callable[[str], str] | None = None,
        accept: Sequence[int] = (0,),
        seconds: float | None = None,
        note: bool = True,
    ) -> str:
        """What a tool prints, as text; "" and a note if that fails. `keep`: also as a file, through `stable`."""
        output = self.tools.run(argv, accept=accept, seconds=seconds, most=MOST)
        if output.fault:
            if note:
                self.note(output.fault)
            return ""
        text = output.text.decode(errors="replace")
        if keep:
            self.keep(keep, (stable(text) if stable is not None else text).encode(errors="replace"))
        return text

    def keep(self, name: str, data: bytes) -> str:
        """Keep bytes as a file of the point, once. Returns its name below /.system, "" if it could not be kept."""
        if self._folder is None:
            return ""
        name = "/".join(_KEPT.sub("_", part).lstrip(".") or "_" for part in name.split("/"))
        if name in self._kept:
            self.note(f"two outputs are both named {name}: the first is kept")
            return ""
        path = self._folder / name
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)  # names have one folder at most
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
        except OSError as e:
            self.note(f"{name} could not be kept: {e.strerror}")
            return ""
        self._kept.add(name)
        return name

    def written(self, name: str, *argv: str, stable: Callable[[str], str] | None = None) -> str:
        """Keep what a tool writes to a file, whose path is its last argument. Returns as `keep`."""
        if self._folder is None:
            return ""
        path = self._folder / "written"
        path.unlink(missing_ok=True)
        try:
            output = self.tools.run([*argv, str(path)])
            if output.fault:
                self.note(output.fault)
                return ""
            data = path.read_bytes()
        except OSError as e:
            self.note(f"what {argv[0]} wrote can't be read: {e.strerror}")
            return ""
        finally:
            path.unlink(missing_ok=True)
        text = stable(data.decode(errors="replace")).encode(errors="replace") if stable is not None else data
        return self.keep(name, text)

    def device(self, device: str, length: int) -> bytes:
        """The first bytes of a block device; b"" and a note if they can't be read."""
        try:
            with os.fdopen(os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
                return file.read(length) or b""
        except OSError as e:
            self.note(f"the start of {device} can't be read: {e.strerror}")
            return b""
