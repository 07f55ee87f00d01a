"""A small Windows machine with a bit of everything, and its backups, in this process."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backup.engine import perform
from backup.mirror import Mirror
from backup.run import Result, Run
from backup.selection import Selection
from backup.sources.base import LiveFiles, Source
from backup.systems.windows import WindowsSystem
from cache.reader import Reader
from catalog.access.damage import DamagedPacks
from catalog.format.nodes import Node
from catalog.format.records import Point
from catalog.format.values import Hole, OutOfLine
from catalog.machines.items import this_item
from catalog.machines.registry import this_machine
from catalog.points.seen import Seen
from catalog.store.memory import MemoryStore
from catalog.tree import Pieces, walk
from catalog.vault import Vault
from catalog.windows.descriptor import from_sddl
from catalog.windows.sid import to_bytes
from tests.kit.protected import PointReader, vault_on
from tests.kit.windows_double import ARCHIVE, READONLY, REPARSE, SPARSE, Data, Double

ANNA = "S-1-5-21-1111-2222-3333-1001"
PLAIN = from_sddl(f"O:{ANNA}G:S-1-5-21-1111-2222-3333-513D:AI(A;ID;FA;;;SY)(A;ID;FA;;;{ANNA})")
OPEN = from_sddl(f"O:BAG:BAD:PAI(A;OICI;0x1200a9;;;BU)(A;OICI;FA;;;{ANNA})")
AUDITED = from_sddl(f"O:{ANNA}G:S-1-5-21-1111-2222-3333-513D:AI(A;ID;FA;;;SY)(A;ID;FA;;;{ANNA})S:(AU;SAFA;FA;;;WD)")
HOME = "C\\Users\\anna"
LONG = "n" * 200
ALL = {"SeBackupPrivilege", "SeSecurityPrivilege"}


def link_buffer(tag: int, substitute: str, shown: str, flags: int | None) -> bytes:
    """A REPARSE_DATA_BUFFER of a symlink (with flags) or a junction."""
    one, two = substitute.encode("utf-16-le"), shown.encode("utf-16-le")
    names = struct.pack("<HHHH", 0, len(one), len(one) + 2, len(two))
    body = names + (b"" if flags is None else struct.pack("<I", flags)) + one + b"\0\0" + two + b"\0\0"
    return struct.pack("<IHH", tag, len(body), 0) + body


def junction(path: str) -> bytes:
    """The REPARSE_DATA_BUFFER of one, to a folder such as `C:\\a`."""
    return link_buffer(0xA0000003, f"\\??\\{path}", path, None)


def tagged(tag: int, body: bytes = b"known to its maker") -> bytes:
    return struct.pack("<IHH", tag, len(body), 0) + body


def make_windows() -> Double:
    """A machine with a bit of everything."""
    rng = random.Random(1)
    d = Double(set(ALL))
    d.accounts = {to_bytes(ANNA): ("LAPTOP", "anna"), to_bytes("S-1-5-32-544"): ("BUILTIN", "Administrators")}
    d.roots["C"].security = OPEN
    for path in ("C\\Users", HOME, f"{HOME}\\Documents", f"{HOME}\\empty"):
        d.folder(path, security=OPEN)
    known: dict[str, Any] = {"security": PLAIN}
    d.add(f"{HOME}\\Documents\\letter.txt", b"Dear Ms. Miller", short="LETTER~1.TXT", **known)
    d.add(f"{HOME}\\Documents\\large", rng.randbytes(1_300_000), **known)
    d.add(f"{HOME}\\Documents\\read-only", b"r", attributes=READONLY | ARCHIVE | 2, security=OPEN)
    setup = d.add(f"{HOME}\\setup.exe", b"MZ", **known)
    setup.streams["Zone.Identifier"] = Data(b"[ZoneTransfer]\r\nZoneId=3\r\n")
    setup.streams["big"] = Data(rng.randbytes(400_000))
    d.item(f"{HOME}\\Documents").streams["on a folder"] = Data(b"notes")
    first = d.add(f"{HOME}\\first", b"one file, two names", short="FIRST~1", **known)
    first.streams["s"] = Data(b"stream of both")
    d.hard_link(f"{HOME}\\first", f"{HOME}\\second")
    d.entry(f"{HOME}\\second").short = "SECON~1"
    known["attributes"] = ARCHIVE | REPARSE
    link = link_buffer(0xA000000C, "Documents\\letter.txt", "Documents\\letter.txt", 1)
    d.add(f"{HOME}\\link", reparse=link, **known)
    documents = junction("C:\\Users\\anna\\Documents")
    d.folder(f"{HOME}\\My Documents", reparse=documents, security=OPEN, attributes=REPARSE)
    d.add(f"{HOME}\\opaque", b"under it", reparse=tagged(0x0000BEEF), **known)
    d.add(f"{HOME}\\deduplicated", b"from the chunk store", reparse=tagged(0x80000013), **known).data.ranges = []
    d.item(f"{HOME}\\deduplicated").attributes |= SPARSE
    ea = struct.pack("<IBBH", 0, 0, 6, 4) + b"$LXUID\0" + bytes(4)
    d.add(f"{HOME}\\with EAs", b"e", extended=ea, security=PLAIN)
    d.add(f"{HOME}\\half \ud800 name", b"WTF-8", security=PLAIN)
    d.folder(f"{HOME}\\{LONG}", security=OPEN)
    d.folder(f"{HOME}\\{LONG}\\{LONG}", security=OPEN)
    d.add(f"{HOME}\\{LONG}\\{LONG}\\deep", b"beyond 260 characters", security=PLAIN)
    holes = Data(bytes(10_000_000), [(0, 65536), (1 << 20, 1_300_000), (3 << 20, 3_200_000), (9 << 20, 9_600_000)])
    for start, end in holes.ranges or ():
        holes.data[start:end] = rng.randbytes(end - start)
    d.add(f"{HOME}\\sparse", attributes=ARCHIVE | SPARSE, security=PLAIN).streams[""] = holes
    d.add(f"{HOME}\\all hole", attributes=SPARSE, security=PLAIN).streams[""] = Data(bytes(1 << 20), [])
    return d


class Machine:
    """A machine that backs up its double, into a vault in memory if none is given."""

    def __init__(self, folder: Path, vault: Vault | None = None) -> None:
        self.vault, self._state = vault or vault_on(MemoryStore()), folder
        folder.mkdir()

    @property
    def reader(self) -> PointReader:
        return PointReader(self.vault)

    def back_up(
        self, double: Double, *paths: str, fetch: bool = False, excludes: tuple[str, ...] = (), dry: bool = False,
        partial_seconds: float = 900.0, shadows: dict[str, str] | None = None,
        source: Callable[[WindowsSystem, Selection], Source] | None = None,
    ) -> Result:  # fmt: skip
        vault, state, system = self.vault, self._state, WindowsSystem(double.api(), fetch=fetch)
        system.shadows = shadows or {}
        wanted = [system.point_path(Path(path)) for path in paths or ("C:\\Users\\anna",)]
        record = this_machine(vault, state, None)
        item = this_item(vault, state, record, "home", wanted)
        mirror, reader = Mirror(state / "mirror.sqlite", vault.keys), Reader(vault, memory=16 << 20, parallel=2)
        try:
            selection = Selection(wanted, list(excludes), fetch=fetch)
            run = Run(
                vault, reader, mirror, record, item, selection, system, Seen(state, vault),
                DamagedPacks(state, vault.state_id), partial_seconds=partial_seconds,
                source=LiveFiles() if source is None else source(system, selection),
            )  # fmt: skip
            try:
                return perform(run, dry=dry)
            finally:
                run.source.close()
        finally:
            reader.close()
            mirror.close()
            assert (double.handles, double.broken) == ({}, [])

    def checked(self, double: Double, **options: Any) -> dict[str, Node]:
        """A backup without problems. Its entries."""
        outcome = self.back_up(double, **options)
        assert outcome.problems == []
        return self.entries(outcome)

    def entries(self, outcome: Result) -> dict[str, Node]:
        """By paths as `C\\a`."""
        assert outcome.point is not None
        return self.entries_of(outcome.point)

    def entries_of(self, point: Point) -> dict[str, Node]:
        root = point.root
        found = walk(self.reader, root.subtree() if root else None)
        return {p.decode(errors="surrogatepass").replace("/", "\\"): leaf.node(e) for p, (e, leaf, _n) in found}

    def bytes_of(self, content: object) -> bytes:
        reader = self.reader
        pieces = Pieces(reader, content).all()  # type: ignore[arg-type]
        return b"".join(bytes(p.length) if isinstance(p, Hole) else reader.data(p) for p in pieces)

    def value(self, value: bytes | OutOfLine | None) -> bytes:
        return bytes(self.reader.chunk(value.at)) if isinstance(value, OutOfLine) else value or b""
