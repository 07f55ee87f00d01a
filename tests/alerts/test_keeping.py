"""The files of alerts: whole, private, and of use when parts of them are not."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from catalog.alerts.keeping import Kept
from catalog.alerts.rules import DAY
from catalog.alerts.state import Alert, Facts, Step, acknowledge, step
from catalog.errors import LocalError
from tests.alerts.test_state import T, fact, seen, told

V = "ab" * 16


def facts_of(vault: str, kind: str = "backup.overdue", cause: str = "") -> Facts:
    return seen(fact(kind, cause=cause)._replace(vault=vault))


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.vaults() == [] and kept.all() == []
    first = kept.change(V, lambda before: step(before, facts_of(V), T))
    kept.change("", lambda before: step(before, facts_of("", "target.failing"), T))
    assert Kept(tmp_path).of(V) == first.alerts
    assert Kept(tmp_path).vaults() == [V, ""]
    path = tmp_path / "alerts" / f"{V}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat()
    kept.change(V, lambda before: step(before, facts_of(V), T))
    assert path.stat().st_ino == before.st_ino, "nothing new: nothing is written"


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    odd = fact("backup.incomplete")._replace(vault=V, text="\udcff.txt", details={"\udcff": "\udcfe"})
    Kept(tmp_path).change(V, lambda before: step(before, seen(odd), T))
    assert Kept(tmp_path).of(V)[0].text == "?.txt"


@pytest.mark.parametrize("junk", [b"", b"{", b"[1", b"\xff\xfe", b"[" * 100_000, b'{"a": 1}'])
def test_a_malformed_file_is_moved_aside(tmp_path: Path, junk: bytes) -> None:
    folder = tmp_path / "alerts"
    folder.mkdir()
    (folder / f"{V}.json").write_bytes(junk)
    kept = Kept(tmp_path)
    assert kept.of(V) == ()
    assert told(kept.change(V, lambda before: step(before, facts_of(V), T))) == [("opened", "backup.overdue")]
    assert (folder / f"{V}.malformed").read_bytes() == junk


def test_a_malformed_row_costs_itself(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.change(V, lambda before: step(before, facts_of(V), T))
    path = tmp_path / "alerts" / f"{V}.json"
    row = path.read_bytes().strip()[1:-1]
    foreign = row.replace(V.encode(), b"cd" * 16)
    path.write_bytes(b'[1, {"id": "x"}, null, ' + foreign + b", " + row + b"]")
    assert [alert.id for alert in kept.of(V)] == ["backup.overdue"]


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "alerts").write_bytes(b"")
    with pytest.raises(LocalError):
        Kept(tmp_path).change(V, lambda before: Step(before, ()))


def _open_some(folder: Path, name: str) -> None:
    kept = Kept(folder)
    for n in range(20):
        more = facts_of(V, "point.deleted", cause=f"{name}{n}")
        kept.change(V, lambda before, more=more: step(before, more, T))  # type: ignore[misc]


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    some = [context.Process(target=_open_some, args=(tmp_path, name)) for name in "ab"]
    for process in some:
        process.start()
    for process in some:
        process.join(60)
    assert len(Kept(tmp_path).of(V)) == 40


def test_acknowledged_is_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    opened = kept.change(V, lambda before: step(before, facts_of(V, "point.deleted"), T)).alerts[0]
    kept.change(V, lambda before: acknowledge(before, opened.ref, T + DAY, "I did"))
    found: Alert = kept.of(V)[0]
    assert (found.is_open, found.reason) == (False, "I did")
