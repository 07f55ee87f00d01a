"""A Windows server with Windows Server Backup, on the double of a machine: `run` stands for its programs.

Its folder has the shape that Microsoft's pages and pictures show; what is in the images is made up.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalog.windows.console import Output
from catalog.windows.server import SCRIPT, SERVICES
from tests.kit.windows_double import DIRECTORY, READONLY, Double, Item
from tests.kit.windows_machine import ALL, OPEN, PLAIN, make_windows
from tests.kit.windows_registry import FakeRegistry

CONTROL = "SYSTEM\\CurrentControlSet\\Control\\"
SERVER = "SYSTEM\\CurrentControlSet\\Services\\"
CBS = "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing"
VERSION = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
BACKUP = "Backup 2026-11-27 160001"
IMAGE = "5f3c1a6e-0000-0000-0000-100000000000.vhdx"
ENVIRONMENT = {"SystemDrive": "C:", "ProgramFiles": "C:\\Program Files", "SystemRoot": "C:\\Windows"}


def server_double() -> Double:
    """A machine with the drive E: for staging."""
    d = make_windows()
    d.allowed = set(ALL) | {"SeRestorePrivilege"}
    d.roots["E"] = Item(DIRECTORY, index=5 | 5 << 48, security=OPEN)
    return d


class ServerPrograms:
    """The programs of the server. `commands` are the words that wbadmin and sfc were called with.

    `result` is what `wbadmin start` ends with, `makes` what it leaves on the volume first, and `meanwhile` is
    called while it works. `asked` is what PowerShell says.
    """

    def __init__(self, d: Double) -> None:
        self.double = d
        self.commands: list[str] = []
        self.result = Output(0, "The backup operation successfully completed.\r\n")
        self.sfc = Output(0, "")
        self.makes = True
        self.content = b"an image of the system state" * 3000
        self.folder = BACKUP
        self.meanwhile: Callable[[], None] = lambda: None
        services = [{"name": name, "start": "Manual", "status": "Running"} for name in SERVICES]
        self.asked: dict[str, Any] = {"feature": "Installed", "services": services, "tombstone": 0}
        self.registry = FakeRegistry(
            {
                CONTROL + "ProductOptions": {"ProductType": "ServerNT"},
                CONTROL + "ComputerName\\ActiveComputerName": {"ComputerName": "SRV01"},
                VERSION: {"ProductName": "Windows Server 2022 Standard", "CurrentBuild": "20348"},
                CBS: {},
            }
        )

    def run(self, command: Sequence[str], timeout: float, environment: Mapping[str, str]) -> Output:
        assert not any("PASSPHRASE" in name for name in environment)
        assert command[0].startswith("C:\\Windows\\System32\\"), "else one in the current folder is started"
        command = [command[0].rpartition("\\")[2], *command[1:]]
        if command[0] == "powershell.exe":
            assert base64.b64decode(command[-1]).decode("utf-16-le") == SCRIPT
            found = self.asked | ({} if "RPDRIVE_DC" in environment else {"tombstone": 0})
            return Output(0, json.dumps(found) + "\r\n")
        self.commands.append(" ".join(command))
        if command[0] == "sfc.exe":
            return self.sfc
        assert command[0] == "wbadmin.exe"
        if command[1:3] == ["start", "systemstatebackup"]:
            return self._start(command[3].removeprefix("-backupTarget:").rstrip(":"))
        return Output(0, "")

    def _start(self, letter: str) -> Output:
        if self.makes:
            self.make(letter)
        self.meanwhile()
        return self.result

    def make(self, letter: str, computer: str = "SRV01") -> None:
        """What Windows Server Backup leaves on a volume."""
        d, top = self.double, f"{letter}\\WindowsImageBackup"
        for path in ("", f"\\{computer}", f"\\{computer}\\{self.folder}", f"\\{computer}\\Catalog"):
            if top + path not in {where for where, _entry in d.walk(d.roots[letter], letter)}:
                d.folder(top + path, security=OPEN)
        here = f"{top}\\{computer}"
        d.add(f"{here}\\{self.folder}\\{IMAGE}", self.content, security=PLAIN)
        d.add(f"{here}\\{self.folder}\\BackupSpecs.xml", b"<xml/>", security=PLAIN, attributes=READONLY)
        d.add(f"{here}\\Catalog\\GlobalCatalog", b"a catalog", security=PLAIN)
        d.add(f"{here}\\Catalog\\BackupGlobalCatalog", b"a catalog", security=PLAIN)
        d.add(f"{here}\\MediaId", b"an id", security=PLAIN)

    def names(self, letter: str = "E") -> set[str]:
        """What is on a volume."""
        return {path for path, _entry in self.double.walk(self.double.roots[letter], letter)}
