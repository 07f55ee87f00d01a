"""How a drive is opened, asked for its status and closed on Windows: handles, the pipe, places. With doubles.

docs/windows.md lists what they can't show.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rpdrive
from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.errors import MountFailed
from catalog.program import child_environment
from catalog.windows.machine import free_letter
from mount import closing, listing, opening
from mount.drivers import choice
from mount.drivers.winfsp import security as winfsp_security
from mount.place.spelling import Place
from mount.place.windows import WindowsPlaces
from mount.process import service
from mount.process import windows as windows_process
from mount.process.base import Pipes
from mount.process.control import pipe_status
from mount.process.control.pipe_status import PipeServer
from mount.process.control.windows import ClosableDrive, WindowsControl
from mount.process.lifetime import Lifetime
from mount.process.order import Order
from mount.process.posix import PosixProcesses
from mount.process.registry import Registry
from mount.process.rows import DriveInfo, DriveStatus, Endpoint
from mount.process.windows import WindowsProcesses
from tests.kit.drives import ROOT, Maker, add_machine, add_point, eventually
from tests.kit.vaults import PASSPHRASE, make_vault
from tests.kit.winfsp import standin
from tests.kit.winfsp.caller import Caller
from tests.kit.winfsp_drives import USER

# --- a whole drive ----------------------------------------------------------------------------------------------


class Control(WindowsControl):
    """As on Windows, but with a socket in place of a pipe. Processes that it would end are noted."""

    def __init__(self, folder: Path) -> None:
        self.ended: list[int] = []
        socket = str(folder / f"pipe-{secrets.token_hex(4)}")
        super().__init__(free_pipe=lambda: socket, end=self.ended.append)


class Opened(NamedTuple):
    """A drive that this very process serves."""

    drives: Registry
    control: Control
    caller: Caller
    thread: threading.Thread


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """A drive as `rpdrive mount R: --foreground` serves it."""
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", b"contents")]), 1)
    monkeypatch.setenv("RPDRIVE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(winfsp_security, "user_sid", lambda: USER)
    order = Order(
        address=(tmp_path / "vault").as_uri(), vault_file=Order.vault_text(vault), master=vault.keys.master,
        mount_point=b"R:", point="latest", driver="winfsp",
    )  # fmt: skip
    ready = threading.Event()
    standin.faults.clear()
    control = Control(tmp_path)
    thread = threading.Thread(
        target=service.serve, args=(order, Session(), lambda notices: ready.set(), control), daemon=True
    )
    thread.start()
    assert ready.wait(60)
    volume = standin.volume_at("R:")
    assert volume is not None
    drives = Registry(Settings(), PosixProcesses())
    monkeypatch.setattr(drives, "await_end", lambda row: True)  # this very process serves it
    yield Opened(drives, control, Caller(volume), thread)
    if thread.is_alive():
        control.close(drives, Path("R:"), lazy=True)
        thread.join(60)
    assert control.ended == []
    assert standin.faults == []


def test_a_drive_reports_its_status_and_closes_unless_in_use(opened: Opened) -> None:
    drives, control, caller, thread = opened
    assert caller.read("\\file") == b"contents"
    (row,) = drives.drives()
    assert row.mount_point == "R:" and row.socket is None and row.pipe and row.token
    answer = control.ask(row)
    assert answer is not None and answer.driver["name"] == "winfsp" and answer.bytes_served == 8
    assert row.token not in str(answer) and "token" not in str(answer) and "key" not in str(answer).lower()
    with caller.open("\\file"), pytest.raises(MountFailed, match="in use: 1 open file or folder"):
        control.close(drives, Path("R:"), lazy=False)
    assert control.is_open(drives, Path("R:"))
    control.close(drives, Path("R:"), lazy=False)
    thread.join(60)
    assert not thread.is_alive() and standin.volume_at("R:") is None and drives.drives() == []
    assert not control.is_open(drives, Path("R:"))
    with pytest.raises(MountFailed, match="no rpdrive drive"):
        control.close(drives, Path("R:"), lazy=False)


def test_a_lazy_close_works_while_in_use(opened: Opened) -> None:
    drives, control, caller, thread = opened
    handle = caller.open("\\file")
    control.close(drives, Path("R:"), lazy=True)
    thread.join(60)
    assert not thread.is_alive()
    handle.close()


def test_a_drive_that_does_not_answer_is_ended_only_lazily(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drives, control = Registry(Settings({"RPDRIVE_HOME": str(tmp_path)}), PosixProcesses()), Control(tmp_path)
    monkeypatch.setattr(drives, "await_end", lambda row: True)
    info = DriveInfo(mount_point="R:", pid=os.getpid())
    drives.add(Path("R:"), info, Endpoint(pipe=str(tmp_path / "nobody"), token="00" * 32))
    with pytest.raises(MountFailed, match="does not answer"):
        control.close(drives, Path("R:"), lazy=False)
    assert control.ended == []
    control.close(drives, Path("R:"), lazy=True)
    assert control.ended == [os.getpid()]


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """rpdrive mount, mounts and unmount, as on Windows."""
    vault = make_vault(tmp_path / "vault")
    add_machine(vault)
    m = Maker(vault)
    add_point(vault, m.root([m.file(b"file", b"contents")]), 1)
    monkeypatch.setenv("RPDRIVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RPDRIVE_VAULT", (tmp_path / "vault").as_uri())
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", PASSPHRASE)
    monkeypatch.delenv("RPDRIVE_DRIVER", raising=False)
    monkeypatch.setattr(winfsp_security, "user_sid", lambda: USER)
    control = Control(tmp_path)
    for module in (opening, closing):
        monkeypatch.setattr(module, "PLACES", WindowsPlaces(lambda: letters("CR")))
    for module in (closing, listing, service):
        monkeypatch.setattr(module, "CONTROL", control)
    monkeypatch.setattr(choice, "IS_WINDOWS", True)
    monkeypatch.setattr(Registry, "await_end", lambda self, row: True)  # this very process serves it
    standin.faults.clear()
    codes: list[int] = []
    arguments = ["mount", "*", "--point", "latest", "--foreground"]
    thread = threading.Thread(target=lambda: codes.append(rpdrive.run(arguments)), daemon=True)
    thread.start()
    eventually(lambda: standin.volume_at("S:") is not None or not thread.is_alive(), "the drive is open")
    volume = standin.volume_at("S:")
    assert volume is not None and Caller(volume).read("\\file") == b"contents"
    eventually(lambda: "open at S:" in capsys.readouterr().out, "the place is printed")
    assert rpdrive.run(["mounts", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["mount_point"] == "S:" and row["answers"] and row["driver"]["name"] == "winfsp"
    assert "token" not in row and "pipe" not in row
    assert rpdrive.run(["unmount", "T:"]) == 10
    assert rpdrive.run(["mount", "R:", "--point", "latest"]) == 10
    assert rpdrive.run(["mount", "U:", "--driver", "kernel"]) == 2
    assert rpdrive.run(["unmount", "s:\\"]) == 0
    thread.join(60)
    assert codes == [0] and standin.volume_at("S:") is None and standin.faults == []


def test_a_drive_closes_by_itself() -> None:
    class Drive:
        handles = 0
        stopped = threading.Event()

        def stop(self) -> None:
            self.stopped.set()

    drive = Drive()
    lifetime = Lifetime(ClosableDrive(Path("R:"), drive), lambda: 1, idle=0.05)
    lifetime.start()
    assert drive.stopped.wait(60)
    lifetime.close()


# --- the pipe ---------------------------------------------------------------------------------------------------


STATUS = DriveStatus(mount_point="R:", pid=7, vault="well")


class Server(PipeServer):
    def __init__(self, folder: Path) -> None:
        self.asked: list[bool] = []
        super().__init__(str(folder / "pipe"), lambda: STATUS, self._close_it)

    def _close_it(self, lazy: bool) -> str:
        self.asked.append(lazy)
        return "" if lazy else "a file is open"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()


def address(server: Server) -> tuple[str, str]:
    found = server.endpoint
    assert found.pipe is not None and found.token is not None and found.socket is None
    return found.pipe, found.token


def test_the_pipe_answers_callers_with_the_token(server: Server) -> None:
    pipe, token = address(server)
    assert pipe_status.ask(pipe, token) == STATUS
    assert pipe_status.ask_to_close(pipe, token, lazy=False) == "a file is open"
    assert pipe_status.ask_to_close(pipe, token, lazy=True) == ""
    assert server.asked == [False, True]
    assert pipe_status._request(pipe, token, "anything else", 5.0) is None


def test_a_caller_without_the_token_gets_nothing(server: Server) -> None:
    """Windows lets every user read from a pipe: a caller that only listens gets a challenge."""
    assert pipe_status.ask(server.address, "00" * 32) is None
    with Client(server.address) as listener:
        heard = listener.recv_bytes()
        assert b"well" not in heard and server.token not in heard
        # Meanwhile others are answered.
        assert pipe_status.ask(*address(server)) == STATUS
    with Client(server.address) as liar:
        liar.recv_bytes()
        liar.send_bytes(b"x" * 64)
        assert b"well" not in liar.recv_bytes()
    assert server.asked == []


def test_a_closed_pipe_does_not_answer(server: Server) -> None:
    server.close()
    assert pipe_status.ask(*address(server), timeout=5) is None


# --- the process ------------------------------------------------------------------------------------------------


def test_a_child_inherits_two_handles_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    marked: dict[int, bool] = {}
    started: dict[str, Any] = {}

    class StartupInfo:
        def __init__(self, *, lpAttributeList: dict[str, list[int]]) -> None:
            self.lpAttributeList = lpAttributeList

    def popen(command: list[str], **how: Any) -> str:
        assert marked == {41: True, 42: True}  # or Windows refuses the list
        started.update(how, command=command)
        return "process"

    monkeypatch.setattr(os, "set_handle_inheritable", marked.__setitem__, raising=False)
    monkeypatch.setattr(subprocess, "STARTUPINFO", StartupInfo, raising=False)
    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(windows_process, "_handle_of", lambda descriptor: descriptor + 36)
    monkeypatch.setenv("RPDRIVE_PASSPHRASE", "a secret of sixteen")
    process: Any = WindowsProcesses().start("mount.process.background", Pipes(5, 6), ["R:"], 3)
    assert process == "process"
    assert started["startupinfo"].lpAttributeList == {"handle_list": [41, 42]} and started["close_fds"] is True
    assert "main(41, 42)" in started["command"][3] and started["command"][4:] == ["R:"]
    assert "a secret of sixteen" not in started["env"].values() and started["stdin"] == subprocess.DEVNULL
    assert started["creationflags"] & 0x08000000  # no window
    assert marked == {41: False, 42: False}  # no other child inherits them

    def fails(*_arguments: Any, **_how: Any) -> None:
        raise OSError("no such program")

    monkeypatch.setattr(subprocess, "Popen", fails)
    with pytest.raises(OSError, match="no such"):
        WindowsProcesses().start("mount.process.background", Pipes(5, 6), [], 3)
    assert marked == {41: False, 42: False}


class Substitute(WindowsProcesses):
    """Starts a program that writes to a file what it reads, in place of the drive's process."""

    def __init__(self, got: Path) -> None:
        self._got = got
        self.seen: dict[str, Any] = {}

    def start(self, module: str, pipes: Pipes, words: Sequence[str], log: int) -> subprocess.Popen[bytes]:
        self.seen.update(module=module, words=words, environment=child_environment())
        script = (
            "import os, sys; data = os.fdopen(int(sys.argv[1]), 'rb').read();"
            "os.write(int(sys.argv[2]), b'{\"ready\": true}\\n'); open(sys.argv[3], 'wb').write(data)"
        )
        return subprocess.Popen(
            [sys.executable, "-c", script, str(pipes.order), str(pipes.answer), str(self._got)],
            pass_fds=pipes, stdout=log, stderr=log,
        )  # fmt: skip


