"""Shadow copies of Windows volumes: the helper process, on a double of the service."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from backup.snapshot.vss import com
from backup.snapshot.vss.client import Helper, writer_words
from backup.snapshot.vss.com import Failed, Guid, Library, SnapshotProperties
from backup.snapshot.vss.meanings import CODES, IN_PROGRESS, STOPPED, TIMED_OUT, meaning, wmi_meaning
from backup.snapshot.vss.messages import LINE, Lines, Malformed, Order, Writer, line, parsed
from backup.snapshot.vss.requester import Requester
from catalog.errors import SnapshotFailed, SnapshotLost
from tests.kit.vss_double import COMPONENTS, DEVICE, T0, Script, VssDouble, called, held, helper_command

C, D = "C:\\", "\\\\?\\Volume{0b0fc0de-0000-0000-0000-100000000000}\\"
# The order of Microsoft's pages, for one set of two volumes.
BEFORE = ["CoInitializeEx", "CoInitializeSecurity", "CreateVssBackupComponentsInternal", "InitializeForBackup"]
BEFORE += ["SetContext", "SetBackupState", "GatherWriterMetadata", "IsVolumeSupported", "IsVolumeSupported"]
STATUS = ["GatherWriterStatus", "GetWriterStatusCount", "GetWriterStatus", "GetWriterStatus", "FreeWriterStatus"]
TEXTS = ["SysStringLen", "SysFreeString"]
MADE = ["StartSnapshotSet", "AddToSnapshotSet", "AddToSnapshotSet", "PrepareForBackup", "DoSnapshotSet", *STATUS]
MADE += ["GetSnapshotProperties", "VssFreeSnapshotPropertiesInternal"] * 2
AFTER = ["BackupComplete", "DeleteSnapshots", "Release"]


def double(folder: Path, **what: object) -> tuple[VssDouble, Requester, threading.Event]:
    """The double, a requester on it, and what stops the requester; in this process."""
    found, stopped = VssDouble(Script(str(folder), **what)), threading.Event()  # type: ignore[arg-type]
    return found, Requester(Library(found.load), stopped), stopped


def plain(calls: list[str]) -> list[str]:
    return [call for call in calls if call not in TEXTS]


def until(true: Callable[[], object]) -> None:
    """Wait for something that comes, however busy the machine is."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Helper]]:
    """Starts helper processes on a double."""
    helpers: list[Helper] = []

    def begin(answer: float = 60.0, **what: object) -> Helper:
        helpers.append(Helper(helper_command(Script(str(tmp_path), **what)), answer=answer))  # type: ignore[arg-type]
        return helpers[-1]

    yield begin
    for helper in helpers:
        helper.kill()


# --- the calls --------------------------------------------------------------------------------------------------


def test_the_order_of_the_calls(tmp_path: Path) -> None:
    service, requester, _ = double(tmp_path)
    one, two = requester.make([C, D], 60, 1)
    assert plain(service.calls) == BEFORE + MADE
    assert (one.volume, one.device, one.created) == (C, DEVICE + "1", T0)
    assert (two.volume, two.device) == (D, DEVICE + "2")
    assert len(service.sets) == 1, "all volumes are in one set"
    assert held(tmp_path) == 2
    requester.check()
    requester.finish()
    assert plain(service.calls)[len(BEFORE + MADE) :] == [*MADE[-4:], *AFTER]
    assert (held(tmp_path), service.live, service._texts) == (0, 0, {})
    requester.finish()  # no effect


STEPS = [
    "CreateVssBackupComponentsInternal", "InitializeForBackup", "SetContext", "SetBackupState",
    "GatherWriterMetadata", "IsVolumeSupported", "StartSnapshotSet", "AddToSnapshotSet", "PrepareForBackup",
    "DoSnapshotSet", "GetSnapshotProperties",
]  # fmt: skip
ASYNC = ["GatherWriterMetadata", "PrepareForBackup", "DoSnapshotSet"]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_nothing(step: str, tmp_path: Path) -> None:
    service, requester, _ = double(tmp_path, fails={step: 0x8004230F})
    with pytest.raises(Failed) as failed:
        requester.make([C], 60, 1)
    assert failed.value.code == 0x8004230F
    assert step.startswith(failed.value.step)
    # A set that was begun is aborted, whatever failed: it would stand in the way of later ones.
    assert ("AbortBackup" in service.calls) == (STEPS.index(step) > STEPS.index("StartSnapshotSet"))
    assert (held(tmp_path), service.live, service._texts) == (0, 0, {})
    assert not [call for call in service.calls if call.startswith("wrong")]


@pytest.mark.parametrize("step", ASYNC)
def test_work_that_fails_or_never_ends(step: str, tmp_path: Path) -> None:
    service, requester, _ = double(tmp_path, ends={step: 0x800423F4})
    with pytest.raises(Failed) as failed:
        requester.make([C], 60, 1)
    assert (failed.value.step, failed.value.code, service.live) == (step, 0x800423F4, 0)

    service, requester, _ = double(tmp_path, never=[step])
    with pytest.raises(Failed) as failed:
        requester.make([C], 0.1, 1)
    assert (failed.value.step, failed.value.code, service.live) == (step, TIMED_OUT, 0)
    assert f"Cancel {step}" in service.calls

    service, requester, stopped = double(tmp_path, never=[step])
    stopped.set()
    with pytest.raises(Failed) as failed:
        requester.make([C], 60, 1)
    assert (failed.value.step, failed.value.code, service.live) == (step, STOPPED, 0)
    assert held(tmp_path) == 0


