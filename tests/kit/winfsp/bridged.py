"""rpdrive's driver for WinFsp as a driver of this system: on the stand-in, and by the bridge on a folder here."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from catalog.errors import MountFailed
from catalog.names import shown, true_name
from tests.kit.winfsp import standin
from tests.kit.winfsp.bridge import Bridge, Names, serve
from tests.kit.winfsp.caller import Caller
from tests.kit.winfsp.faults import FAULTS, FOLDER, RAN
from tests.kit.winfsp.security import Token

PLACE = "R:"


def _here(name: str) -> bytes:
    found = true_name(name)
    return name.encode() if found is None else found  # only a listing of the folder could resolve a shortened name


NAMES = Names(there=shown, here=_here)


def _tell(name: str, lines: list[str]) -> None:
    if FOLDER in os.environ:
        with (Path(os.environ[FOLDER]) / name).open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


def bridged(drive_of_windows: type[Any]) -> type[Any]:
    class Drive(drive_of_windows):  # type: ignore[misc]
        name = "bridge"

        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.setdefault("user_sid", Token().user)
            self._tell = options.pop("ready", lambda: None)
            self._ready_there = threading.Event()
            super().__init__(*arguments, ready=self._ready_there.set, **options)

        def run(self, mount_point: str, *, allow_other: bool = False, at: str | None = None) -> None:
            failures: list[BaseException] = []

            def run_there() -> None:
                try:
                    drive_of_windows.run(self, PLACE, allow_other=allow_other)
                except BaseException as e:  # noqa: BLE001 - for the thread that waits
                    failures.append(e)
                    self._ready_there.set()

            thread = threading.Thread(target=run_there, name="windows")
            thread.start()
            self._ready_there.wait()
            try:
                if failures:
                    raise failures[0]
                volume = standin.volume_at(PLACE)
                assert volume is not None
                bridge = Bridge(Caller(volume), NAMES, self._tell)
                _tell(RAN, [mount_point])
                serve(bridge, mount_point, allow_other=allow_other, keep=not self.view.changes)
            except RuntimeError as e:
                raise MountFailed(f"the bridge can't be mounted at {mount_point}") from e
            finally:
                self.stop()
                thread.join()
                if standin.faults:
                    _tell(FAULTS, standin.faults)

    return Drive