def test_the_key_goes_to_the_child_by_a_handle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real child, with descriptors where Windows has handles."""
    import msgspec

    from mount.process.background import BackgroundDrive

    monkeypatch.setenv("RPDRIVE_PASSPHRASE", "a secret of sixteen")
    monkeypatch.setattr(WindowsPlaces, "answers", lambda self, place: True)
    master = bytes(range(32))
    order = Order(address="file:///v", vault_file="{}", master=master, mount_point=b"R:")
    processes = Substitute(tmp_path / "got")
    drive = BackgroundDrive(Settings({"RPDRIVE_HOME": str(tmp_path)}), Path("R:"), WindowsPlaces(), processes)
    drive.mount(order)
    drive._process.wait(60)
    assert msgspec.msgpack.decode((tmp_path / "got").read_bytes(), type=Order).master == master
    shown = repr(processes.seen).encode()
    assert master.hex().encode() not in shown and repr(master).encode() not in shown and b"a secret" not in shown


def test_processes_are_queried_and_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """os.kill(pid, 0) sends Ctrl+C there."""
    processes = WindowsProcesses({7: "1234"}.get)
    monkeypatch.setattr(os, "kill", None)
    assert processes.is_running(7, "1234")
    assert not processes.is_running(7, "99") and not processes.is_running(8, "1234")
    assert not processes.is_running(8, None)
    assert processes.started(7) == "1234"


# --- places -----------------------------------------------------------------------------------------------------


def letters(these: str) -> int:
    return sum(1 << (ord(letter) - ord("A")) for letter in these)


def test_where_a_drive_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WindowsPlaces, "answers", lambda self, place: str(place) == r"\\rpdrive\old")
    places = WindowsPlaces(lambda: letters("CDR"))

    def prepare(text: str) -> str:
        return str(places.prepare(Path(text), ()))

    assert prepare("t:") == "T:" and prepare("*") == "S:" and prepare(r"\\rpdrive\docs") == r"\\rpdrive\docs"
    for there in ("C:", "d:\\", r"\\rpdrive\old"):
        with pytest.raises(MountFailed, match="is already in use"):
            prepare(there)
    with pytest.raises(MountFailed, match="new drives only"):
        places.absolute(Path("*"))
    assert places.is_next_free(Path("*")) and not places.is_next_free(Path("R:"))


def test_which_folders_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Paths of this system, for there are no others here."""
    place = Place(str(tmp_path / "drive"), "", str(tmp_path / "drive"))
    monkeypatch.setattr(WindowsPlaces, "place", lambda self, path: place)
    prepare = WindowsPlaces().prepare
    assert prepare(Path("drive"), ()) == tmp_path / "drive"
    (tmp_path / "drive").mkdir()
    assert prepare(Path("drive"), [("the vault", tmp_path / "vault")]) == tmp_path / "drive"
    for own in (tmp_path, tmp_path / "drive", tmp_path / "drive" / "vault"):
        with pytest.raises(MountFailed, match="overlaps the vault"):
            prepare(Path("drive"), [("the vault", own)])
    (tmp_path / "drive" / "file").touch()
    with pytest.raises(MountFailed, match="not empty"):
        prepare(Path("drive"), ())
    place = Place(str(tmp_path / "drive" / "file"), "", "")
    with pytest.raises(MountFailed, match="not a folder"):
        prepare(Path("file"), ())
    place = Place(str(tmp_path / "none" / "drive"), "", "")
    with pytest.raises(MountFailed, match="the folder above the mount point"):
        prepare(Path("none/drive"), ())