def test_another_programs_shadow_copy_is_waited_for(tmp_path: Path) -> None:
    service, requester, _ = double(tmp_path, fails={"StartSnapshotSet": IN_PROGRESS}, times={"StartSnapshotSet": 2})
    assert len(requester.make([C], 60, 0.01)) == 1
    assert service.calls.count("StartSnapshotSet") == 3
    requester.finish()

    service, requester, _ = double(tmp_path, fails={"StartSnapshotSet": IN_PROGRESS})
    with pytest.raises(Failed) as failed:
        requester.make([C], 0.05, 0.02)
    assert failed.value.code == IN_PROGRESS

    service, requester, stopped = double(tmp_path, fails={"StartSnapshotSet": IN_PROGRESS})
    stopped.set()
    with pytest.raises(Failed) as failed:
        requester.make([C], 1000, 500)
    assert failed.value.code == STOPPED


def test_the_writers_that_failed_are_named(tmp_path: Path) -> None:
    writers = [("System Writer", 5, 0), ("SqlServerWriter", 9, 0x800423F2), ("Dhcp", 5, 0x800423F4)]
    _, requester, _ = double(tmp_path, writers=writers)
    requester.make([C], 60, 1)  # the files are as in a crash, and are saved
    assert requester.writers == [Writer("SqlServerWriter", 9, 0x800423F2), Writer("Dhcp", 5, 0x800423F4)]
    requester.finish()
    _, requester, _ = double(tmp_path, writers=writers, ends={"DoSnapshotSet": 0x800423F2})
    with pytest.raises(Failed):
        requester.make([C], 60, 1)
    assert requester.writers[0].name == "SqlServerWriter", "the code of the set names none"
    assert writer_words(requester.writers[0]) == (
        "the writer 'SqlServerWriter' failed: a writer was not ready in time (0x800423F2)"
    )


def test_a_second_security_call_fails(tmp_path: Path) -> None:
    """What makes a helper process necessary."""
    service = VssDouble(Script(str(tmp_path)))
    Library(service.load)
    with pytest.raises(Failed) as failed:
        Library(service.load)
    assert failed.value.code in CODES


def test_the_layout_of_the_structures() -> None:
    """As on 64-bit Windows."""
    assert (ctypes.sizeof(Guid), ctypes.sizeof(SnapshotProperties)) == (16, 128)
    offsets = {name: getattr(SnapshotProperties, name).offset for name, _type in SnapshotProperties._fields_}
    assert offsets == {
        "id": 0, "set": 16, "count": 32, "device": 40, "volume": 48, "machine": 56, "service_machine": 64,
        "exposed_name": 72, "exposed_path": 80, "provider": 88, "attributes": 104, "created": 112, "status": 120,
    }  # fmt: skip
    text = "{b5946137-7b9f-4925-af80-51abd60b20d5}"
    assert str(Guid.of(text)) == text
    assert bytes(Guid.of(text)) == bytes.fromhex("376194b59f7b2549af8051abd60b20d5")


def test_the_slots_are_those_of_the_header() -> None:
    theirs = {name: (slot, len(arguments)) for slot, name, arguments in COMPONENTS}
    ours = {name: (slot, len(arguments)) for name, (slot, arguments) in com.COMPONENTS.items()}
    assert ours == {name: theirs[name] for name in ours}


def test_every_code_has_words_and_advice() -> None:
    listed = [0x06, 0x0C, 0x0F, 0x12, 0x17, 0x13, 0x14, 0x16, 0x1F, 0xF2, 0xF4]
    for code in [0x80042300 + low for low in listed] + [0x80070005]:
        assert code in CODES
    for code in [*CODES, 0x8004FFFF]:
        found = meaning(code)
        assert found.text and found.advice
        assert (f"0x{code:08X}" in found.text) == (code not in (TIMED_OUT, STOPPED))
    assert all(wmi_meaning(code).text.endswith(f"(WMI {code})") for code in (1, 3, 4, 5, 6, 8, 9, 10, 12, 99))


# --- the messages -----------------------------------------------------------------------------------------------


def test_messages_are_bounded() -> None:
    lines = Lines()
    assert lines.add(b'{"do"') == []
    assert [parsed(each, Order) for each in lines.add(b': "make"}\n{"do":"check"}\n{')] == [
        Order("make"),
        Order("check"),
    ]
    with pytest.raises(Malformed):
        lines.add(bytes(LINE))
    with pytest.raises(Malformed):
        Lines().add(b"x" * LINE + b"\n")
    with pytest.raises(Malformed):
        line(Order("make", ["x" * LINE]))
    for data in (b"", b"[]", b'{"do": 1}', b"\xff", b"[" * 10_000):
        with pytest.raises(Malformed):
            parsed(data, Order)


