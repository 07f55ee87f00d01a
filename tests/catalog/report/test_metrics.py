"""The text file for Prometheus, read by Prometheus's own parser."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from catalog.alerts.keeping import Kept
from catalog.alerts.state import Alert, Step
from catalog.errors import LocalError
from catalog.notify.event import Severity
from catalog.notify.notifier import Notifier
from catalog.report.duties import tell
from catalog.report.metrics import Sample, samples, text_of, write_metrics
from catalog.report.series import Series, series_here
from catalog.schedule.history import History, Ran
from tests.catalog.notify.events import write
from tests.catalog.report.records import DAY, HOME, HOUR, NOW, VAULT, write_records

Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(text: str) -> Scraped:
    """Each sample by its name and labels. A name has one family, with help and type."""
    found: Scraped = {}
    names = []
    for family in text_string_to_metric_families(text):
        names.append(family.name)
        assert family.type == "gauge" and family.documentation
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found and sample.timestamp is None
            assert set(sample.labels) <= {"vault", "machine", "item"}
            found[key] = sample.value
    assert len(names) == len(set(names))
    return found


def labels(item: str = "") -> frozenset[tuple[str, str]]:
    row = {"vault": "azure://acme/backups", "machine": "SRV01"} | ({"item": item} if item else {})
    return frozenset(row.items())


def test_a_scrape_says_how_a_machine_is(tmp_path: Path) -> None:
    write_records(tmp_path)
    got = scraped(text_of(samples(series_here(tmp_path, NOW), [Severity.CRITICAL, Severity.CRITICAL], 1)))
    home, database = labels("home"), labels("database")
    assert got["rpdrive_backup_last_success_timestamp_seconds", home] == NOW / 1e9 - 86400 + 6.8 * 3600
    assert got["rpdrive_backup_expected_by_timestamp_seconds", home] == (NOW // DAY * DAY + 33 * HOUR) / 1e9
    assert got["rpdrive_backup_expected_by_timestamp_seconds", database] < NOW / 1e9
    assert got["rpdrive_backup_last_outcome", home] == 0 and got["rpdrive_backup_last_outcome", database] == 4
    assert got["rpdrive_backup_last_files", home] == 120_001
    assert got["rpdrive_backup_last_bytes", database] == 9 * 2**30
    assert ("rpdrive_check_level_2_last_success_timestamp_seconds", labels()) in got
    assert got["rpdrive_open_alerts_critical", frozenset()] == 2
    assert got["rpdrive_open_alerts_info", frozenset()] == 0
    assert got["rpdrive_notify_targets_failing", frozenset()] == 1


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_any_name_comes_through(vault: str, machine: str, item: str) -> None:
    names = [name.encode(errors="replace").decode() for name in (vault, machine, item)]
    row = Sample("rpdrive_x", "help", tuple(zip(("vault", "machine", "item"), names, strict=True)), 1)
    (key,) = scraped(text_of([row]).encode(errors="replace").decode())
    assert key[1] == frozenset(zip(("vault", "machine", "item"), names, strict=True))


def test_two_items_of_one_name_do_not_spoil_the_file(tmp_path: Path) -> None:
    write_records(tmp_path, name="database")
    scraped(text_of(samples(series_here(tmp_path, NOW), [], 0)))


def test_the_file_is_whole_and_readable_by_all(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write_metrics(tmp_path, "a 1\n")
        write_metrics(tmp_path, "a 2\n")
    finally:
        os.umask(old)
    (file,) = tmp_path.iterdir()
    assert file.name == "rpdrive.prom" and file.read_text().endswith("\na 2\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "rpdrive.prom").symlink_to(precious)
    write_metrics(folder, "a 1\n")
    assert precious.read_text() == "precious" and (folder / "rpdrive.prom").read_text().endswith("\na 1\n")


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"rpdrive\.prom can't be written"):
        write_metrics(tmp_path / "missing", "")


def test_a_tick_writes_it(tmp_path: Path) -> None:
    folder, state, config = tmp_path / "metrics", tmp_path / "state", tmp_path / "config"
    folder.mkdir()
    write_records(state)
    alert = Alert(id="backup.killed", severity=Severity.WARNING, title="killed", opened=NOW - HOUR)
    Kept(state).change("", lambda _before: Step((alert,), ()))
    write(config, f'metrics = "{folder}"\n')
    file = folder / "rpdrive.prom"

    def told(now: int) -> tuple[int, Scraped]:
        tell(Notifier(config, state), state, now)
        return file.stat().st_ino, scraped(file.read_text())

    number, got = told(NOW)
    assert got["rpdrive_open_alerts_warning", frozenset()] == 1
    again, got = told(NOW + 300 * 10**9)
    assert again == number and file.stat().st_mtime_ns == NOW + 300 * 10**9  # not made anew, but marked as new
    History(state).add(Ran(id="f" * 32, vault=VAULT, kind="backup", item=HOME, started=NOW, outcome="failed"))
    _number, got = told(NOW + 600 * 10**9)
    assert got["rpdrive_backup_last_outcome", labels("home")] == 2


def test_an_empty_series_has_no_samples() -> None:
    assert samples([Series("v", "m", "i", "backup", 0, [])], [], 0)[0].name == "rpdrive_open_alerts_info"
