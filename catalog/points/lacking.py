"""What a copy of a vault does not have yet, by what this machine has seen of the vault."""

from __future__ import annotations

from catalog.access.settings import Settings
from catalog.points.seen import Seen
from catalog.screen.text import counted
from catalog.vault import Vault


def lacking(settings: Settings, place: Vault) -> str:
    """In words, how far a copy is behind; "" if it has the newest points of all items that this machine has seen.

    One listing. Raises StoreError.
    """
    highest: dict[tuple[bytes, bytes], int] = {}
    for seen in Seen(settings.state_to_read, place).elsewhere().values():
        for key, sequence in seen.items():
            highest[key] = max(highest.get(key, 0), sequence)
    if not highest:
        return ""
    there: dict[tuple[bytes, bytes], int] = {}
    for name in place.each_point_name():
        if not name.partial:
            key = name.machine, name.item
            there[key] = max(there.get(key, 0), name.sequence)
    behind = [sequence - there.get(key, 0) for key, sequence in highest.items() if there.get(key, 0) < sequence]
    if not behind:
        return ""
    points, items = counted(sum(behind), "newer point"), counted(len(behind), "item")
    return f"this copy is behind: {points} of {items}, which this machine has seen, can't be read now"
