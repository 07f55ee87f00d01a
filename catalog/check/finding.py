"""What a check finds: one type for every level."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from catalog.format.blocks import PackKind
from catalog.format.records import PointName


class What(StrEnum):
    """The kind of a finding. The words are stable: `--json` and records of checks have them."""

    MISSING = "missing"  # an object that points refer to
    SHORT = "short"  # an object that ends before the last block that points refer to
    PAGE = "damaged page"
    BLOCK = "damaged block"
    CONTENTS = "damaged contents"  # the table of contents of a pack, header and trailer included: no file needs it
    POINT = "damaged point"  # its record
    GAP = "gap"  # points that nothing explains the absence of
    UNSOUND = "unsound point"  # its evidence was old when it was stored, and what it refers to may be gone
    TREE = "wrong tree"  # totals, foreign packs, places outside of packs
    RECORD = "damaged record"  # of a machine, an item, a policy, …
    MINOR = "damaged record that nothing needs"
    UNSIGNED = "unsigned record"
    NEWER = "newer record"
    STRANGE = "unknown object"  # nothing reads an object of this name
    OTHER = "other"


WARNINGS = frozenset({What.CONTENTS, What.UNSOUND, What.MINOR, What.UNSIGNED, What.NEWER, What.STRANGE})


class Finding(NamedTuple):
    """One fault, found by the check of `level`.

    `object` is the name of the object that has it. `kind`, `pack`, `offset` and `stored` say which bytes of a pack
    are bad, if any: a sealed block, or all of the pack if `stored` is 0. `points` and `path` are where it is met.
    `acknowledged`: a record of places says that it is lost. `healed`: every file has another copy of what is lost.
    """

    level: int
    what: What
    object: str
    reason: str
    kind: PackKind | None = None
    pack: bytes = b""
    offset: int = 0
    stored: int = 0
    points: tuple[PointName, ...] = ()
    path: bytes = b""
    acknowledged: bool = False
    healed: bool = False

    @property
    def is_damage(self) -> bool:
        """Whether something is damaged or missing that is not known to be: the check ends with exit code 9."""
        return self.what not in WARNINGS and not self.acknowledged and not self.healed
