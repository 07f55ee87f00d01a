"""Systems that don't say which user is behind a connection."""

from __future__ import annotations

from mount.browse.server.peers.base import Ends


class UnknownPeers:
    """Implements Peers."""

    def is_foreign(self, ends: Ends) -> bool:
        return False
