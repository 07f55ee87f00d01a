"""A vault with two points of a tree, and a page for it, shared by a module."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.access.session import Session
from catalog.access.settings import Settings
from catalog.jobs.local import new_job_id
from catalog.store.local import LocalStore
from catalog.vault import Vault, open_vault
from mount.browse.resources.wire import path64, path_of
from mount.browse.running.child import RunningRestore
from mount.browse.running.files import RestoreFiles
from mount.browse.running.order import Order
from mount.browse.running.status import Place as PlaceAt
from mount.browse.running.status import Request, Status
from mount.process.this import PROCESSES
from tests.kit.browsing import Page, opened_vault, page_of
from tests.kit.cli import Cli
from tests.kit.drives import eventually, noise
from tests.kit.protected import Protected
from tests.kit.vaults import PASSPHRASE, home_of, make_vault

ODD = b"odd \xff\n':$(x)"  # not text, and what a shell would act upon
SECONDS = 120.0  # until a process must have ended, on a busy machine


class Restoring:
    """A machine with a point of `source`, and a page for it. The page's processes have this environment.

    `earlier` is a point of a file that the later one, `point`, does not have.
    """

    def __init__(self, folder: Path, page: Page, cli: Cli, earlier: str, point: str) -> None:
        self.folder, self.page, self.cli, self.earlier, self.point = folder, page, cli, earlier, point
        self.source = folder / "source"

    def at(self, path: Path | bytes, point: str | None = None) -> dict[str, str]:
        """A place of the point, for a request."""
        return {"point": point or self.point, "at": path64(os.fsencode(path))}

    def planned(self, *places: dict[str, str], to: Path | None = None, **wish: Any) -> dict[str, Any]:
        """A restore once it is planned, or once that failed."""
        where: dict[str, Any] = {"in_place": True} if to is None else {"to": path64(os.fsencode(to))}
        one = self.page.post("/restores", {"places": list(places)} | where | wish)["id"]
        return self.ended(one)

    def show(self, one: str) -> dict[str, Any]:
        found: dict[str, Any] = self.page.get(f"/restores/{one}")
        return found

    def ended(self, one: str) -> dict[str, Any]:
        """A restore once no process is at work on it."""
        eventually(lambda: self.show(one)["state"] not in ("planning", "running"), f"{one} ends", SECONDS)
        return self.show(one)

    def done(self, one: str) -> dict[str, Any]:
        """Start a restore, and wait for its end."""
        self.page.post(f"/restores/{one}/start")
        return self.ended(one)

    def plan(self, *places: dict[str, str], to: Path | None = None, **wish: Any) -> dict[str, Any]:
        """As `planned`, by this process: the same code in a hundredth of the time."""
        one, pid = new_job_id(), os.getpid()
        asked = [PlaceAt(place["point"], path_of(place["at"])) for place in places]
        request = Request(places=asked, to=None if to is None else os.fsencode(to), **wish)
        status = Status(id=one, vault=self.page.opened.vault.id.hex(), request=request, made=time.time_ns())
        status.pid, status.process = pid, PROCESSES.started(pid) or ""
        return self._run(status, plan=True)

    def start(self, one: str) -> dict[str, Any]:
        """As `done`, by this process."""
        status = self._files.read(one)
        assert status.state == "planned", status
        status.state = "running"
        return self._run(status, plan=False)

    @property
    def _files(self) -> RestoreFiles:
        return RestoreFiles(Settings(home_of(self.cli.home, str(self.cli.vault))))

    def _run(self, status: Status, *, plan: bool) -> dict[str, Any]:
        self._files.write(status)
        session = Session(Settings(home_of(self.cli.home, str(self.cli.vault))))
        order = Order(id=status.id, address=session.address, master=self.page.opened.vault.keys.master, plan=plan)
        RunningRestore(order, session, self._files).run(lambda: None)
        session.close()
        return self.show(status.id)


class Elsewhere(Page):
    """A page of another process, by the link that it printed."""

    def __init__(self, url: str) -> None:
        self._url, self._cookie, self._key = url, "", ""
        self.port = int(url.partition("/#")[0].rpartition(":")[2])
        self.origin = f"http://127.0.0.1:{self.port}"

    def link(self) -> str:
        return self._url


class Gate:
    """A restore stops before it begins to write, until the gate is opened."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self._reached, self._gate = folder / "reached", folder / "gate"
        self._hooks = Settings(cli.environ).config / "hooks.toml"
        script = f"touch {self._reached}; while [ ! -e {self._gate} ]; do sleep 0.05; done"
        self._hooks.write_text(
            f'[[hook]]\nname = "gate"\nstage = "before_restore"\nrun = ["/bin/sh", "-c", "{script}"]\n'
        )
        self._hooks.chmod(0o600)

    def reached(self) -> None:
        eventually(self._reached.exists, "the restore begins", SECONDS)

    def open(self) -> None:
        self._gate.touch()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_error: object) -> None:
        self.open()
        self._hooks.unlink()


def make_source(source: Path) -> None:
    """Files, folders, symlinks, hard links, a sparse file, and names that aren't text."""
    (source / "sub" / "deep").mkdir(parents=True)
    for n in range(20):
        (source / "sub" / f"{n:02d}.txt").write_bytes(noise(1000 + n, n))
    (source / "sub/deep/10:30 notes").write_text("a colon")
    (source / "link").symlink_to("sub/00.txt")
    os.link(source / "sub/01.txt", source / "twin")
    (source / "empty").mkdir()
    odd(source).write_bytes(b"odd")
    with (source / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")


def odd(folder: Path) -> Path:
    """The file with the odd name."""
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + ODD))


class Machine(Protected):
    """Backs up into a vault that the command opens, too."""

    @property
    def vault(self) -> Vault:
        return open_vault(self.store, passphrase=PASSPHRASE)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restoring]:
    folder = tmp_path_factory.mktemp("restoring")
    cli = Cli(folder)
    make_vault(cli.vault)
    make_source(folder / "source")
    (folder / "source/gone").write_text("only in the earlier point")
    machine = Machine(LocalStore(cli.vault), cli.home / "state", item="data")
    earlier = machine.backup(folder / "source").point
    (folder / "source/gone").unlink()
    point = machine.backup(folder / "source").point
    assert earlier is not None and point is not None
    with pytest.MonkeyPatch.context() as patch:
        for name, value in home_of(cli.home, str(cli.vault)).items():
            patch.setenv(name, value)
        with page_of(opened_vault(cli.home, cli.vault)) as page:
            yield Restoring(folder, page, cli, earlier.id.hex(), point.id.hex())
