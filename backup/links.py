"""Files with several hard links: which entries are links of one file, and what was saved for the first of them.

All links of a file get one number, even if only some of them are new to a backup: in a renamed folder, or after a
partial point, one link is new while another is unchanged.

A tree of daily copies has millions of files whose other links are far away, or are not backed up at all. So only
the files met last are held in memory; the others are in a temporary database.
"""

from __future__ import annotations

import sqlite3
from itertools import islice
from typing import TypeAlias

import msgspec

from backup.pieces import Contents
from backup.systems.base import Status
from catalog.errors import LocalError
from catalog.format.nodes import Node
from catalog.format.pages import Entry

_HELD = 20_000  # files in memory: about 1 KB each
_Key: TypeAlias = tuple[int, int]  # st_dev, st_ino


class Link(msgspec.Struct):
    """A file with several links: its number, how many links are still to come, and what was saved for the first."""

    number: int
    left: int
    node: Node | None = None
    contents: Contents | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the contents have their places, and the node has them."""
        return self.contents is None or (self.node is not None and self.node.content is not None)


class Links:
    """The files with several links that a walk has found, until it has found all their links.

    `highest` is the highest number used in this item so far. Raises LocalError if the temporary database fails.
    """

    def __init__(self, highest: int) -> None:
        self.highest = highest
        self._open: dict[_Key, Link] = {}  # those met last, in the order in which they were met
        self._away: _Away | None = None
        self._most = _HELD

    def is_same(self, old: Entry, st: Status) -> bool:
        """Whether an unchanged entry keeps its number. If so, counts it as found."""
        if st.st_nlink < 2:
            return True
        link = self._find(st)
        if not old.link or (link is not None and link.number != old.link):
            return False
        self._met(link or Link(old.link, st.st_nlink), st)
        return True

    def meet(self, old: Entry | None, st: Status) -> Link:
        """The file that a new or changed entry is a link of."""
        link = self._find(st)
        if link is None:
            if old is not None and old.link and old.inode == st.st_ino:
                number = old.link
            else:
                self.highest += 1
                number = self.highest
            link = Link(number, st.st_nlink)
        self._met(link, st)
        return link

    def _find(self, st: Status) -> Link | None:
        key = (st.st_dev, st.st_ino)
        link = self._open.get(key)
        if link is None and self._away is not None:
            link = self._away.take(key)
            if link is not None:
                self._open[key] = link
        return link

    def _met(self, link: Link, st: Status) -> None:
        key = (st.st_dev, st.st_ino)
        link.left -= 1
        self._open.pop(key, None)
        if link.left > 0:
            self._open[key] = link  # the last: it is not put away while its entry is being saved
            if len(self._open) > self._most:
                self._put_away()

    def _put_away(self) -> None:
        """Move the first half of the files out of memory."""
        first = islice(self._open.items(), len(self._open) // 2)
        settled = [(key, link) for key, link in first if link.is_settled]
        if self._away is None:
            self._away = _Away()
        self._away.put(settled)
        for key, _link in settled:
            del self._open[key]
        # Files whose contents are still on their way stay: look again when there are more.
        self._most = max(_HELD, len(self._open) + _HELD // 2)


class _Away:
    """Files in a temporary database, which is gone with this object."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE links (device, inode, link, PRIMARY KEY (device, inode)) WITHOUT ROWID")

    def __del__(self) -> None:
        self._db.close()

    def put(self, links: list[tuple[_Key, Link]]) -> None:
        import pickle  # here: few sources have so many links

        rows = [(*map(_signed, key), pickle.dumps((link.number, link.left, link.node))) for key, link in links]
        try:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO links VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as e:
            raise _failed(e) from e

    def take(self, key: _Key) -> Link | None:
        """Remove a file. None if it is not here."""
        import pickle

        where = tuple(map(_signed, key))
        try:
            row = self._db.execute("SELECT link FROM links WHERE device = ? AND inode = ?", where).fetchone()
            if row is not None:
                self._db.execute("DELETE FROM links WHERE device = ? AND inode = ?", where)
        except sqlite3.Error as e:
            raise _failed(e) from e
        return Link(*pickle.loads(row[0])) if row is not None else None


def _failed(error: sqlite3.Error) -> LocalError:
    return LocalError(
        f"the temporary list of hard links failed: {error}", "check that the disk of TMPDIR or /var/tmp has room"
    )


def _signed(number: int) -> int:
    """A number of 64 bits as one with a sign, as the database has them."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >= 1 << 63 else number
