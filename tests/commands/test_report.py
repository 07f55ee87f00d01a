"""`rpdrive report`, on this machine's records and on those in a vault."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from catalog.access.settings import private_folder
from catalog.errors import UsageError
from catalog.report.show import begin_of
from catalog.vault import Vault
from tests.catalog.report.records import DAY, HOUR, NOW, write_records
from tests.kit.cli import Cli


def test_a_report_of_this_machine_opens_no_vault(rpdrive: Cli, tmp_path: Path) -> None:
    private_folder(rpdrive.home / "state")
    write_records(rpdrive.home / "state")
    text = rpdrive.ok("report", "--since", "2026-08-01")
    assert text.splitlines()[0].startswith("JOB") and "database" in text
    rows = rpdrive.json("report", "--since", "2026-08-01", "--html", tmp_path / "report.html")
    home = next(row for row in rows["jobs"] if row["item"] == "home")
    assert (home["runs"], home["failed"], home["missed"], len(home["history"])) == (29, 1, 2, 30)
    page = tmp_path / "report.html"
    assert "<svg" in page.read_text() and stat.S_IMODE(page.stat().st_mode) == 0o600


def test_a_report_of_all_machines_reads_the_vault(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x" * 5000)
    rpdrive.ok("backup", source, "--item", "docs", "--machine", "SRV07")
    rpdrive.ok("plan", "set", "--machine", "SRV07", "--item", "docs", "--at", "21:00", "--zone", "UTC", source)
    rows = rpdrive.json("report", "--all-machines")
    (job,) = [row for row in rows["jobs"] if row["kind"] == "backup"]
    assert (job["machine"], job["item"], job["runs"], job["bytes"]) == ("SRV07", "docs", 1, 5000)
    assert job["next"].endswith("T21:00:00Z") and not job["overdue"]


def test_nothing_to_report(rpdrive: Cli) -> None:
    assert "Nothing ran here" in rpdrive.ok("report")


def test_since_is_a_length_of_time_or_a_date() -> None:
    assert begin_of("12h", NOW) == NOW - 12 * HOUR
    assert abs(begin_of("2026-09-20", NOW) - NOW) < 3 * DAY
    with pytest.raises(UsageError, match="neither a length of time nor a date"):
        begin_of("yesterday", NOW)
