"""rpdrive as a drive: in the background, as people use it, and on a store far away."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from drive_tools import Drive, ForegroundDrive, Place, call, is_mounted, unmount
from measured import CommandFailed
from tools import PASSPHRASE, Rpdrive

MACHINE, ITEM = "bench", "data"  # as the vaults have them


class OwnDrive(Drive):
    """rpdrive in the background, as people use it.

    Opened by a saved key unless by `passphrase`. `many`: the vault of many points. `everything`: all points as one
    drive, of which `root` is the folder with the points; else the newest.
    """

    stock = "rpdrive"
    note = Rpdrive.note

    def __init__(
        self, place: Place, driver: str, *, passphrase: bool = False, many: bool = False, everything: bool = False
    ) -> None:
        self.name = driver
        super().__init__(place)
        self._first = Rpdrive(place.folder)
        self._command = self._first.command
        self._everything = everything
        self._home = place.folder / f"rpdrive-{'many' if many else 'one'}-{'passphrase' if passphrase else 'key'}"
        self._vault = place.folder / "rpdrive-many" if many else self._first.repository
        self._environment = self._environment_of(self._vault, self._home)
        if not passphrase:
            del self._environment["RPDRIVE_PASSPHRASE"]
        self.root = self.mount_point
        self.root /= f"{MACHINE}/{ITEM}" if everything else place.source.relative_to("/")

    def _environment_of(self, vault: Path, home: Path) -> dict[str, str]:
        return self._first.environment | {
            "RPDRIVE_VAULT": str(vault), "RPDRIVE_HOME": str(home),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",  # nothing is left in anybody's keyring
        }  # fmt: skip

    def missing(self) -> str:
        return self._first.missing()

    def version(self) -> str:
        return f"{self._first.version()}, driver {self.name}"

    def variant(self, **how: bool) -> OwnDrive:
        """The same driver, opened in another way."""
        return OwnDrive(self.place, self.name, **how)

    def format(self) -> str:
        # A vault serves while reading is worked on, and not beyond a change of what writes it.
        own = Path(__file__).parents[1]
        sources = [path for part in ("backup", "catalog/format") for path in sorted((own / part).glob("*.py"))]
        return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()

    def make(self) -> None:
        self._first.start()
        words = [*self._first.backup(self.place.source), "--machine", MACHINE, "--item", ITEM]
        call(words, self._first.environment, self.place.log)
        if self.place.points > 1:
            many = self.place.folder / "rpdrive-many"
            shutil.rmtree(many, ignore_errors=True)
            shutil.copytree(self._first.repository, many, copy_function=os.link)  # objects never change
            add_points(many, self.place.points - 1)
        self.settle()

    def settle(self) -> None:
        """After a backup: homes for drives, and saved keys in them."""
        vaults = {"one": self._first.repository, "many": self.place.folder / "rpdrive-many"}
        for name, vault in vaults.items():
            for how in ("key", "passphrase"):
                home = self.place.folder / f"rpdrive-{name}-{how}"
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir()
                if how == "key" and vault.exists():
                    words = [self._command, "vault", "unlock", "--save"]
                    call(words, self._environment_of(vault, home), self.place.log)

    def open(self) -> None:
        which = [] if self._everything else ["--point", "latest"]
        words = [self._command, "mount", str(self.mount_point), "--driver", self.name, *which]
        call(words, self._environment, self.place.log)

    def close(self) -> None:
        if not is_mounted(self.mount_point):
            return
        with contextlib.suppress(CommandFailed):
            call([self._command, "unmount", self.mount_point], self._environment, self.place.log)
        unmount(self.mount_point)

    def status(self) -> dict[str, Any]:
        return status_of(self.mount_point, self._command, self._environment, self.place.log)


def status_of(mount_point: Path, command: str, environment: dict[str, str], log: Path) -> dict[str, Any]:
    """The row of `rpdrive mounts` for a drive."""
    rows = json.loads(call([command, "mounts", "--json"], environment, log))
    (row,) = [row for row in rows if row["mount_point"] == str(mount_point)]
    return dict(row)


def add_points(vault_folder: Path, count: int) -> None:
    """More points of the newest one's tree, as backups without a change make them, a second apart."""
    import msgspec

    from catalog.points.choice import choose_point
    from catalog.store.address import open_store
    from catalog.vault import open_vault

    vault = open_vault(open_store(vault_folder.as_uri()), passphrase=PASSPHRASE)
    point = vault.point(choose_point(vault.point_names(), "latest"))
    for _ in range(count):
        point = msgspec.structs.replace(
            point, id=os.urandom(16), previous=point.id, sequence=point.sequence + 1,
            time=point.time + 10**9, finished=point.finished + 10**9,
        )  # fmt: skip
        vault.add_point(point)
    vault.store.close()


class FarDrive(ForegroundDrive):
    """rpdrive on its vault, each request to which takes `delay` seconds longer."""

    note = Rpdrive.note

    def __init__(self, place: Place, driver: str, delay: float) -> None:
        self.name = driver
        super().__init__(place)
        self._delay = delay
        self._first = Rpdrive(place.folder)
        self.root = self.mount_point / place.source.relative_to("/")

    def missing(self) -> str:
        return self._first.missing()

    def version(self) -> str:
        return f"{self._first.version()}, driver {self.name}"

    @property
    def environment(self) -> dict[str, str]:
        return self._first.environment | {"RPDRIVE_HOME": str(self.place.folder / "rpdrive-far")}

    def status(self) -> dict[str, Any]:
        return status_of(self.mount_point, self._first.command, self.environment, self.place.log)

    def words(self) -> list[str]:
        script = str(Path(__file__).with_name("far_drive.py"))
        return [sys.executable, script, str(self.mount_point), self.name, str(self._delay)]
