"""Chooses how users behind connections are found on the operating system that this process runs on."""

from __future__ import annotations

import os

from mount.browse.server.peers.base import Peers


def _chosen() -> Peers:
    if os.name != "nt" and os.uname().sysname == "Linux":
        from mount.browse.server.peers.linux import LinuxPeers

        return LinuxPeers()
    from mount.browse.server.peers.other import UnknownPeers

    return UnknownPeers()


PEERS = _chosen()
