"""PowerShell and Win32_ShadowCopy in this process, for the scripts of backup/snapshot/vss/wmi.py.

Its shadow copies outlive whoever made them, as those of Windows do. A script that it does not know fails.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from backup.snapshot.vss.wmi import LIST, MAKE, REMOVE
from catalog.windows.console import Output

DEVICE = "\\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy"


class PowerShellDouble:
    """`shadows` are ids and the volumes' roots. `code` is what Create returns; `said` replaces an output.

    `after_make` is called when a shadow copy has been made and noted, before its id is returned.
    """

    def __init__(self) -> None:
        self.shadows: dict[str, str] = {}
        self.code = 0
        self.said: Output | None = None
        self.after_make: Callable[[], None] = lambda: None
        self.timeouts: list[float] = []
        self._count = 0

    def run(self, command: Sequence[str], timeout: float, environment: Mapping[str, str]) -> Output:
        assert command[:4] == [
            "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe",
            "-NoLogo",
            "-NoProfile",
            "-NonInteractive",
        ]
        assert not any("PASSPHRASE" in name for name in environment)
        self.timeouts.append(timeout)
        if self.said is not None:
            return self.said
        script = base64.b64decode(command[5]).decode("utf-16-le")
        if script == MAKE:
            return self._make(
                environment["RPDRIVE_VOLUME"], environment["RPDRIVE_NAME"], Path(environment["RPDRIVE_NOTE"])
            )
        if script == LIST:
            return Output(0, json.dumps([{"id": id, "volume": volume} for id, volume in self.shadows.items()]))
        if script == REMOVE:
            self.shadows.pop(environment["RPDRIVE_ID"], None)
            return Output(0, "{}\r\n")
        return Output(1, "ParserError")

    def _make(self, volume: str, noted: str, note: Path) -> Output:
        if self.code:
            return Output(0, json.dumps({"code": self.code, "id": None, "device": ""}))
        self._count += 1
        name = self.somebody(volume)
        with note.open("a") as file:
            file.write(f"{noted} {name}\n")
        self.after_make()
        return Output(0, json.dumps({"code": 0, "id": name, "device": f"{DEVICE}{self._count}"}) + "\r\n")

    def somebody(self, volume: str = "C:\\") -> str:
        """A shadow copy that another program makes. Returns its id."""
        name = f"{{{str(uuid.uuid4()).upper()}}}"
        self.shadows[name] = volume
        return name
