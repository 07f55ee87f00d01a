"""A scheduler of Dask and its workers, each in a network namespace of its own, with TLS: a fleet of machines.

All are on one bridge, at whose own address stands what they share, e.g. Azurite. Each worker has a home of its own,
and a saved key of the vault or a file with its passphrase.
"""

from __future__ import annotations

import datetime
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.kit.cli import ROOT, Cli
from tests.kit.namespaces import NETWORK, _free_network, _ip
from tests.kit.vaults import PASSPHRASE

PORT = 8786
PATIENCE = 60.0  # seconds
# A worker that is cut off is given up after some seconds.
SETTINGS = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s",
}


class Certificates:
    """An authority, and a certificate of it for all that take part: what Dask's settings name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.authority, self.certificate, self.key = (folder / n for n in ("ca.pem", "cert.pem", "key.pem"))
        own = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
        self.authority.write_bytes(self._signed(issuer, issuer, own, own, is_authority=True))
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fleet")])
        self.certificate.write_bytes(self._signed(name, issuer, key, own, is_authority=False))
        self.key.touch(0o600)
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @staticmethod
    def _signed(
        name: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        by: ec.EllipticCurvePrivateKey,
        *,
        is_authority: bool,
    ) -> bytes:
        now = datetime.datetime.now(tz=datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(by, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    @property
    def environ(self) -> dict[str, str]:
        own = {"CA_FILE": self.authority}
        for role in ("SCHEDULER", "WORKER", "CLIENT"):
            own |= {f"{role}__CERT": self.certificate, f"{role}__KEY": self.key}
        found = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in own.items()}
        return found | {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}


class Net:
    """A bridge of this machine, and namespaces on it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._tag = f"{os.getpid() % 10_000}{secrets.token_hex(1)}"
        self._number, self._count = _free_network(), 1
        self.bridge, self.address = f"rpb{self._tag}", NETWORK.format(self._number, 1)
        _ip("link", "add", self.bridge, "type", "bridge")
        self._stack.callback(subprocess.run, ["ip", "link", "del", self.bridge], check=False)
        _ip("addr", "add", f"{self.address}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def add(self, name: str) -> Machine:
        """A namespace with an address of its own."""
        self._count += 1
        namespace, cable = f"rpdrive-{name}-{self._tag}", f"rpf{self._count}{self._tag}"
        address = NETWORK.format(self._number, self._count)
        _ip("netns", "add", namespace)
        self._stack.callback(subprocess.run, ["ip", "netns", "del", namespace], check=False)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", cable, "master", self.bridge)
        _ip("link", "set", cable, "up")
        for args in (
            ("addr", "add", f"{address}/24", "dev", "eth0"),
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
        ):
            _ip("-n", namespace, *args)
        return Machine(name, namespace, cable, address)

    def close(self) -> None:
        self._stack.close()


class Machine:
    """A namespace, and a process in it."""

    def __init__(self, name: str, namespace: str, cable: str, address: str) -> None:
        self.name, self.namespace, self.cable, self.address = name, namespace, cable, address
        self.process: subprocess.Popen[bytes] | None = None
        self.log = Path(os.devnull)
        self.environ: dict[str, str] = {}

    def start(self, folder: Path, environ: Mapping[str, str], *command: str) -> None:
        """Start a module of Python here; its output goes to `log`."""
        self.log, self.environ = folder / f"{self.name}.log", dict(environ)
        with self.log.open("ab") as log:
            # `-P`, as it is installed: what is in the current folder is not found.
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.namespace}", sys.executable, "-P", "-m", *command],
                env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
                start_new_session=True,
            )  # fmt: skip

    def cut(self) -> None:
        """Cut it off: nothing gets in or out, and nobody is told."""
        _ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        _ip("link", "set", self.cable, "up")

    def kill(self) -> None:
        """End it as kill -9 does, with all that it has started."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()


class FleetKit:
    """A scheduler with workers. `on` is what --on is to be; `environ` is added to the command's environment."""

    def __init__(self, folder: Path, net: Net) -> None:
        self.folder, self.net = folder, net
        self.certificates = Certificates(folder / "certificates")
        self.scheduler = net.add("scheduler")
        self.workers: list[Machine] = []
        self.on = f"dask://{self.scheduler.address}:{PORT}"
        self.environ = self.certificates.environ | SETTINGS
        self._client: Any = None

    def start_scheduler(self) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RPDRIVE_", "AZURE_"))}
        self.scheduler.start(
            self.folder, own | self.environ, "distributed.cli.dask_scheduler", "--protocol", "tls",
            "--host", self.scheduler.address, "--port", str(PORT), "--no-dashboard", "--no-show", "--no-jupyter",
        )  # fmt: skip

    def add_worker(self, environ: Mapping[str, str], *, has_key: bool = True, saved: bool = False) -> Machine:
        """A worker with a home of its own: by a saved key, or a file with the passphrase, or none.

        `environ` is what it needs for the store, and RPDRIVE_VAULT.
        """
        number = len(self.workers) + 1
        machine = self.net.add(f"worker{number}")
        cli = Cli(self.folder / f"machine{number}")
        cli.home.parent.mkdir(exist_ok=True)
        cli.environ |= environ
        if saved:
            cli.ok("vault", "unlock", "--save")
        own = {name: value for name, value in cli.environ.items() if name != "RPDRIVE_PASSPHRASE"}
        if has_key and not saved:
            file = cli.home.parent / "passphrase"
            file.touch(0o600)
            file.write_text(PASSPHRASE)
            own["RPDRIVE_PASSPHRASE_FILE"] = str(file)
        machine.start(
            self.folder, own | self.environ | {"PYTHONPATH": str(ROOT)}, "distributed.cli.dask_worker",
            f"tls://{self.scheduler.address}:{PORT}", "--host", machine.address, "--nthreads", "1", "--no-nanny",
            "--no-dashboard", "--name", machine.name, "--local-directory", str(cli.home.parent / "dask"),
        )  # fmt: skip
        self.workers.append(machine)
        return machine

    # --- asking the scheduler -----------------------------------------------------------------------------

    @property
    def client(self) -> Any:
        """A client of the scheduler, to look."""
        if self._client is None:
            from distributed import Client, Security

            paths = self.certificates
            security = Security(
                tls_ca_file=str(paths.authority), tls_client_cert=str(paths.certificate),
                tls_client_key=str(paths.key), require_encryption=True,
            )  # fmt: skip
            at = f"tls://{self.scheduler.address}:{PORT}"
            self._client = Client(at, security=security, timeout=PATIENCE, set_as_default=False)
        return self._client

    def names(self) -> set[str]:
        """The names of the workers that the scheduler knows."""
        return {str(row["name"]) for row in self.client.scheduler_info(n_workers=-1)["workers"].values()}

    def busy(self) -> dict[str, list[str]]:
        """The pieces that workers have now, by name of worker."""
        names = {at: str(row["name"]) for at, row in self.client.scheduler_info(n_workers=-1)["workers"].items()}
        return {names[at]: list(map(str, keys)) for at, keys in self.client.processing().items() if at in names}

    def wait_for(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it did not happen in time"
            time.sleep(0.02)

    def busy_one(self, workers: Sequence[Machine]) -> Machine:
        """Wait until one of these workers has a piece of a run, and not only the first question."""
        found: list[Machine] = []

        def look() -> bool:
            at = self.busy()
            found[:] = [
                one
                for one in workers
                if any(int(key.rpartition("-")[2]) > len(self.workers) for key in at.get(one.name, []))
            ]
            return bool(found)

        self.wait_for(look)
        return found[0]

    def wait_until_busy(self, worker: Machine) -> None:
        """The same for one worker."""
        self.busy_one([worker])

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        for machine in (*self.workers, self.scheduler):
            machine.mend()
            machine.kill()


@contextmanager
def running_fleet(folder: Path) -> Iterator[FleetKit]:
    """A scheduler with no workers yet. Needs root and network namespaces."""
    folder.mkdir(exist_ok=True)
    net = Net()
    try:
        kit = FleetKit(folder, net)
        kit.start_scheduler()
        try:
            yield kit
        finally:
            kit.close()
    finally:
        net.close()
