"""The system that this process runs on: chosen here and nowhere else in this package."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backup.systems.posix import PosixSystem
    from backup.systems.windows import WindowsSystem

# Each is imported where it is chosen: neither can be imported on the other system.
if sys.platform == "win32":

    def this_system(*, fetch: bool = False) -> WindowsSystem:
        """The system of this process. `fetch`: download files whose contents are only in a cloud."""
        from backup.systems.windows import WindowsSystem

        return WindowsSystem(fetch=fetch)

    def not_to_back_up(*, snapshot: bool) -> list[str]:
        """Rules for files that Windows asks backups to leave out. `snapshot`: also those that no snapshot has."""
        from catalog.windows.not_to_backup import rules
        from catalog.windows.registry import WindowsRegistry

        return rules(WindowsRegistry(), snapshot=snapshot)

else:

    def this_system(*, fetch: bool = False) -> PosixSystem:
        """The system of this process. `fetch` changes nothing: no file is only in a cloud."""
        from backup.systems.posix import PosixSystem

        return PosixSystem()

    def not_to_back_up(*, snapshot: bool) -> list[str]:
        """Rules for files that the system asks backups to leave out: none."""
        return []
