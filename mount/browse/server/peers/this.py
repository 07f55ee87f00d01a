"""Chooses how users behind connections are found on the operating system that this process runs on."""

from __future__ import annotations

import os
import socket

from mount.browse.server.peers.base import Peers


def _chosen() -> Peers:
    if hasattr(socket, "AF_NETLINK") and hasattr(os, "geteuid"):
        from mount.browse.server.peers.linux import LinuxPeers

        return LinuxPeers()
    from mount.browse.server.peers.other import UnknownPeers

    return UnknownPeers()


PEERS = _chosen()
