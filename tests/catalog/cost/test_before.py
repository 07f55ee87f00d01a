"""What a restore and a check cost is said before they begin, if it is much; a vault in a folder never says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.access.session import Session
from catalog.check.options import Options
from catalog.check.show import run_check
from catalog.cost.before import Before
from catalog.cost.prices import FILE
from catalog.cost.use import Use
from catalog.vault import Vault
from mount.restore.job import Job
from mount.restore.run import Restore
from mount.restore.show import run_and_show
from tests.catalog.cost.worked import Worked

GIB = 2**30
MUCH = Use(read=1_000, received=100 * GIB)


@pytest.fixture
def worked(tmp_path: Path) -> Worked:
    worked = Worked(tmp_path, 1)
    worked.fill(0, files=50)
    return worked


def before(worked: Worked, **environ: str) -> Before:
    return Before(worked.session(0), environ)


def test_only_what_is_above_the_threshold_is_said_and_once(worked: Worked) -> None:
    one = before(worked)
    assert one.line("this restore", Use(read=10, received=GIB)) == ""
    line = one.line("this restore", MUCH)
    assert line.startswith(
        "this restore costs about 8.70 USD (prices of 2025-06-01, azure westeurope LRS hot, which"
    )
    assert line.endswith(": 1,000 requests, 100.0 GiB fetched") and "assumed" in line
    assert one.line("this restore", MUCH) == ""
    assert before(worked, RPDRIVE_COST_ABOVE="10").line("it", MUCH) == ""
    assert before(worked, RPDRIVE_COST_ABOVE="0").line("it", Use(read=1))
    assert before(worked, RPDRIVE_COST_ABOVE="off").line("it", MUCH * 1e6) == ""
    assert before(worked, RPDRIVE_COST_ABOVE="nonsense").line("it", MUCH), "as if it was not set"
    assert before(worked, RPDRIVE_COST_ABOVE="nan").line("it", MUCH)


def test_a_malformed_table_is_said_and_stops_nothing(worked: Worked) -> None:
    config = worked.session(0).settings.config
    (config / FILE).write_text("x")
    one = before(worked)
    assert one.line("this restore", MUCH).startswith("what this restore costs is not known: the price table")
    assert one.line("this restore", MUCH) == ""


def test_a_vault_in_a_folder_says_nothing(tmp_path: Path) -> None:
    one = Before(Session(vault=str(tmp_path)), {"RPDRIVE_COST_ABOVE": "0"})
    assert one.line("this restore", MUCH) == one.price(MUCH) == ""


def test_a_restore_and_checks_say_theirs(
    worked: Worked, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worked.back_up(0)
    worked.back_up(0)

    def said(level: int | None, *, as_json: bool = False) -> str:
        def work(session: Session, vault: Vault) -> None:
            if level is not None:
                run_check(session, vault, None, None, Options(level, None, None), as_json=as_json)
                return
            job = Job(session, ["latest"], to=str(tmp_path / "out"), in_place=False, include=[], exclude=[])
            assert run_and_show(job, vault, None, None, as_json=as_json)

        capfd.readouterr()
        worked.use(0, work)
        return capfd.readouterr().err

    assert "costs" not in said(None) + said(1), "it is little"
    monkeypatch.setenv("RPDRIVE_COST_ABOVE", "0")
    assert "costs" not in said(None), "all is there: nothing is fetched"
    assert "reading the folders of points costs about 0.00 USD" in said(1)
    assert "reading 256 of 256 slices" in (deep := said(3)) and "about 0.00 USD" in deep
    assert "costs" not in said(1, as_json=True)
    for path in (tmp_path / "out").rglob("f1"):
        path.unlink()
    line = said(None)
    assert line.count("this restore costs about 0.00 USD") == 1 and "1 request, " in line


def test_a_restore_by_others_says_what_it_is_at_most(worked: Worked, tmp_path: Path) -> None:
    worked.back_up(0)
    said = list[tuple[int, int]]()

    def work(session: Session, vault: Vault) -> None:
        job = Job(session, ["latest"], to=str(tmp_path / "out"), in_place=False, include=[], exclude=[])
        job.restorer = Restore
        job.run(vault, None, None, fetches=lambda requests, size: said.append((requests, size)))

    worked.use(0, work)
    assert said == [(1, 50 * 1_500)]
