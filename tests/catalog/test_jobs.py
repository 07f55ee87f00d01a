"""The records of backups and restores, and `rpdrive jobs`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from backup.progress import Progress
from backup.record import Record
from backup.run import Result
from catalog.errors import AccessDenied, Damaged, StoreFull, StoreUnreachable
from catalog.format.records import Item, Job, JobName, Machine, Outcome, Problem, StartName, encode_record
from catalog.format.sealed import Kind, seal_object
from catalog.jobs.listing import job_rows, one_job, row_json
from catalog.jobs.local import LocalJob, LocalJobs, restore_word
from catalog.jobs.recent import names_with_id, newest_names
from catalog.schedule.history import DAY, History, Ran
from catalog.schedule.noted import Running
from catalog.store.base import Store
from catalog.store.memory import MemoryStore
from catalog.store.wrapper import Request, StoreWrapper
from catalog.vault import Vault
from tests.kit.backing import back_up
from tests.kit.cli import Cli
from tests.kit.drives import eventually
from tests.kit.faults import FullStore, UnreachableStore, spoilt
from tests.kit.vaults import new_vault

MACHINE = Machine(id=b"the machine's id", name="server", hostname="host", system="Linux", created=1)
ITEM = Item(id=b"the id of a item", machine=MACHINE.id, name="home", paths=[b"/home"], created=1)

T = TypeVar("T")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for n in range(5):
        (folder / f"file-{n}").write_bytes(os.urandom(1000))
    time.sleep(0.05)  # a file changed within a clock tick of the backup would be read again by the next
    return folder


def objects(vault: Path) -> dict[str, int]:
    return {
        str(p.relative_to(vault)): p.stat().st_size
        for p in vault.rglob("*")
        if p.is_file() and ".rpdrive" not in p.parts
    }


# --- the command ----------------------------------------------------------------------------------------------


def test_a_backup_leaves_its_record_in_the_vault(rpdrive: Cli, vault: Vault, source: Path) -> None:
    made = rpdrive.json("backup", source, "--item", "home", "--machine", "SRV01")
    (job,) = rpdrive.json("jobs")["jobs"]
    assert (job["kind"], job["outcome"], job["machine"], job["item"]) == ("backup", "completed", "SRV01", "home")
    assert job["point"] == made["point"] and job["kept"] == "vault"
    assert (job["files"], job["bytes"], job["read_bytes"], job["new_bytes"]) == (5, 5000, 5000, 5000)
    assert job["began"] <= job["finished"] and job["seconds"] >= 0 and job["warnings"] == 0
    assert job["stored_bytes"] == sum(made[key] for key in ("data_bytes", "tree_bytes", "record_bytes")) - sum(
        size for name, size in objects(rpdrive.vault).items() if name.startswith("jobs/")
    )
    text = rpdrive.ok("jobs", job["id"][:10])
    assert job["id"] in text and made["point"] in text and "0 unchanged" in text and "SRV01" in text
    rpdrive.ok("machine", "rename", "SRV01", "SRV02")
    assert "SRV02" in rpdrive.ok("jobs", "--machine", "SRV02")
    rpdrive.fails("jobs", "--machine", "SRV01", code=4)
    rpdrive.fails("jobs", "ffffffffff", code=4)


def test_an_unchanged_backup_adds_under_16_kib_with_its_record(rpdrive: Cli, vault: Vault, source: Path) -> None:
    rpdrive.ok("backup", source)
    before = objects(rpdrive.vault)
    made = rpdrive.json("backup", source)
    added = {name: size for name, size in objects(rpdrive.vault).items() if name not in before}
    assert {name.split("/")[0] for name in added} == {"points", "jobs"}
    assert sum(added.values()) == made["record_bytes"] < 16 << 10


def test_warnings_are_told_with_their_files(rpdrive: Cli, vault: Vault, source: Path) -> None:
    done = rpdrive.run("backup", source, source.with_name("missing"), "--json")
    assert done.returncode == 3, done
    made = json.loads(done.stdout)
    (job,) = rpdrive.json("jobs")["jobs"]
    assert (job["outcome"], job["warnings"]) == ("completed with warnings", made["problem_count"])
    full = rpdrive.json("jobs", job["id"])
    assert full["problems"] == made["problems"] and len(full["problems"]) == made["problem_count"] > 0
    assert f"/{full['problems'][0]['path']}: {full['problems'][0]['reason']}" in rpdrive.ok("jobs", job["id"])


def test_a_dry_run_is_no_job(rpdrive: Cli, vault: Vault, source: Path) -> None:
    rpdrive.ok("backup", source, "--dry-run")
    assert rpdrive.json("jobs")["jobs"] == []
    assert "no jobs" in rpdrive.ok("jobs")


def test_an_interrupted_backup_leaves_a_record(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.mkdir()
    with (source / "file").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    environ = rpdrive.environ
    process = subprocess.Popen(
        rpdrive.slow_command("backup", source), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # Interrupted in the middle: the first of at least two packs is stored, and no point.
    eventually(lambda: any(rpdrive.vault.glob("packs/*/*/*")) or process.poll() is not None, "a pack is stored")
    process.send_signal(signal.SIGINT)
    _out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    (job,) = rpdrive.json("jobs")["jobs"]
    assert (job["outcome"], job["point"], job["kept"]) == ("interrupted", None, "vault")
    rpdrive.ok("backup", source)
    assert [job["outcome"] for job in rpdrive.json("jobs")["jobs"]] == ["interrupted", "completed"]
    assert len(rpdrive.json("jobs", "--last", "1")["jobs"]) == 1
    assert len(rpdrive.json("jobs", "--last", "0")["jobs"]) == 2


@pytest.mark.needs_root
def test_restores_are_kept_here(rpdrive: Cli, vault: Vault, source: Path, tmp_path: Path) -> None:
    rpdrive.ok("backup", source, "--machine", "SRV01")
    before = objects(rpdrive.vault)
    rpdrive.ok("restore", "latest", "--to", tmp_path / "out")
    assert objects(rpdrive.vault) == before
    backup, restore = rpdrive.json("jobs")["jobs"]
    assert (restore["kind"], restore["outcome"], restore["kept"]) == ("restore", "completed", "here")
    assert restore["point"] == backup["point"] and restore["files"] == 5
    assert str(tmp_path / "out") in rpdrive.ok("jobs", restore["id"])
    assert len(rpdrive.json("jobs", "--machine", "SRV01")["jobs"]) == 2
    # Jobs of another vault are not listed.
    rpdrive.ok("vault", "create", tmp_path / "other")
    assert rpdrive.json("jobs", "--vault", tmp_path / "other")["jobs"] == []
    # Another home lists only the jobs in the vault.
    assert len(rpdrive.json("jobs", env={"RPDRIVE_HOME": str(tmp_path / "another")})["jobs"]) == 1


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("complete", Outcome.COMPLETED),
        ("warnings", Outcome.WITH_WARNINGS),
        ("interrupted", Outcome.INTERRUPTED),
        ("of a later version", "of a later version"),
    ],
)
def test_outcomes_in_files_of_other_versions(tmp_path: Path, written: str, read: str) -> None:
    job = LocalJob(
        id="1", kind="restore", point="", machine="", item="", target="/", started=1, finished=2, bytes=0, files=0,
        warnings=[], warning_count=0, outcome=written,
    )  # fmt: skip
    whole = LocalJobs(tmp_path).add(job)
    for n, bad in enumerate(
        (b"", whole.read_bytes()[:50], whole.read_bytes().replace(b'"kind":"', b'"kind":"\xb3'))
    ):
        whole.with_name(f"bad-{n}.json").write_bytes(bad)
    assert [job.outcome for job in LocalJobs(tmp_path).all()] == [read]
    assert restore_word(read) == written


# --- records that can't be written or read ---------------------------------------------------------------------


def outcome_of(tmp_path: Path) -> tuple[Vault, Result]:
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    source.joinpath("file").write_text("content")
    vault = new_vault(MemoryStore())
    (tmp_path / "state").mkdir()
    return vault, back_up(vault, tmp_path / "state", source)


def test_a_record_that_cant_be_written_is_kept_here(tmp_path: Path) -> None:
    vault, outcome = outcome_of(tmp_path)
    full = Vault(FullStore(vault.store, 10), vault.keys, vault.file)
    assert Record(full, tmp_path / "state", MACHINE, ITEM).completed(outcome) == 0
    assert vault.job_names() == []
    (local,) = LocalJobs(tmp_path / "state").all()
    assert (local.kind, local.outcome, local.vault) == ("backup", "completed", vault.id.hex())
    rows, damaged = job_rows(vault, [local], None, 50)
    assert [row_json(row)["kept"] for row in rows] == ["here"] and damaged == []
    # Nor can it be written here: still no error.
    folder = tmp_path / "state" / "jobs"
    folder.rename(tmp_path / "moved")
    folder.write_text("not a folder")
    assert Record(full, tmp_path / "state", MACHINE, ITEM).completed(outcome) == 0


@pytest.mark.parametrize("error", [StoreUnreachable("gone"), AccessDenied("no"), StoreFull("full"), Damaged("odd")])
def test_a_failed_run_says_why(tmp_path: Path, error: Exception) -> None:
    vault = new_vault(MemoryStore())
    (tmp_path / "state").mkdir()
    record = Record(vault, tmp_path / "state", MACHINE, ITEM)
    for n in range(150):
        record.problem(Problem(b"home/%d" % n, "can't be read"))
    record.ended(error, Progress(files=7, size=700))
    local = LocalJobs(tmp_path / "state").all()
    (row,), damaged = job_rows(vault, local, None, 50)
    assert damaged == []
    # An unreachable store is not tried again.
    assert row_json(row)["kept"] == ("here" if isinstance(error, StoreUnreachable | AccessDenied) else "vault")
    assert (row.outcome, row.error, row.files) == ("failed", str(error), 7)
    full = one_job(vault, local, row.id)
    assert full.warnings == 150 and full.problems is not None and len(full.problems) == 100


def test_a_store_that_hangs_holds_no_backup_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, outcome = outcome_of(tmp_path)
    away = UnreachableStore(vault.store)
    monkeypatch.setattr("backup.record.PATIENCE", 0.2)
    record = Record(Vault(away, vault.keys, vault.file), tmp_path / "state", MACHINE, ITEM)
    assert record.completed(outcome) == 0
    assert len(LocalJobs(tmp_path / "state").all()) == 1


def test_a_damaged_record_hides_no_other(tmp_path: Path) -> None:
    vault, outcome = outcome_of(tmp_path)
    store = vault.store
    assert isinstance(store, MemoryStore)
    for _ in range(3):
        Record(vault, tmp_path / "state", MACHINE, ITEM).completed(outcome)
    first, second, third = vault.job_names()
    store.objects[str(first)] = spoilt(store.objects[str(first)])
    # The record of one job under the name of another.
    moved: Any = JobName(second.machine, second.time, bytes(16))
    (job,) = [vault.job(second)]
    store.objects[str(moved)] = seal_object(vault.keys, Kind.JOB, str(moved), encode_record(job))
    fresh = Vault(vault.store, vault.keys, vault.file)
    rows, damaged = job_rows(fresh, [], None, 50)
    assert {row.id for row in rows} == {second.id.hex(), third.id.hex()}
    assert [type(e) for e in damaged] == [Damaged, Damaged]
    with pytest.raises(Damaged):
        one_job(fresh, [], first.id.hex())


# --- the newest among many ------------------------------------------------------------------------------------


class Listed(StoreWrapper):
    """Remembers which prefixes were listed, page by page."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.pages: list[tuple[str, int]] = []

    def _pass_on(self, request: Request, call: Callable[[], T]) -> T:
        if request.kind == "list":
            self.pages.append((request.name, request.offset))
        return call()


