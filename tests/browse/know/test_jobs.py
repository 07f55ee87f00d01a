"""The list of jobs by cursor and filters, and one job; in how many requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.errors import NotFound, UsageError
from catalog.format.records import Job, JobName, Outcome, Problem, StartName
from catalog.format.sealed import Kind
from catalog.jobs.local import LocalJob, LocalJobs
from mount.browse.resources import jobs as jobs_module
from mount.browse.resources.health import health
from mount.browse.resources.jobs import JobPage, job, jobs
from mount.browse.resources.opened import Opened
from mount.browse.resources.policies import policies
from mount.browse.resources.storage import storage
from mount.browse.resources.wire import SAFE
from tests.browse.know.worlds import DAY, HOUR, PATIENCE, World


def local(world: World, **fields: Any) -> LocalJob:
    row: dict[str, Any] = {
        "id": world.id().hex(), "kind": "restore", "vault": world.vault.id.hex(), "point": "", "machine": "box",
        "item": "home", "target": "/tmp/there", "started": world.now, "finished": world.now + 10**9, "bytes": 5,
        "files": 1, "warnings": ["not all of it"], "warning_count": 1, "outcome": "completed with warnings",
    }  # fmt: skip
    return LocalJob(**(row | fields))


def all_ids(opened: Opened, world: World, count: int, **how: Any) -> tuple[list[str], int]:
    """The jobs of all pages, and how many pages there were."""
    found, cursor, pages = list[str](), "", 0
    while True:
        page = jobs(opened, cursor=cursor, count=count, now=world.now, **how)
        found += [row.id for row in page.jobs]
        pages += 1
        assert len(page.jobs) <= count and pages < 1000
        if page.next is None:
            return found, pages
        cursor = page.next


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_pages_have_every_job_once_in_order(world: World) -> None:
    """Also where several began in one second, and where those of this machine lie between."""
    key = world.add("box")
    opened = world.opened()
    kept, wanted = LocalJobs(opened.session.settings.state), list[tuple[int, str]]()
    for n in range(40):
        if n % 3:
            world.now += HOUR
        one = world.job(key).id.hex() if n % 4 else local(world)
        if isinstance(one, LocalJob):
            kept.add(one)
            one = one.id
        wanted.append((world.now // 10**9, one))
    order = [one for _when, one in sorted(wanted, reverse=True)]
    for count in (1, 7, 40, 100):
        assert all_ids(opened, world, count)[0] == order
    assert all_ids(opened, world, 10)[1] == 4


def test_filters(world: World) -> None:
    first, second = world.add("box"), world.add("other")
    opened = world.opened()
    failed = world.job(first, outcome=Outcome.FAILED, error="no room")
    world.now += HOUR
    prune = world.job(second, "other", kind="prune", item=None)
    LocalJobs(opened.session.settings.state).add(local(world))

    def kinds(**how: Any) -> list[str]:
        return [row.kind for row in jobs(opened, now=world.now, **how).jobs]

    assert kinds() == ["prune", "restore", "backup"] or kinds() == ["restore", "prune", "backup"]
    assert kinds(kind="prune") == ["prune"] and kinds(kind="restore") == ["restore"]
    assert [row.id for row in jobs(opened, outcome="failed", now=world.now).jobs] == [failed.id.hex()]
    assert [row.id for row in jobs(opened, machine=second[0].hex(), now=world.now).jobs] == [prune.id.hex()]
    assert jobs(opened, kind="nothing of the kind", now=world.now) == JobPage(
        jobs=[], next=None, searched=0, damaged=[]
    )


def test_a_filter_that_nothing_fits_stops_and_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "READ", 10)
    key = world.add("box")
    rare = world.job(key, outcome=Outcome.FAILED)
    for _n in range(25):
        world.now += HOUR
        world.job(key)
    opened = world.opened()
    page = jobs(opened, outcome="failed", now=world.now)
    assert (page.jobs, page.searched) == ([], 10) and page.next is not None
    found, pages = all_ids(opened, world, 5, outcome="failed")
    assert (found, pages) == ([rare.id.hex()], 3)


def test_what_has_no_end_runs_or_was_killed(world: World) -> None:
    key = world.add("box")

    def start(boot: str) -> Job:
        one = Job(
            id=world.id(), machine=key[0], item=key[1], kind="backup", outcome="running", machine_name="box",
            hostname="box", time=world.now, finished=0, boot=boot,
        )  # fmt: skip
        world.vault.write_record(Kind.JOB, one, str(StartName(JobName.of(one))))
        return one

    old, opened = start("a"), world.opened()
    world.now += HOUR
    new = start("b")
    rows = {row.id: row for row in jobs(opened, now=world.now).jobs}
    assert (rows[old.id.hex()].outcome, rows[old.id.hex()].finished) == ("killed", None)
    assert rows[new.id.hex()].running and rows[new.id.hex()].seconds is None
    world.now += 2 * DAY
    assert [row.outcome for row in jobs(opened, now=world.now).jobs] == ["killed", "killed"]


def test_a_backup_whose_end_is_recorded_here_only(world: World) -> None:
    key = world.add("box")
    one = Job(
        id=world.id(), machine=key[0], item=key[1], kind="backup", outcome="running", machine_name="box",
        hostname="box", time=world.now, finished=0,
    )  # fmt: skip
    world.vault.write_record(Kind.JOB, one, str(StartName(JobName.of(one))))
    opened = world.opened()
    LocalJobs(opened.session.settings.state).add(local(world, id=one.id.hex(), kind="backup", outcome="failed"))
    (row,) = jobs(opened, now=world.now).jobs
    assert (row.outcome, row.kept) == ("failed", "here")


def test_one_job(world: World) -> None:
    key = world.add("box")
    problems = [Problem(path=b"home/a\xff", reason="it is gone"), Problem(path=b"", reason="all is odd")]
    done = world.job(key, outcome=Outcome.WITH_WARNINGS, problems=problems, problem_count=7, new=3, stored_bytes=99)
    opened = world.opened()
    found = job(opened, done.id.hex(), world.now)
    assert [(p.path, p.reason) for p in found.problems] == [("/home/a\ufffd", "it is gone"), ("/", "all is odd")]
    assert found.problem_count == 7 and found.facts == {"new files": 3, "bytes stored": 99}
    assert found.log is None and found.job.kept == "vault"
    kept = local(world)
    LocalJobs(opened.session.settings.state).add(kept)
    here = job(opened, kept.id, world.now)
    assert (here.target, here.problems[0].reason, here.job.kept) == ("/tmp/there", "not all of it", "here")
    for bad in ("", "xyz", "ab" * 16, "../../etc/passwd", "AB" * 16):
        with pytest.raises(NotFound):
            job(opened, bad, world.now)


def test_a_restore_of_a_page_shows_the_end_of_its_log(world: World) -> None:
    from mount.browse.running.files import RestoreFiles

    opened, kept = world.opened(), local(world)
    LocalJobs(opened.session.settings.state).add(kept)
    log = RestoreFiles(opened.session.settings).log(kept.id)
    log.write_text("first\n" + "x" * 100_000 + "\n\x1b[31mlast\n")
    assert job(opened, kept.id, world.now).log == ["?[31mlast"]


def test_a_record_that_does_not_open_costs_itself(world: World) -> None:
    key = world.add("box")
    good = world.job(key)
    world.remote.memory.objects[f"jobs/{key[0].hex()}/20260101T000000Z-{'ab' * 16}"] = b"junk"
    page = jobs(world.opened(), now=world.now)
    assert [row.id for row in page.jobs] == [good.id.hex()] and len(page.damaged) == 1


@pytest.mark.parametrize(
    "cursor", ["x", "1", "-5-" + "a" * 32, "1-" + "g" * 32, "1" * 21 + "-" + "a" * 32, "٣-" + "a" * 32]
)
def test_a_cursor_that_is_malformed(world: World, cursor: str) -> None:
    with pytest.raises(UsageError):
        jobs(world.opened(), cursor=cursor)


def test_requests(world: World) -> None:
    key = world.add("box")
    for _n in range(120):
        world.now += HOUR
        world.job(key)
    opened = world.opened()

    def cost(**how: Any) -> int:
        before = world.remote.requests
        assert len(jobs(opened, now=world.now, **how).jobs) == 50
        return world.remote.requests - before

    # Listings: machines and jobs; once each: the record of the machine, and of the jobs that are shown.
    assert cost(count=50) == 2 + 1 + 50
    assert cost(count=50) == 2, "what was read before is not read again"


def test_a_job_that_claims_what_it_likes(world: World) -> None:
    """Numbers beyond JavaScript's, texts of a megabyte, words of a later version."""
    key = world.add("m" * 50_000, "i" * 50_000)
    huge = {"files": 1 << 63, "bytes": (1 << 64) - 1, "stored_bytes": -5, "problem_count": 1 << 62}
    bad = world.job(
        key, "box", kind="k" * 9_000, outcome="o" * 9_000, error="e" * 900_000, item_name="n" * 9_000, **huge
    )
    opened = world.opened()
    page = jobs(opened, now=world.now)
    assert len(msgspec.json.encode(page)) < 10_000
    (row,) = page.jobs
    assert (row.files, row.bytes, row.stored, row.warnings) == (SAFE, SAFE, 0, SAFE)
    assert len(msgspec.json.encode(job(opened, bad.id.hex(), world.now))) < 40_000
    for by in ("day", "item", "machine"):
        assert len(msgspec.json.encode(storage(opened, by=by, wait=PATIENCE))) < 60_000
    assert len(msgspec.json.encode(health(opened, wait=PATIENCE))) < 20_000
    assert len(msgspec.json.encode(policies(opened, clock=lambda: world.now))) < 20_000
    opened.close()
