"""Points of Windows given back: here on Linux, for real; and to the double of a Windows machine."""

from __future__ import annotations

import json
import os
import stat
import struct
from pathlib import Path

import pytest

from catalog.vault import Vault
from tests.cli import Cli
from tests.restoring import restore
from tests.windows_double import ARCHIVE, ENCRYPTED, Data, Double
from tests.windows_machine import HOME, PLAIN, Machine, make_windows

LOST = "it has attributes of another system, which can't be kept here"


@pytest.fixture
def windows() -> Double:
    return make_windows()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


# --- on Linux -------------------------------------------------------------------------------------------------


def test_contents_names_and_links(machine: Machine, windows: Double, tmp_path: Path) -> None:
    outcome = machine.back_up(windows)
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out")
    home = tmp_path / "out" / "C" / "Users" / "anna"
    for path, entry in windows.walk():
        here = os.fsencode(tmp_path / "out") + b"/" + path.replace("\\", "/").encode("utf-8", "surrogatepass")
        if entry.item.reparse[3:4] == b"\xa0" or not path.startswith(HOME):
            continue
        st = os.stat(here)
        assert stat.S_ISDIR(st.st_mode) == bool(entry.item.attributes & 0x10)
        assert (st.st_uid, st.st_gid) == (os.geteuid(), os.getegid())
        if stat.S_ISREG(st.st_mode):
            assert Path(os.fsdecode(here)).read_bytes() == entry.item.data.data
            assert st.st_mtime_ns == (entry.item.written - 116_444_736_000_000_000) * 100
    assert (home / "link").read_bytes() == b"Dear Ms. Miller"
    assert (home / "My Documents" / "letter.txt").read_bytes() == b"Dear Ms. Miller"
    assert (home / "first").samefile(home / "second")
    assert (home / "sparse").stat().st_blocks * 512 < 2_000_000 < (home / "sparse").stat().st_size
    assert stat.S_IMODE((home / "Documents" / "letter.txt").stat().st_mode) == 0o600
    assert report.lost == 0


def test_attributes_and_streams_are_xattrs(machine: Machine, windows: Double, tmp_path: Path) -> None:
    """As a drive shows them; what can't be kept is said, once for each file."""
    windows.item(f"{HOME}\\setup.exe").streams["half \ud800"] = Data(b"odd")
    windows.item(f"{HOME}\\setup.exe").attributes |= 2
    outcome = machine.back_up(
        windows, f"C:{HOME[1:]}\\setup.exe", f"C:{HOME[1:]}\\Documents", f"C:{HOME[1:]}\\link"
    )
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out", b"C/Users/anna")
    home = tmp_path / "out" / "anna"
    found = {os.fsencode(n): os.getxattr(home / "setup.exe", n) for n in os.listxattr(home / "setup.exe")}
    attributes = found.pop(b"user.DOSATTRIB")
    assert struct.unpack_from("<I", attributes, 12) == (ARCHIVE | 2,)
    assert found == {
        b"user.ads.Zone.Identifier": b"[ZoneTransfer]\r\nZoneId=3\r\n",
        b"user.ads.half \xed\xa0\x80": b"odd",
    }
    assert os.getxattr(home / "Documents", "user.ads.on a folder") == b"notes"
    assert os.listxattr(home / "link", follow_symlinks=False) == []
    said = [(p.path.decode(), p.reason) for p in report.problems]
    large = "its stream big can't be kept here: it is too large for an attribute"
    assert sorted(said) == sorted(
        [("anna/setup.exe", large), *((path, LOST) for path in (
            "anna", "anna/setup.exe", "anna/Documents", "anna/Documents/large", "anna/Documents/letter.txt",
            "anna/Documents/read-only",
        ))]
    )  # fmt: skip


def test_without_permissions_nothing_is_missed(machine: Machine, windows: Double, tmp_path: Path) -> None:
    outcome = machine.back_up(windows, f"C:{HOME[1:]}\\Documents")
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out", permissions=False)
    assert report.problems == []
    letter = tmp_path / "out" / "C" / "Users" / "anna" / "Documents" / "letter.txt"
    assert os.listxattr(letter) == ["user.DOSATTRIB"]


def test_encrypted_file_here(machine: Machine, windows: Double, tmp_path: Path) -> None:
    windows.add(f"{HOME}\\secret", b"x", attributes=ENCRYPTED, security=PLAIN).raw = b"raw export"
    outcome = machine.back_up(windows, f"C:{HOME[1:]}\\secret")
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out", b"C/Users/anna/secret", permissions=False)
    assert (tmp_path / "out" / "secret").read_bytes() == b"raw export"
    assert [p.reason for p in report.problems] == [
        "it is encrypted by Windows: only Windows can take back what was restored"
    ]


def test_dry_run_reads_no_streams(machine: Machine, windows: Double, tmp_path: Path) -> None:
    outcome = machine.back_up(windows)
    assert outcome.point is not None
    report = restore(machine.vault, outcome.point, tmp_path / "out", dry_run=True)
    assert report.problems == [] and not (tmp_path / "out").exists()


def test_command(rpdrive: Cli, vault: Vault, windows: Double, tmp_path: Path) -> None:
    """Exit code 3, and the reason for each file."""
    Machine(tmp_path / "state", vault).back_up(windows)
    done = rpdrive.run("restore", "latest:/C/Users/anna/Documents", "--to", tmp_path / "out", "--json")
    assert done.returncode == 3, done
    found = json.loads(done.stdout)
    assert found["problem_count"] == 4 and {p["reason"] for p in found["problems"]} == {LOST}
    assert (tmp_path / "out" / "Documents" / "letter.txt").read_bytes() == b"Dear Ms. Miller"
