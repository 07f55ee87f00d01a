"""Other points that have a folder which one point has lost."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.direct import DirectSource
from catalog.errors import RpdriveError
from catalog.format.records import PointName
from catalog.points.choice import find
from catalog.tree import leaves
from catalog.vault import Vault

_TRIED = 40  # points, the nearest ones first


def readable_version(vault: Vault, names: Sequence[PointName], of: PointName, path: bytes) -> PointName | None:
    """The nearest point of the same item whose version of a folder can be listed; None if none of some 40 can.

    `names` are those of points.
    """
    others = [n for n in names if (n.machine, n.item) == (of.machine, of.item) and n != of and not n.partial]
    others.sort(key=lambda n: (abs(n.sequence - of.sequence), -n.sequence))
    for name in others[:_TRIED]:
        try:
            point = vault.point(name)
            source = DirectSource(vault)
            place = find(source, point.root.subtree() if point.root else None, path)
            if place.is_folder:
                for _page in leaves(source, place.folder, place.number):
                    pass
                return name
        except RpdriveError:
            continue
    return None
