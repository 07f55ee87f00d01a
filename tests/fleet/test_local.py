"""`local:2`: real processes. One fleet serves all tests of the engine, as each takes seconds to start."""

from __future__ import annotations

import os
import platform
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import FleetFailed, StoreUnreachable, UsageError
from catalog.vault import Vault
from mount.fleet.engine import Ended, Fleet
from mount.fleet.opening import check_on
from mount.fleet.pieces import Order, Piece, encode_order, own_version
from tests.kit.cli import Cli
from tests.kit.dask_pieces import answer
from tests.kit.vaults import home_of, make_vault

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.unmeasured,
    pytest.mark.skipif(platform.system() != "Linux", reason="looks into /proc"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]

T = TypeVar("T")


class Local:
    """A vault in a folder and two workers, asked for pieces that only tests have."""

    def __init__(self, folder: Path) -> None:
        from mount.fleet.local import LocalPool
        from mount.fleet.worker import Keys

        self.folder = folder
        self.vault: Vault = make_vault(folder / "vault")
        self.session = Session(
            Settings(home_of(folder / "home", (folder / "vault").as_uri())), vault=(folder / "vault").as_uri()
        )
        self.said: list[str] = []
        self.shared = folder / "tmp"
        (self.shared / "dask-scratch-space").mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(self.shared))
            self.pool = LocalPool(2, Keys(self.vault.keys.master), self.session.settings)
        self.pool.asked = answer
        self.runs = 0

    def fleet(self, *, vault: bytes | None = None, version: str = "") -> Fleet:
        self.runs += 1
        run = str(self.runs)

        def order_of(piece: Piece | None) -> bytes:
            kind, name, body = ("", "", b"") if piece is None else piece[:3]
            return encode_order(
                Order(
                    version or own_version(), run, vault or self.vault.id, self.session.address, kind=kind, id=name,
                    body=body,
                )
            )  # fmt: skip

        return Fleet(self.pool, order_of, self.said.append, patience=20.0)

    def waiting(self, name: str, seconds: float) -> Piece:
        """A piece that waits. Who has begun with it is in the file `name`."""
        body = msgspec.msgpack.encode((str(self.folder / name), seconds))
        return Piece("wait", name, body, f"waiting in {name}")

    def begun(self, name: str) -> list[int]:
        """The processes that have begun with it."""
        path = self.folder / name
        return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    found = Local(tmp_path_factory.mktemp("local"))
    yield found
    pids = found.pool.pids
    found.pool.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def test_pieces_are_run_by_both_and_come_back(local: Local) -> None:
    outcomes = list(local.fleet().run(Piece("echo", str(n), bytes([n]), "") for n in range(30)))
    assert sorted(outcome.result or b"" for outcome in outcomes) == [bytes([n]) for n in range(30)]


def test_the_key_is_nowhere_that_others_can_look(local: Local, capfd: pytest.CaptureFixture[str]) -> None:
    master = local.vault.keys.master
    sent: list[bytes] = []
    start = local.pool._client.submit

    def submit(function: object, *args: object, **options: object) -> object:
        sent.append(repr((args, options)).encode())
        return start(function, *args, **options)

    local.pool._client.submit = submit
    try:
        kinds = ("echo", "fail", "echo")
        outcomes = list(local.fleet().run(Piece(kind, str(n), b"body", "") for n, kind in enumerate(kinds)))
    finally:
        local.pool._client.submit = start
    (error,) = [outcome.error for outcome in outcomes if outcome.error is not None]
    assert type(error) is StoreUnreachable and "sig=abcdef" not in str(error)  # tokens are left out
    forms = (master, master.hex().encode(), repr(master).encode()[2:-1])
    places = {
        "what was sent": b"".join(sent),
        "what came back": repr(outcomes).encode(),
        "the scheduler": _scheduler_state(local),
        "the terminal": "".join(capfd.readouterr()).encode(),
    }
    for pid in local.pool.pids:
        places[f"the command line of {pid}"] = proc(pid, "cmdline")
        places[f"the environment of {pid}"] = proc(pid, "environ")
    for path in Path(local.pool._folder).rglob("*"):
        if path.is_file():
            places[str(path)] = path.read_bytes()
    for where, text in places.items():
        assert not any(form in text for form in forms), where
    assert len(sent) >= 3 and b"body" in places["what was sent"]


def _scheduler_state(local: Local) -> bytes:
    """What the scheduler knows of tasks and says in its log."""
    scheduler = local.pool._scheduler

    async def rows() -> list[str]:  # by its own thread, which goes on with it
        return [repr(list(scheduler.get_events().values())), repr(scheduler.get_logs()), repr(scheduler._to_dict())]

    found: list[str] = local.pool._client.sync(rows)
    return "".join(found).encode()


def test_programs_are_loaded_from_no_folder_that_others_may_have_made(local: Local) -> None:
    assert not list((local.shared / "dask-scratch-space").iterdir())  # Dask's own choice, as another user made it
    (own,) = (path for path in local.shared.iterdir() if path.name != "dask-scratch-space")
    assert own.stat().st_mode & 0o777 == 0o700
    mine = [Path(path) for path in sys.path if "dask" in path and "site-packages" not in path]
    assert mine and all(path.is_relative_to(own) for path in mine)


