"""The scripts of docs/hooks.md, as a person would take them from there, and a PostgreSQL server of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
_SCRIPT = re.compile(r"`/usr/local/sbin/([a-z-]+)`:\n\n```[a-z]+\n(.*?)```", re.DOTALL)
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def script(name: str, folder: Path) -> Path:
    """A script of the page, ready to run."""
    path = folder / name
    path.write_text(dict(_SCRIPT.findall(PAGE.read_text()))[name])
    path.chmod(0o755)
    return path


class Postgres:
    """A server that runs as the user postgres, without a network. `environ` leads its clients to it."""

    def __init__(self, data: Path, sockets: Path) -> None:
        self.data, self.sockets = data, sockets
        self.environ = {"PGHOST": str(sockets), "PGPORT": "5432", "PATH": f"{PROGRAMS[-1]}:{os.environ['PATH']}"}

    def as_postgres(self, *command: str | Path, stdin: bytes | None = None) -> str:
        """The output of a command that user postgres runs and that succeeds."""
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
        done = subprocess.run(
            [*become, *map(str, command)], env=os.environ | self.environ, cwd="/", input=stdin, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode()
        return done.stdout.decode().strip()

    def sql(self, text: str, database: str = "postgres") -> str:
        return self.as_postgres("psql", "-AtXq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text)

    def configure(self, **settings: str) -> None:
        with (self.data / "postgresql.conf").open("a") as file:
            for name, value in settings.items():
                file.write(f"{name} = '{value}'\n")

    @contextmanager
    def running(self) -> Iterator[None]:
        log = self.sockets / "log"
        self.as_postgres("pg_ctl", "-D", self.data, "-w", "-t", "100", "-l", log, "start")
        try:
            yield
        finally:
            self.as_postgres("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")


def new_cluster(folder: Path) -> Postgres:
    """A new one in `folder`, which does not exist yet, and whose parents user postgres may pass."""
    folder.mkdir()
    shutil.chown(folder, "postgres", "postgres")
    server = Postgres(folder / "data", folder)
    server.as_postgres("initdb", "-D", server.data, "--no-sync", "-A", "trust", "--no-locale", "-E", "UTF8")
    server.configure(
        listen_addresses="", unix_socket_directories=str(folder), fsync="off", shared_buffers="16MB",
        max_connections="10", autovacuum="off", wal_level="replica",
    )  # fmt: skip
    return server
