"""A real Azurite (the emulator of Azure Blob Storage that Microsoft publishes), run for the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azure.storage.blob import ContainerClient

from tests.kit.needs import AZURITE, INSTALL

ACCOUNT = "devstoreaccount1"
# The key that Azurite and its documentation give to everybody.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
PATIENCE = 60  # seconds, for a start on a busy machine


@dataclass(frozen=True)
class Azurite:
    """A running one. `endpoint` is the address of its only account."""

    endpoint: str

    @property
    def connection_string(self) -> str:
        return self.connection_string_for(self.endpoint)

    @staticmethod
    def connection_string_for(endpoint: str) -> str:
        """As `connection_string`, but by another way to it, such as a proxy."""
        return f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint}"

    @property
    def environ(self) -> dict[str, str]:
        """What rpdrive needs in its environment to reach it."""
        plain = {} if "//127." in self.endpoint else {"RPDRIVE_ALLOW_HTTP": "1"}
        return {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string, **plain}

    def container(self, name: str) -> ContainerClient:
        """A new container, as the SDK shows it: around the store under test."""
        client = ContainerClient.from_connection_string(self.connection_string, name)
        client.create_container()
        return client


@contextmanager
def running_azurite(
    folder: Path, host: str = "127.0.0.1", *, certificate: tuple[Path, Path] | None = None
) -> Iterator[Azurite]:
    """Azurite on a free port of this machine's address `host`, with its data in `folder`; ended afterwards.

    With a certificate and its key it speaks TLS, and takes tokens of signed-in users (it looks at what they say,
    not at who signed them).
    """
    node = shutil.which("node")
    if node is None or not AZURITE.is_file():
        raise RuntimeError(f"Azurite is not installed: {INSTALL}")
    with socket.socket() as finder:
        finder.bind((host, 0))
        port = finder.getsockname()[1]
    log = folder / "output.txt"
    more: list[str | Path] = (
        ["--oauth", "basic", "--cert", certificate[0], "--key", certificate[1]] if certificate else []
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                node,
                AZURITE,
                f"--blobHost={host}",
                f"--blobPort={port}",
                f"--location={folder}",
                "--skipApiVersionCheck",
                "--disableTelemetry",
                "--silent",
                *more,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NODE_NO_WARNINGS": "1"},
        )
    try:
        _wait(process, host, port, log)
        yield Azurite(f"{'https' if certificate else 'http'}://{host}:{port}/{ACCOUNT}")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    give_up = time.monotonic() + PATIENCE
    while True:
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"Azurite did not start:\n{log.read_text(errors='replace')}")
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
