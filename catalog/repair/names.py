"""Names the files and folders that what is lost belongs to, and the points that have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from catalog.format.blocks import PackKind
from catalog.format.records import PointName
from catalog.repair.work import LOST, Work

MOST = 1000  # files and folders that are named; all are counted
_VISITS = 200_000  # pages that are visited to name them


class Lost(NamedTuple):
    """A file or folder that can't be read whole, the newest point that has it so, and how many points do."""

    path: bytes
    is_folder: bool
    newest: PointName
    points: int


class Losses(NamedTuple):
    """What stays lost. `points` counts the points that have any of it; `left_out`: there is more than is named."""

    named: list[Lost]
    points: int
    left_out: bool


class _Top(NamedTuple):
    name: PointName
    page: int


class Names:
    """The points of which a walk has noted something suspect, by the number of their top page."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tops: list[_Top] = []

    def add(self, name: PointName, page: int) -> None:
        self._tops.append(_Top(name, page))

    def losses(self, *, healed: bool = False) -> Losses:
        """What is lost and has no other copy; with `healed`, all that was lost.

        Walks are noted from the oldest point to the newest; so are the names here.
        """
        self._lead(healed=healed)
        found: dict[tuple[bytes, bool], tuple[PointName, int]] = {}
        points, visits, left_out = 0, 0, False
        known: dict[int, list[tuple[bytes, bool]]] = {}
        for top in reversed(self._tops):
            if not self._leads(top.page):
                continue
            points += 1
            rows = known.get(top.page)
            if rows is None:
                rows = []
                for row in self._below(top.page):
                    visits += 1
                    if len(rows) >= MOST or visits > _VISITS:
                        left_out = True
                        break
                    rows.append(row)
                known = {top.page: rows}
            for row in rows:
                if row not in found and len(found) >= MOST:
                    left_out = True
                    continue
                newest, count = found.get(row, (top.name, 0))
                found[row] = newest, count + 1
        named = [Lost(path, folder, newest, count) for (path, folder), (newest, count) in sorted(found.items())]
        return Losses(named, points, left_out)

    def _lead(self, *, healed: bool) -> None:
        """Make tables of what is lost, and of the pages that lead there."""
        db = self._work.db
        db.execute("DROP TABLE IF EXISTS chunks")
        db.execute("DROP TABLE IF EXISTS leading")
        db.execute(
            "CREATE TEMP TABLE chunks (kind INTEGER, pack BLOB, offset INTEGER, inner INTEGER, "
            "PRIMARY KEY (kind, pack, offset, inner)) WITHOUT ROWID"
        )
        lost = "FROM extents e JOIN bad b USING (kind, pack, offset)" if healed else LOST
        db.execute(f"INSERT INTO chunks SELECT e.kind, e.pack, e.offset, e.inner {lost}")
        db.execute("CREATE INDEX IF NOT EXISTS edges_up ON edges (child)")
        db.execute("CREATE INDEX IF NOT EXISTS edges_down ON edges (parent)")
        db.execute("CREATE INDEX IF NOT EXISTS holds_of ON holds (page)")
        db.execute("CREATE TEMP TABLE leading (page INTEGER PRIMARY KEY)")
        db.execute(
            "INSERT INTO leading WITH RECURSIVE up (page) AS (SELECT page FROM holds JOIN chunks "
            "USING (kind, pack, offset, inner) UNION SELECT parent FROM edges JOIN up ON edges.child = up.page) "
            "SELECT page FROM up"
        )

    def _leads(self, page: int) -> bool:
        return self._work.db.execute("SELECT 1 FROM leading WHERE page = ?", (page,)).fetchone() is not None

    def _below(self, top: int) -> Iterator[tuple[bytes, bool]]:
        """Paths of what is lost below a page, and whether each is a folder. Each once."""
        last: tuple[bytes, bool] | None = None
        stack: list[tuple[int, bytes, bool]] = [(top, b"", False)]
        while stack:
            page, path, is_file = stack.pop()
            for row in sorted(set(self._held(page, path, is_file=is_file))):
                if row != last:
                    yield row
                last = row
            rows = self._work.db.execute(
                "SELECT child, name, is_file FROM edges WHERE parent = ? AND child IN (SELECT page FROM leading) "
                "ORDER BY name DESC",
                (page,),
            ).fetchall()
            for child, name, of_file in rows:
                stack.append((child, _joined(path, name), is_file or bool(of_file)))

    def _held(self, page: int, path: bytes, *, is_file: bool) -> Iterable[tuple[bytes, bool]]:
        rows = self._work.db.execute(
            "SELECT DISTINCT name, kind FROM holds JOIN chunks USING (kind, pack, offset, inner) WHERE page = ?",
            (page,),
        ).fetchall()
        for name, kind in rows:
            yield _joined(path, name), not (name or is_file) and kind == PackKind.TREE


def _joined(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path and name else path or name