# --- the process ------------------------------------------------------------------------------------------------


def test_a_backup_in_order(start: Callable[..., Helper], tmp_path: Path) -> None:
    helper = start(writers=[("SqlServerWriter", 9, 0x800423F2)])
    one, two = helper.make([C, D], 60)
    assert (one.device, two.device, held(tmp_path)) == (DEVICE + "1", DEVICE + "2", 2)
    assert [writer.name for writer in helper.writers] == ["SqlServerWriter"]
    helper.check()
    helper.finish()
    assert helper._process.returncode == 0
    assert held(tmp_path) == 0
    assert plain(called(tmp_path))[-5:] == [*AFTER, "CoUninitialize", "live 0"]
    helper.finish()  # no effect


def test_failures_are_told_in_words(start: Callable[..., Helper], tmp_path: Path) -> None:
    helper = start(ends={"DoSnapshotSet": 0x8004231F}, writers=[("Dhcp", 9, 0x800423F2)])
    with pytest.raises(
        SnapshotFailed, match=r"no room for the shadow copy \(0x8004231F\), at DoSnapshotSet; the writer"
    ):
        helper.make([C], 60)
    assert helper._process.returncode is not None
    assert held(tmp_path) == 0


def test_a_lost_shadow_copy_is_noticed(start: Callable[..., Helper], tmp_path: Path) -> None:
    helper = start()
    helper.make([C], 60)
    (tmp_path / "lost").touch()
    with pytest.raises(SnapshotLost, match="is gone"):
        helper.check()


def test_the_end_of_the_helper_frees_and_is_noticed(start: Callable[..., Helper], tmp_path: Path) -> None:
    helper = start()
    helper.make([C], 60)
    os.kill(helper.pid, signal.SIGKILL)
    until(lambda: held(tmp_path) == 0)
    with pytest.raises(SnapshotLost, match="has ended"):
        helper.check()
    helper.finish()


@pytest.mark.parametrize("step", ["GatherWriterMetadata", "DoSnapshotSet"])
def test_a_helper_that_dies_meanwhile(step: str, start: Callable[..., Helper], tmp_path: Path) -> None:
    helper = start(dies=step)
    with pytest.raises(SnapshotFailed, match="has ended with code 9"):
        helper.make([C], 60)
    assert held(tmp_path) == 0


def test_a_helper_that_hangs_is_ended(start: Callable[..., Helper], tmp_path: Path) -> None:
    """A call that does not return: not even Cancel can be called."""
    helper = start(answer=0.2, hangs="DoSnapshotSet")
    with pytest.raises(SnapshotFailed, match="did not answer in time"):
        helper.make([C], 0.1)
    assert helper._process.returncode is not None


PARENT = """
import sys, time
from backup.snapshot.vss.client import Helper
helper = Helper(sys.argv[1:])
if "never" not in sys.argv[-1] and "hangs" not in sys.argv[-1]:
    helper.make(["C:\\\\\\\\"], 60)
    print(helper.pid, flush=True)
    time.sleep(600)
print(helper.pid, flush=True)
helper.make(["C:\\\\\\\\"], 600)
"""


@pytest.mark.parametrize("what", [{}, {"never": ["DoSnapshotSet"]}, {"hangs": "DoSnapshotSet", "grace": 0.1}])
def test_the_end_of_rpdrive_ends_the_helper(what: dict[str, object], tmp_path: Path) -> None:
    """kill -9, while the shadow copy is held, while it is made, and while a call does not return."""
    script = Script(str(tmp_path), **what)  # type: ignore[arg-type]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *helper_command(script)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        until(lambda: ("GatherWriterStatus" if not what else "DoSnapshotSet") in called(tmp_path))
        assert held(tmp_path) == (0 if what else 1)
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()
    until(lambda: not _runs(pid))
    assert held(tmp_path) == 0
    if not what:
        assert plain(called(tmp_path))[-5:] == [*AFTER, "CoUninitialize", "live 0"], "in order, not only by its end"


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("said", [b"nonsense\n", b"x" * (LINE + 1), b'{"do": "other"}\n', b""])
def test_nonsense_ends_the_helper(said: bytes, tmp_path: Path) -> None:
    done = subprocess.run(
        helper_command(Script(str(tmp_path))), input=said, capture_output=True, timeout=60, check=False
    )
    assert done.stdout == b""
    assert "DoSnapshotSet" not in called(tmp_path)


def test_a_helper_that_can_not_be_started() -> None:
    with pytest.raises(SnapshotFailed, match="can't be started"):
        Helper(["/nowhere/python"])


def test_on_another_system_the_helper_says_so(tmp_path: Path) -> None:
    """The helper itself, where there is no vssapi.dll: an error in words, no hang and no traceback."""
    helper = Helper()
    with pytest.raises(SnapshotFailed):
        helper.make([C], 60)


def test_the_script_reads_back(tmp_path: Path) -> None:
    script = Script(str(tmp_path), fails={"SetContext": 1}, writers=[("a", 1, 2)])
    assert msgspec.json.decode(msgspec.json.encode(script), type=Script) == script