def test_the_next_free_letter() -> None:
    assert free_letter(letters("C")) == "R"
    assert free_letter(letters("CRS")) == "T"
    assert free_letter(letters("CRSTUVWXYZ")) == "Q"
    assert free_letter(letters("CDEFGHIJKLMNOPQRSTUVWXYZ")) is None  # A and B are for floppy disks


def test_an_open_drive_is_in_use_by_its_handles() -> None:
    class Drive:
        handles = 2
        stopped = False

        def stop(self) -> None:
            self.stopped = True

    drive = Drive()
    mounted = ClosableDrive(Path("R:"), drive)
    assert mounted.unmount() != 0 and mounted.users() and not drive.stopped
    assert mounted.close(False) == "2 open files or folders" and not drive.stopped
    drive.handles = 0
    assert mounted.users() == [] and mounted.close(False) == "" and drive.stopped


# --- without WinFsp ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["winfsp", "winfspy"])
def test_without_winfsp_a_message_says_where_to_get_it(missing: str, tmp_path: Path) -> None:
    package = tmp_path / "winfspy"
    if missing == "winfsp":  # what winfspy raises then
        package.mkdir()
        (package / "__init__.py").write_text('raise RuntimeError("The WinFsp library path is not provided")')
    script = """
from catalog.errors import MountFailed
from mount.drivers import choice
choice.IS_WINDOWS = True
try:
    choice.check_system()
except MountFailed as e:
    print(e, e.advice)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    if missing == "winfsp":
        assert "WinFsp is not on this machine" in done.stdout and "https://winfsp.dev/rel/" in done.stdout
    else:
        assert "winfspy can't be loaded" in done.stdout and "Python 3.11" in done.stdout
