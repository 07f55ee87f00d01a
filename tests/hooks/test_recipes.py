"""The recipes of docs/hooks.md on real databases: what is restored has what was committed before the backup."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.access.settings import Settings
from catalog.hooks.around import Around, job_facts
from catalog.hooks.config import read_hooks
from catalog.vault import Vault
from tests.hooks.recipes import Postgres, new_cluster, script
from tests.kit.cli import Cli


def hook(cli: Cli, name: str, stage: str, *run: str | Path) -> None:
    path = Settings(cli.environ).config / "hooks.toml"
    path.write_text(f'[[hook]]\nname = "{name}"\nstage = "{stage}"\nrun = {[str(word) for word in run]}\n')
    path.chmod(0o600)


@pytest.mark.needs_program("sqlite3")
def test_sqlite(rpdrive: Cli, vault: Vault, tmp_path: Path) -> None:
    """While a writer commits, and the newest rows are only in the write-ahead log."""
    database, copies = tmp_path / "app.db", tmp_path / "copies"
    copies.mkdir()
    writer = sqlite3.connect(database)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("CREATE TABLE t (n INTEGER, text TEXT)")
    writer.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"row {n}") for n in range(1000)])
    writer.commit()
    writer.execute("INSERT INTO t VALUES (-1, 'not committed')")
    hook(rpdrive, "sqlite", "before", script("rpdrive-sqlite", tmp_path), database, copies / "app.db")
    rpdrive.ok("backup", copies)
    writer.commit()
    rpdrive.ok("backup", copies)
    writer.close()
    assert len(rpdrive.json("points")["points"]) == 2
    rpdrive.ok("restore", f"latest:{copies}/app.db", "--to", tmp_path / "out")
    restored = sqlite3.connect(tmp_path / "out" / "app.db")
    assert restored.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert restored.execute("SELECT count(*), min(n), max(n) FROM t").fetchone() == (1001, -1, 999)
    restored.close()


@pytest.fixture
def server() -> Iterator[Postgres]:
    """In a folder that user postgres may reach, and whose sockets have short names."""
    folder = Path(tempfile.mkdtemp(prefix="rpdrive-pg-"))
    folder.chmod(0o711)
    try:
        yield new_cluster(folder / "pg")
    finally:
        shutil.rmtree(folder)


@pytest.mark.needs_root
@pytest.mark.needs_program("psql", "pg_dump", "setpriv")
def test_a_dump_of_postgresql(
    rpdrive: Cli, vault: Vault, server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that a cluster is held and released; what that is good for, the soak shows."""
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    with server.running():
        server.sql("CREATE ROLE seller")
        server.sql('CREATE DATABASE "a shop"')
        server.sql("CREATE TABLE t AS SELECT n, md5(n::text) AS text FROM generate_series(1, 1000) n", "a shop")
        server.sql("ALTER TABLE t OWNER TO seller", "a shop")
        hook(rpdrive, "dump", "before", script("rpdrive-pg-dump", tmp_path), dumps)
        rpdrive.ok("backup", dumps, env=server.environ)
        server.sql('DROP DATABASE "a shop"')
        server.sql("DROP ROLE seller")
        rpdrive.ok("restore", f"latest:{dumps}", "--to", tmp_path / "out")
        found = next(p for p in (tmp_path / "out").rglob("globals.sql")).parent
        server.as_postgres("psql", "-Xq", "-d", "postgres", stdin=(found / "globals.sql").read_bytes())
        server.sql('CREATE DATABASE "a shop"')
        server.as_postgres(
            "pg_restore", "--exit-on-error", "-d", "a shop", stdin=(found / "a shop.dump").read_bytes()
        )
        assert server.sql("SELECT count(*), max(n) FROM t", "a shop") == "1000|1000"
        assert server.sql("SELECT tableowner FROM pg_tables WHERE tablename = 't'", "a shop") == "seller"
        hook(rpdrive, "hold", "hold", script("rpdrive-pg-hold", tmp_path), tmp_path)
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        around = Around(read_hooks(Settings(rpdrive.environ)), "x", job_facts(job="17"), pytest.fail)
        around.begin()
        around.check()
        around.end()
        assert (tmp_path / "label-17").read_text().startswith("START WAL LOCATION: ")


@pytest.mark.soak
@pytest.mark.needs_root
@pytest.mark.needs_program("psql", "pg_dump", "setpriv")
def test_a_held_base_backup_of_postgresql(rpdrive: Cli, vault: Vault, server: Postgres, tmp_path: Path) -> None:
    """While a writer goes on. The restored server starts and has all rows that were committed before the backup."""
    log = server.sockets / "wal"
    log.mkdir()
    shutil.chown(log, "postgres", "postgres")
    server.configure(
        archive_mode="on",
        archive_command=f"test ! -f {log}/%f && cp %p {log}/%f.new && mv {log}/%f.new {log}/%f",
    )  # fmt: skip
    hook(rpdrive, "hold", "hold", script("rpdrive-pg-hold", tmp_path), log)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            server.sql("INSERT INTO t SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 1000) n")

    with server.running():
        server.sql("CREATE TABLE t (n int, text text)")
        server.sql("INSERT INTO t SELECT n, 'before' FROM generate_series(1, 5000) n")
        writer = threading.Thread(target=write)
        writer.start()
        try:
            exclude = [f"--exclude={name}" for name in ("pg_wal/*", "postmaster.pid", "postmaster.opts")]
            done = rpdrive.run("backup", server.data, "--item", "pg-base", *exclude, env=server.environ)
            assert done.returncode in (0, 3), done
            job = next(row for row in rpdrive.json("jobs")["jobs"] if row["item"] == "pg-base")
            assert (log / f"label-{job['id']}").is_file()
            rpdrive.ok("backup", log, "--item", "pg-wal", env=server.environ)
        finally:
            ended.set()
            writer.join()
    rpdrive.ok("restore", f"latest:{server.data}", "--item", "pg-base", "--to", server.sockets / "base")
    rpdrive.ok("restore", f"latest:{log}", "--item", "pg-wal", "--to", server.sockets / "saved")
    saved = next((server.sockets / "saved").rglob("label-*")).parent
    data = next((server.sockets / "base").rglob("postgresql.auto.conf")).parent
    base = Postgres(data, server.sockets)
    shutil.copy(saved / f"label-{job['id']}", data / "backup_label")
    (data / "recovery.signal").touch()
    base.configure(restore_command=f"cp {saved}/%f %p", archive_mode="off")
    shutil.chown(data.parent, "postgres", "postgres")
    for path in [data, *data.rglob("*"), saved, *saved.rglob("*")]:
        shutil.chown(path, "postgres", "postgres")
    data.chmod(0o700)
    with base.running():
        while base.sql("SELECT pg_is_in_recovery()") == "t":
            time.sleep(0.1)
        assert base.sql("SELECT count(*) FROM t WHERE text = 'before'") == "5000"
        assert base.sql("SELECT count(*) % 1000 FROM t") == "0", "each INSERT is whole, or not there"
        base.sql("CREATE TABLE works ()")
