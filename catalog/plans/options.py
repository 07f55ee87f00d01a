"""The options of `rpdrive plan …`, as Typer takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_CARE = "off, or e.g. 1d, '7d for 2h'"
_MACHINE = "the plan of this machine (name or id); default: the machine you are on"

Machine = Annotated[str | None, typer.Option("--machine", metavar="MACHINE", help=_MACHINE)]
OnlyMachine = Annotated[
    str | None, typer.Option("--machine", metavar="MACHINE", help="only this machine (name or id)")
]
OnlyItem = Annotated[str | None, typer.Option("--item", metavar="ITEM", help="only this item (name or id)")]
Item = Annotated[str | None, typer.Option("--item", metavar="ITEM", help="the plan of this item (name or id)")]
Everywhere = Annotated[bool, typer.Option("--everywhere", help="what all machines do that don't say otherwise")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="why, for people")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="change nothing, say what would be set")]

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH…", readable=False, help="what to back up, in place of what it was"),
]
At = Annotated[str | None, typer.Option(metavar="TIMES", help="back up at these times, e.g. 13:00,21:00")]
Every = Annotated[str | None, typer.Option(metavar="TIME", help="or again and again from midnight on, e.g. 4h")]
On = Annotated[str | None, typer.Option(metavar="DAYS", help="only on these weekdays, e.g. mon-fri")]
EveryWeeks = Annotated[int | None, typer.Option(metavar="N", help="only in every N-th week")]
Start = Annotated[
    str | None, typer.Option("--from", metavar="DATE", help="a day in a week that counts for --every-weeks")
]
Zone = Annotated[str | None, typer.Option(metavar="ZONE", help="time zone of all times, e.g. Europe/Berlin")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="leave out paths that match, as in .gitignore; can be repeated"),
]
IgnoreFiles = Annotated[
    str | None, typer.Option(metavar="NAME", help="read more patterns from files of this name in the folders")
]
ExcludeCaches = Annotated[
    bool | None, typer.Option("--exclude-caches/--include-caches", help="leave out folders with a CACHEDIR.TAG")
]
IgnoreCase = Annotated[bool | None, typer.Option("--ignore-case/--match-case", help="case in patterns")]
OneFileSystem = Annotated[
    bool | None,
    typer.Option("--one-file-system/--all-file-systems", help="stay within the file systems of the paths"),
]
CloudFiles = Annotated[
    bool | None, typer.Option("--cloud-files/--no-cloud-files", help="on Windows: download files in a cloud")
]
What = Annotated[
    str | None, typer.Option(metavar="files|volume|system-state|image", help="what the item is (default: files)")
]
Snapshot = Annotated[
    str | None, typer.Option(metavar="auto|always|never", help="whether files are read from snapshots")
]
ProtectVolume = Annotated[
    Path | None, typer.Option("--volume", metavar="PATH", readable=False, help="protect one file system, all of it")
]
ProtectSystem = Annotated[bool, typer.Option("--system-state", help="protect the system state, once a day")]
ProtectImage = Annotated[
    Path | None, typer.Option("--image", metavar="DEVICE", readable=False, help="protect a disk, byte for byte")
]
CatchUp = Annotated[
    bool | None, typer.Option("--catch-up/--no-catch-up", help="make up for missed times as soon as possible")
]
Spread = Annotated[str | None, typer.Option(metavar="TIME", help="begin up to so late, by machine (default: 15m)")]
Grace = Annotated[str | None, typer.Option(metavar="TIME", help="after how long a missing backup is overdue")]
AcPower = Annotated[bool | None, typer.Option("--ac-power/--any-power", help="wait while on battery")]
Unmetered = Annotated[
    bool | None, typer.Option("--unmetered/--any-network", help="wait while the network is metered")
]
Load = Annotated[str | None, typer.Option(metavar="PERCENT", help="wait while the load is higher, e.g. 80%")]
Windows = Annotated[
    list[str] | None,
    typer.Option("--window", metavar="HOURS", help="wait for these hours, e.g. '22:00-06:00'; can be repeated"),
]
AtMost = Annotated[str | None, typer.Option(metavar="DAYS", help="but wait no longer than this (default: 3d)")]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit", metavar="LIMIT", help="e.g. 'mon-fri 08:00-18:00 up 2M down 0'; of several the last one counts"
    ),
]
Prune = Annotated[str | None, typer.Option("--prune-every", metavar="TIME", help=f"free space: {_CARE}")]
Check1 = Annotated[str | None, typer.Option("--check-1-every", metavar="TIME", help="check all folders")]
Check2 = Annotated[
    str | None,
    typer.Option("--check-2-every", metavar="TIME", help="check a share of the data, e.g. '1d for 1h 1%'"),
]
Check3 = Annotated[str | None, typer.Option("--check-3-every", metavar="TIME", help="check all data")]
RestoreTest = Annotated[
    str | None, typer.Option("--restore-test-every", metavar="TIME", help="restore some files and compare them")
]
Inherit = Annotated[
    list[str] | None, typer.Option(metavar="FIELD", help="take a field from the wider level; can be repeated")
]
File = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="read the fields from a TOML file")]
Replace = Annotated[
    bool, typer.Option("--replace", help="drop what this level said before, instead of changing it")
]
ImportFile = Annotated[
    Path, typer.Argument(metavar="FILE", readable=False, help="a TOML file, as `export` prints it")
]
Until = Annotated[
    str | None, typer.Option(metavar="WHEN", help="end by itself: a date, a time, or e.g. 12h or 3d from now")
]
Keep = Annotated[
    bool | None, typer.Option("--keep-data/--delete-data", help="keep the recovery points, or forget them all")
]
ProtectPaths = Annotated[
    list[Path] | None, typer.Argument(metavar="PATH…", readable=False, help="files and folders to protect")
]
ItemTitle = Annotated[
    str | None, typer.Option("--item", metavar="NAME", help="name of the item (default: made from the paths)")
]
DailyAt = Annotated[str | None, typer.Option("--at", metavar="TIMES", help="when each day (default: 21:00)")]
NoTimer = Annotated[bool, typer.Option("--no-timer", help="install no timer: something else runs `rpdrive tick`")]
NoBackup = Annotated[bool, typer.Option("--no-backup", help="make no first backup now")]
ListThem = Annotated[bool, typer.Option("--list", help="list what is protected, and change nothing")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]