def test_nobody_else_gets_in(local: Local) -> None:
    address = local.pool._scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    host, port = address.removeprefix("tls://").split(":")
    with socket.create_connection((host, int(port)), 10) as plain:
        plain.sendall(b"\0" * 64)
        plain.settimeout(10)
        assert not _answer(plain).strip(b"\0")[:1].isalpha()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(plain) as secured,  # without a certificate
    ):
        secured.settimeout(10)
        secured.sendall(b"\0" * 64)
        if not secured.recv(10):
            raise ssl.SSLError("closed")
    # Nothing else listens, on any address: no page of Dask's.
    ours = {int(port)} | {int(at.rpartition(":")[2]) for at in local.pool.members()}
    assert _listening([os.getpid(), *local.pool.pids]) == ours


def _answer(plain: socket.socket) -> bytes:
    try:
        return plain.recv(100)
    except OSError:
        return b""


def _listening(pids: list[int]) -> set[int]:
    """The TCP ports at which processes listen."""
    sockets = {
        link.removeprefix("socket:[").rstrip("]")
        for pid in pids
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if (link := _link(fd)).startswith("socket:")
    }
    rows = [
        line.split() for name in ("tcp", "tcp6") for line in proc(os.getpid(), f"net/{name}").decode().split("\n")
    ]
    return {
        int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 9 and row[3] == "0A" and row[9] in sockets
    }


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_a_worker_that_is_killed_is_replaced_and_its_piece_done_again(local: Local) -> None:
    fleet = local.fleet()
    results = set()

    def pieces() -> Iterator[Piece]:
        yield local.waiting("killed", 1.0)
        for n in range(3):
            yield Piece("echo", str(n), b"", "")

    for outcome in fleet.run(pieces()):
        results.add((outcome.piece.id, outcome.error))
        if len(results) == 1:
            (pid,) = _soon(lambda: local.begun("killed"))
            os.kill(pid, signal.SIGKILL)
    assert results == {(name, None) for name in ("killed", "0", "1", "2")}
    assert len(local.begun("killed")) == 2
    assert len(local.pool.pids) == 2


def _soon(what: Callable[[], T]) -> T:
    until = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def test_a_piece_that_kills_its_workers_is_given_up_and_named(local: Local) -> None:
    fleet = local.fleet()
    (outcome,) = fleet.run([Piece("deadly", "d", b"", "the deadly one")])
    assert type(outcome.error) is FleetFailed
    assert "the deadly one: 3 workers ended while they were at it" in str(outcome.error)
    assert fleet.counts.failed == 1


def test_what_is_no_answer_is_refused_and_named(local: Local) -> None:
    (outcome,) = local.fleet().run([Piece("stubborn", "s", b"", "the stubborn one")])
    assert "the stubborn one" in str(outcome.error)


def test_another_vault_and_another_version_are_refused_in_a_line(local: Local) -> None:
    for options, word in (({"vault": b"x" * 16}, "is the vault"), ({"version": "9.9/9"}, "is installed there")):
        local.said.clear()
        fleet = local.fleet(**options)
        fleet._patience = 1.5
        with pytest.raises(FleetFailed, match="no worker can do anything"):
            list(fleet.run([Piece("echo", "e", b"", "")]))
        assert len(local.said) == 1 and word in local.said[0] and platform.node() in local.said[0]


def test_what_is_stopped_is_told_to_stop(local: Local) -> None:
    """As by Ctrl-C: the run ends by an exception, at whatever it waits for."""
    began = local.folder / "stop0"
    pieces = [local.waiting(f"stop{n}", 30.0) for n in range(9)]
    ended = local.pool.ended

    def interrupted(seconds: float) -> list[Ended]:
        if began.exists():
            raise KeyboardInterrupt
        return ended(seconds)

    local.pool.ended = interrupted  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            list(local.fleet().run(pieces))
    finally:
        local.pool.ended = ended  # type: ignore[method-assign]
    _soon((local.folder / "stop0.stopped").exists)
    assert not local.begun("stop5")
    (outcome,) = local.fleet().run([Piece("echo", "after", b"", "")])
    assert outcome.error is None


def test_the_option_names_what_it_can_be(rpdrive: Cli, vault: Vault) -> None:
    for on in ("local", "local:0", "local:x", "dask:", "tcp://x:1", "local:1000"):
        with pytest.raises(UsageError, match="is no fleet"):
            check_on(on)
    assert check_on("local:3") == (3, "") and check_on("dask://h:1/") == (0, "h:1")
    text = rpdrive.fails("fleet", "check", "--on", "dask://192.0.2.1:8786", code=2)
    assert "without TLS, everybody on the way to 192.0.2.1 could run programs" in text
    config = rpdrive.home / "dask"
    config.mkdir(parents=True)
    for on, yaml, said in (
        ("local:2", ": : [", "Dask's configuration can't be read"),
        (
            "dask://127.0.0.1:1",
            "distributed: {comm: {tls: {ca-file: /nothere, client: {cert: /x, key: /x}}}}",
            "/nothere",
        ),
    ):
        (config / "fleet.yaml").write_text(yaml)
        text = rpdrive.fails("fleet", "check", "--on", on, code=2, env={"DASK_CONFIG": str(config)})
        assert said in text and "fleet.md" in text
    hidden = "import sys\nsys.modules['distributed'] = None\nimport rpdrive\nsys.exit(rpdrive.run(sys.argv[1:]))"
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", hidden, "fleet", "check", "--on", "local:2"], env=rpdrive.environ,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and b"rpdrive[fleet]" in done.stderr and done.stderr.count(b"\n") == 1
