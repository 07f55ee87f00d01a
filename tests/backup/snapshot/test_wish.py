"""What is wanted of snapshots, by options, by the environment, and by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.request import Request
from backup.snapshot.base import Options
from backup.snapshot.this import NEEDS_ROOT
from backup.sources.wish import wish
from catalog.errors import UsageError
from tests.kit.cli import Cli
from tests.kit.disks import mounted


def request(**fields: object) -> Request:
    return Request([Path("/srv")], **fields)  # type: ignore[arg-type]


def test_root_gets_snapshots_by_default_and_others_live_files_without_a_word() -> None:
    assert (wish(request(), "", {}).mode, wish(request(), "", {}).is_asked) == ("auto", False)
    assert (wish(request(), NEEDS_ROOT, {}).mode, wish(request(), NEEDS_ROOT, {}).is_asked) == ("never", False)
    asked = wish(request(snapshot="auto"), NEEDS_ROOT, {})
    assert (asked.mode, asked.is_asked) == ("auto", True)


def test_an_option_counts_before_the_environment() -> None:
    environ = {"RPDRIVE_SNAPSHOT": "always"}
    assert wish(request(), "", environ).mode == "always"
    assert wish(request(snapshot="never"), "", environ).mode == "never"
    with pytest.raises(UsageError, match="RPDRIVE_SNAPSHOT is auto, always or never, not 'perhaps'"):
        wish(request(), "", {"RPDRIVE_SNAPSHOT": "perhaps"})


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ("10%", Options(0, 0.1)),
        ("100 %", Options(0, 1.0)),
        ("20G", Options(20 << 30, 0.1)),
        (None, Options(0, 0.1)),
    ],
)
def test_the_room_for_a_snapshot(size: str | None, options: Options) -> None:
    assert wish(request(snapshot_size=size), "", {}).options == options


@pytest.mark.parametrize(
    "fields",
    [{"snapshot": "maybe"}, {"snapshot_size": "0%"}, {"snapshot_size": "101%"}, {"snapshot_size": "1%x"},
     {"snapshot_size": "nan%"}, {"snapshot_size": "big"}, {"snapshot_timeout": "0s"}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        wish(request(**fields), "", {})


@pytest.mark.needs_root
def test_nothing_is_written_if_there_must_be_a_snapshot_and_can_be_none(
    rpdrive: Cli, vault: object, tmp_path: Path
) -> None:
    before = sorted(rpdrive.vault.rglob("*"))
    with mounted("none", tmp_path / "memory", "-t", "tmpfs") as memory:
        line = rpdrive.fails("backup", memory, "--snapshot", "always", code=11)
    assert f"no snapshot of {memory}: tmpfs is in memory; name what may be read live" in line
    assert sorted(rpdrive.vault.rglob("*")) == before
