"""The folder WindowsImageBackup: what is in it, and the words that lead back to a running Windows."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.windows.image_backup import (
    FACTS_MAX,
    PATH_MAX,
    Backups,
    Facts,
    backups_in,
    faults,
    read_facts,
    steps,
    too_long,
    version_of,
)  # fmt: skip

NEW, OLD = "Backup 2026-11-27 160001", "Backup 2026-10-02 030059"
IMAGE = "5f3c1a6e-0000-0000-0000-100000000000.vhdx"
PATHS = [
    f"SRV01\\{OLD}\\{IMAGE}", f"SRV01\\{NEW}\\{IMAGE}", f"SRV01\\{NEW}\\second.VHD",
    f"SRV01\\{NEW}\\BackupSpecs.xml",
    "SRV01\\Catalog\\GlobalCatalog", "SRV01\\Catalog\\BackupGlobalCatalog", "SRV01\\MediaId",
]  # fmt: skip
NOW = int(datetime(2026, 11, 30, tzinfo=UTC).timestamp()) * 10**9


def row() -> Backups:
    (found,) = backups_in(PATHS)
    return found


def test_what_is_in_a_folder() -> None:
    assert row().versions == ["11/27/2026-16:00", "10/02/2026-03:00"]
    assert len(row().images) == 3
    assert faults(row()) == []
    assert [found.computer for found in backups_in([*PATHS, "OTHER\\MediaId"])] == ["SRV01", "OTHER"]


@pytest.mark.parametrize(
    ("name", "version"),
    [
        (NEW, "11/27/2026-16:00"), ("Backup 2026-02-30 000000", ""), ("Backup 2026-11-27 16000", ""),
        ("Catalog", ""),
        ("Backup 2026-11-27 250000", ""), ("backup 2026-11-27 160001", ""), ("", ""), (NEW + "\n", ""),
    ],
)  # fmt: skip
def test_versions(name: str, version: str) -> None:
    assert version_of(name) == version


@settings(max_examples=40)
@given(st.lists(st.text(max_size=40), max_size=4), st.text(max_size=30))
def test_whatever_stands_in_a_point(paths: list[str], name: str) -> None:
    for found in backups_in([*paths, f"{name}\\{NEW}\\{IMAGE}"]):
        if not faults(found):
            steps(found, "D:", Facts(), NOW)


def test_faults() -> None:
    assert len(faults(Backups("a/b", [], [], has_catalog=False))) == 3


def test_long_paths() -> None:
    """Recovery from Windows's medium takes 110 characters; a name of 15, at a root, just fits."""
    longest = Backups("X" * 15, ["11/27/2026-16:00"], [f"{'X' * 15}\\{NEW}\\{IMAGE}"], has_catalog=True)
    assert too_long(longest, "D:\\") == []
    assert len(too_long(longest, "\\\\server\\share")) == 1
    assert len(f"D:\\WindowsImageBackup\\{longest.images[0]}") <= PATH_MAX


def test_the_steps_of_a_server() -> None:
    text = "\n".join(steps(row(), "D:", Facts(product="Windows Server 2022 Standard", build="20348"), NOW))
    assert "SRV01 (Windows Server 2022 Standard, build 20348)" in text
    assert "wbadmin get versions -backupTarget:D: -machine:SRV01" in text
    wanted = "wbadmin start systemstaterecovery -version:11/27/2026-16:00 -backupTarget:D: -machine:SRV01 -quiet"
    assert wanted in text
    assert "-showsummary" in text and "Other versions: 10/02/2026-03:00" in text
    assert "dsrepair" not in text and "tombstone" not in text


@pytest.mark.parametrize("facts", [Facts(domain_controller=True), Facts()])
def test_the_steps_of_a_domain_controller(facts: Facts) -> None:
    """In their order, also on request only."""
    lines = steps(row(), "D:", facts, NOW, controller=not facts.domain_controller)
    order = ["safeboot dsrepair", "shutdown", "get versions", "systemstaterecovery -version", "-authsysvol"]
    order += ["deletevalue safeboot", "shutdown", "-showsummary"]
    at = 0
    for word in order:
        at = next(n for n in range(at, len(lines)) if word in lines[n]) + 1
    assert "-autoReboot" not in "\n".join(lines), "the mode is left by hand"
    assert (
        "It is 2 days old, and must be recovered within the tombstone lifetime of 60 days (not known" in lines[-1]
    )


def test_a_backup_that_the_directory_has_forgotten() -> None:
    late = NOW + 200 * 86_400 * 10**9
    text = "\n".join(steps(row(), "D:", Facts(domain_controller=True, tombstone=180), late))
    assert "WARNING: this backup is 202 days old, and the tombstone lifetime is 180 days:" in text
    fresh = "\n".join(steps(row(), "D:", Facts(domain_controller=True, tombstone=1000), late))
    assert "WARNING" not in fresh


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"tombstone": "x"}', b"[" * 100_000, bytes(FACTS_MAX * 2)])
def test_facts_that_are_none(data: bytes) -> None:
    assert read_facts(data) == Facts()


def test_facts_come_back() -> None:
    facts = Facts("rpdrive-1", "SRV01", "Windows", "1", True, 180, 7)
    assert read_facts(msgspec.json.encode(facts)) == facts
