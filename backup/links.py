"""Files with several hard links: which entries are links of one file, and what was saved for the first of them.

All links of a file get one number, even if only some of them are new to a backup: in a renamed folder, or after a
partial point, one link is new while another is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from backup.files import Contents
from backup.systems.base import Status
from catalog.format.nodes import Node
from catalog.format.pages import Entry


@dataclass
class Link:
    """A file with several links: its number, how many links are still to come, and what was saved for the first."""

    number: int
    left: int
    node: Node | None = None
    contents: Contents | None = None


class Links:
    """The files with several links that a walk has found, until it has found all their links.

    `highest` is the highest number used in this item so far.
    """

    def __init__(self, highest: int) -> None:
        self.highest = highest
        self._open: dict[tuple[int, int], Link] = {}

    def is_same(self, old: Entry, st: Status) -> bool:
        """Whether an unchanged entry keeps its number. If so, counts it as found."""
        if st.st_nlink < 2:
            return True
        link = self._open.get((st.st_dev, st.st_ino))
        if not old.link or (link is not None and link.number != old.link):
            return False
        self._met(link or Link(old.link, st.st_nlink), st)
        return True

    def meet(self, old: Entry | None, st: Status) -> Link:
        """The file that a new or changed entry is a link of."""
        link = self._open.get((st.st_dev, st.st_ino))
        if link is None:
            if old is not None and old.link and old.inode == st.st_ino:
                number = old.link
            else:
                self.highest += 1
                number = self.highest
            link = Link(number, st.st_nlink)
        self._met(link, st)
        return link

    def _met(self, link: Link, st: Status) -> None:
        link.left -= 1
        if link.left > 0:
            self._open[st.st_dev, st.st_ino] = link
        else:
            self._open.pop((st.st_dev, st.st_ino), None)
