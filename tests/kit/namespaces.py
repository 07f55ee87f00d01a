"""Machines of their own, as far as the network goes: Linux network namespaces joined to this one by a cable."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.kit.cli import Cli

NETWORK = "198.18.{}.{}"  # reserved for benchmarks of networks (RFC 2544)


class NamespacedCli(Cli):
    """Commands that run in a network namespace. Files and mounts are those of the whole machine."""

    def __init__(self, folder: Path, namespace: str, address: str, gateway: str) -> None:
        super().__init__(folder)
        self.namespace, self.address, self.gateway = namespace, address, gateway

    def command(self, *args: str | Path | bytes) -> list[str | Path | bytes]:
        # Not `ip netns exec`: it would hide the drive in a mount namespace of its own.
        return self.inside(*super().command(*args))

    def inside(self, *command: str | Path | bytes) -> list[str | Path | bytes]:
        """A command line that runs another in the namespace."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *command]


def _ip(*args: str) -> str:
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(args)}: {done.stderr.strip()} (it needs root and network namespaces)")
    return done.stdout


def _free_network() -> int:
    taken = _ip("-4", "-o", "addr")
    return secrets.choice([n for n in range(1, 255) if NETWORK.format(n, 1) not in taken])


@contextmanager
def machines(folder: Path, *names: str) -> Iterator[list[NamespacedCli]]:
    """Machines that reach this one, each at its own `gateway`, but not each other. Removed at the end."""
    tag = f"{os.getpid() % 10_000}{secrets.token_hex(1)}"
    made = []
    with ExitStack() as stack:
        for n, name in enumerate(names):
            namespace, cable = f"rpdrive-{name}-{tag}", f"rp{n}{tag}"
            network = _free_network()
            here, there = NETWORK.format(network, 1), NETWORK.format(network, 2)
            _ip("netns", "add", namespace)
            stack.callback(subprocess.run, ["ip", "netns", "del", namespace], check=False)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            stack.callback(subprocess.run, ["ip", "link", "del", cable], check=False)
            _ip("addr", "add", f"{here}/30", "dev", cable)
            _ip("link", "set", cable, "up")
            for args in (
                ("addr", "add", f"{there}/30", "dev", "eth0"),
                ("link", "set", "lo", "up"),
                ("link", "set", "eth0", "up"),
                ("route", "add", "default", "via", here),
            ):
                _ip("-n", namespace, *args)
            made.append(NamespacedCli(folder / name, namespace, there, here))
        yield made
