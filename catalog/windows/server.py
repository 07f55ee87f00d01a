"""What kind of Windows this is, as far as its system state matters: from the registry, PowerShell and volumes."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from catalog.errors import LocalError
from catalog.windows.console import POWERSHELL, Run, system_program
from catalog.windows.registry import Registry

_CONTROL = "SYSTEM\\CurrentControlSet\\Control\\"
_SERVICES = "SYSTEM\\CurrentControlSet\\Services\\"
_VERSION = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
_REBOOT = (  # key, and the subkey that is there while a restart is due
    ("SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing", "RebootPending"),
    ("SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update", "RebootRequired"),
)
_CRITICAL = (  # keys and values with paths whose volumes Windows can't start without
    (_SERVICES + "NTDS\\Parameters", "DSA Database file"),
    (_SERVICES + "NTDS\\Parameters", "Database log files path"),
    (_SERVICES + "Netlogon\\Parameters", "SysVol"),
)
SERVICES = ("VSS", "swprv", "EventSystem", "COMSysApp", "CryptSvc", "wbengine")
# Only servers have Get-WindowsFeature; the tombstone lifetime is in the directory, and 60 days if it is not.
SCRIPT = (
    "$ErrorActionPreference = 'SilentlyContinue'; $ProgressPreference = 'SilentlyContinue'; "
    '$f = "$((Get-WindowsFeature Windows-Server-Backup).InstallState)"; '
    "$s = @(Get-Service " + ",".join(SERVICES) + " | ForEach-Object {"
    ' @{name = $_.Name; start = "$($_.StartType)"; status = "$($_.Status)"} }); '
    "$t = 0; if ($env:RPDRIVE_DC) { $c = ([ADSI]'LDAP://RootDSE').configurationNamingContext; "
    '$t = [int]"$(([ADSI]"LDAP://CN=Directory Service,CN=Windows NT,CN=Services,$c").tombstoneLifetime)"; '
    "if (-not $t) { $t = 60 } }; "
    "ConvertTo-Json -Compress -Depth 4 -InputObject @{feature = $f; services = $s; tombstone = $t}"
)
_QUICK = 120.0  # s


class Service(msgspec.Struct):
    """A service, with the words of PowerShell."""

    name: str
    start: str = ""
    status: str = ""


class Asked(msgspec.Struct):
    """What PowerShell said. `feature` is Installed, Available or empty; `tombstone` is in days, 0 if not known."""

    feature: str = ""
    services: list[Service] = []
    tombstone: int = 0


class Server(msgspec.Struct):
    """This Windows. `critical` are the letters of drives that it can't start without."""

    kind: str  # WinNT, ServerNT, LanmanNT
    product: str
    build: str
    computer: str
    critical: frozenset[str] = frozenset()
    restart_is_due: bool = False
    any_volume: bool = False  # AllowSSBToAnyVolume

    @property
    def is_client(self) -> bool:
        return self.kind not in ("ServerNT", "LanmanNT")

    @property
    def is_domain_controller(self) -> bool:
        return self.kind == "LanmanNT"


def this_server(registry: Registry, environment: Mapping[str, str] = os.environ) -> Server:
    """What the registry says of this Windows."""

    def text(key: str, name: str) -> str:
        value = registry.values(key).get(name)
        return value if isinstance(value, str) else ""

    paths = [
        environment.get("SystemDrive", "C:"),
        environment.get("ProgramFiles", ""),
        environment.get("ProgramData", ""),
    ]
    paths += [text(key, name) for key, name in _CRITICAL]
    allowed = registry.values(_SERVICES + "wbengine\\SystemStateBackup").get("AllowSSBToAnyVolume")
    return Server(
        kind=text(_CONTROL + "ProductOptions", "ProductType") or "WinNT",
        product=text(_VERSION, "ProductName") or "Windows",
        build=text(_VERSION, "CurrentBuild"),
        computer=text(_CONTROL + "ComputerName\\ActiveComputerName", "ComputerName"),
        critical=frozenset(path[0].upper() for path in paths if path[1:2] == ":"),
        restart_is_due=any(subkey in registry.keys(key) for key, subkey in _REBOOT),
        any_volume=allowed == 1,
    )


def powershell(script: str) -> list[str]:
    """The command line of a script."""
    encoded = base64.b64encode(script.encode("utf-16-le")).decode()
    return [system_program(POWERSHELL), "-NoLogo", "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded]


def ask(run: Run, server: Server, environment: Mapping[str, str]) -> Asked:
    """What only PowerShell knows; nothing if it fails: then wbadmin itself says what is wrong."""
    variables = {"RPDRIVE_DC": "1"} if server.is_domain_controller else {}
    try:
        done = run(powershell(SCRIPT), _QUICK, {**environment, **variables})
        lines: Sequence[str] = [line for line in done.text.splitlines() if line.strip()]
        found: Any = json.loads(lines[-1]) if done.in_time and not done.code and lines else {}
        return msgspec.convert(found, Asked)
    except (LocalError, ValueError, RecursionError, msgspec.ValidationError):
        return Asked()