def many_jobs(count: int, machines: int) -> tuple[Listed, list[JobName]]:
    """A store with names of jobs of some machines, one an hour back from now; newest first."""
    store, hour = Listed(MemoryStore()), 3600 * 10**9
    now = time.time_ns() // 10**9 * 10**9
    names = [JobName(bytes([n % machines]) * 16, now - n * hour, n.to_bytes(16, "big")) for n in range(count)]
    for name in names:
        store.create(str(name), [b"junk"])
    return store, names


@pytest.mark.parametrize("machines", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 500, 4000])
def test_the_newest_jobs_are_listed_without_the_rest(
    monkeypatch: pytest.MonkeyPatch, count: int, machines: int
) -> None:
    page = 100
    for module in ("catalog.jobs.recent", "catalog.store.wrapper"):
        monkeypatch.setattr(f"{module}.LIST_PAGE", page)
    store, names = many_jobs(count, machines)
    vault = new_vault(store)
    for machine in (None, bytes(16)):
        wanted = names if machine is None else [n for n in names if n.machine == machine]
        store.pages.clear()
        assert list(islice(newest_names(vault, machine), 50)) == wanted[:50]
        needed = -(-len(wanted) // page)
        folders = machines if machine is None else 1
        # The first pages, the folders, and two months of each, which have at most 62 days of 24 hours.
        assert len(store.pages) <= max(needed, 1) + 1 or len(store.pages) <= 2 + 4 * folders + 62 * 24 // page
        store.pages.clear()
        assert list(newest_names(vault, machine)) == wanted


def test_the_newest_jobs_of_a_fleet_cost_a_listing_for_each_machine_and_two_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("catalog.jobs.recent", "catalog.store.wrapper"):
        monkeypatch.setattr(f"{module}.LIST_PAGE", 100)
    store, names = many_jobs(8000, 40)  # 80 requests for all of them
    vault = new_vault(store)
    assert list(islice(newest_names(vault), 10)) == names[:10]
    assert len(store.pages) == 1 + 1 + 40
    assert max(page for _prefix, page in store.pages) == 0
    monkeypatch.setattr("catalog.jobs.recent._HELD", 900)  # fewer than there are: the same is listed again
    assert list(newest_names(vault)) == names


def test_a_job_is_found_by_its_id_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("catalog.jobs.recent", "catalog.store.wrapper"):
        monkeypatch.setattr(f"{module}.LIST_PAGE", 100)
    store, names = many_jobs(8000, 40)
    vault = new_vault(store)
    store.pages.clear()
    assert list(names_with_id(vault, names[3].id.hex())) == [names[3]]
    assert len(store.pages) == 42
    assert list(names_with_id(vault, names[3].id.hex()[:-1])) == names[:16]


def test_jobs_of_a_clock_in_the_future_are_listed_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.jobs.recent.LIST_PAGE", 10)
    store, names = many_jobs(100, 1)
    future = JobName(bytes(16), names[0].time + 100 * 86400 * 10**9, b"f" * 16)
    store.create(str(future), [b"junk"])
    every = list(newest_names(new_vault(store)))
    assert sorted(every) == sorted([*names, future])


# --- jobs that have not ended ---------------------------------------------------------------------------------


def begun(vault: Vault, folder: Path, **fields: Any) -> Job:
    job = Job(
        id=os.urandom(16), machine=MACHINE.id, item=ITEM.id, kind="backup", outcome="failed", machine_name="a",
        item_name="home", hostname="a", time=time.time_ns(), finished=0,
    )  # fmt: skip
    job = msgspec.structs.replace(job, **fields)
    Running(vault, folder, job).ended(msgspec.structs.replace(job, outcome="running"))
    return job


def test_a_start_without_an_end(tmp_path: Path) -> None:
    """At work, or killed: as this machine's history says, and otherwise by later records and by time."""
    vault = new_vault(MemoryStore())
    for name in "ab":
        (tmp_path / name).mkdir()
    job = begun(vault, tmp_path / "a")
    assert [str(name) for name in newest_names(vault)] == [str(StartName(JobName.of(job)))]
    assert vault.job_names() == []

    def shown(ran: list[Ran], now: int | None = None) -> list[str]:
        rows, damaged = job_rows(Vault(vault.store, vault.keys, vault.file), [], None, 0, ran=ran, now=now)
        assert damaged == []
        return [row.outcome for row in rows]

    here = History(tmp_path / "a")
    assert shown(here.settle(time.time_ns())) == ["running"]
    gone = here.settle(time.time_ns(), alive=lambda ran: False)
    assert shown(gone) == ["killed"]
    assert [ran.outcome for ran in here.all()] == ["killed"], "and that is noted"
    # As another machine sees it.
    assert shown([], job.time + DAY) == ["running"]
    assert shown([], job.time + DAY + 1) == ["killed"]
    assert one_job(vault, [], job.id.hex()[:8]).outcome == "running"
    later = begun(vault, tmp_path / "b", time=job.time + 60 * 10**9)
    assert shown([]) == ["running", "running"]
    assert shown([], later.time) == ["killed", "running"], "one backup of a machine runs at a time"
    other = StartName(JobName.of(later))
    record = vault.read_checked(Kind.JOB, Job, other)
    store = vault.store
    assert isinstance(store, MemoryStore)
    record.boot = "another start of the machine"
    store.objects[str(other)] = seal_object(vault.keys, Kind.JOB, str(other), encode_record(record))
    assert shown([]) == ["killed", "running"]
    record.outcome = "completed"
    vault.add_job(record)
    assert shown([]) == ["killed", "completed"], "the name of its start is no job of its own"


def test_a_killed_backup_is_seen_at_once(rpdrive: Cli, vault: Vault, source: Path) -> None:
    (source / "large").write_bytes(os.urandom(34 << 20))
    command = rpdrive.slow_command("backup", source, "--item", "home")
    running = subprocess.Popen(command, env=rpdrive.environ, stdout=subprocess.DEVNULL)
    starts = "jobs/*/*.started"
    eventually(lambda: any(rpdrive.vault.glob(starts)) or running.poll() is not None, "the start is stored")
    running.send_signal(signal.SIGSTOP)  # so that it is at work however long the next command takes
    (job,) = rpdrive.json("jobs")["jobs"]
    assert (job["kind"], job["outcome"], job["item"]) == ("backup", "running", "home")
    running.kill()
    running.wait(60)
    state = rpdrive.home / "state"
    for kind in ("restore", "prune"):  # begun by a process that is gone
        gone = Ran(id=f"{len(kind):032x}", kind=kind, vault=vault.id.hex(), started=time.time_ns(), boot="earlier")
        History(state).add(gone)
    job, restore = rpdrive.json("jobs")["jobs"]
    assert (job["outcome"], job["finished"], job["seconds"]) == ("killed", None, None)
    assert (restore["kind"], restore["outcome"], restore["kept"]) == ("restore", "killed", "here")
    assert "outcome   killed" in rpdrive.ok("jobs", restore["id"])
