"""A desktop for tests: a real X server without a screen, and a real file manager on it that keys are typed to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.drives import eventually

NEEDED = ("Xvfb", "xdotool", "pcmanfm", "dbus-run-session", "import", "xprop")
SIZE = "1000x640"


class Desktop:
    """Windows of pcmanfm, in the list view, by the folders they show."""

    def __init__(self, display: str, folder: Path) -> None:
        self._folder = folder
        self.environment = os.environ | {
            "DISPLAY": display,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "NO_AT_BRIDGE": "1",
            "GTK_THEME": "Raleigh",
            "LC_ALL": "C.UTF-8",
        }
        self._bus: subprocess.Popen[bytes] | None = None

    def configure(self, view: str = "list", names: int = 420, **settings: object) -> None:
        """What a user could choose in the file manager's preferences (libfm.conf). `names` is a width in pixels."""
        for name in ("run", "config/pcmanfm/default", "config/libfm"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "run").chmod(0o700)
        (self._folder / "config/pcmanfm/default/pcmanfm.conf").write_text(
            "[ui]\nalways_show_tabs=0\nwin_width=1000\nwin_height=640\nsplitter_pos=160\n"
            f"view_mode={view}\nsort=name;ascending;\ncolumns=name:{names};size:120;mtime;\n"
        )
        rows = {"single_click": 0, "confirm_del": 0, "app_list_smart": 0} | settings
        text = "".join(f"{name}={value}\n" for name, value in rows.items())
        (self._folder / "config/libfm/libfm.conf").write_text(f"[config]\n{text}\n[ui]\n{text}")

    def open(self, folder: Path) -> str:
        """Start the file manager with a window for a folder: the window, once it shows.

        A start that shows none is given up and tried again: on a busy machine the file manager may wait for
        helpers of its own session for good.
        """
        command = ["dbus-run-session", "--", "pcmanfm", "--no-desktop", str(folder)]
        log = self._folder / "pcmanfm.log"
        for _ in range(4):
            with log.open("ab") as file:
                self._bus = subprocess.Popen(
                    command, env=self.environment, stdout=file, stderr=file, cwd=self._folder
                )
            try:
                return self.window(folder.name, 30)
            except AssertionError:
                self.close()
        raise AssertionError(f"the file manager does not show {folder}: {log.read_text(errors='replace')}")

    def close(self) -> None:
        if self._bus is not None:
            for window in self.windows(".*"):
                subprocess.run(["xdotool", "windowclose", window], env=self.environment, check=False)
            self._bus.terminate()
            try:
                self._bus.wait(10)
            except subprocess.TimeoutExpired:
                self._bus.kill()
                self._bus.wait()
            self._bus = None

    def xdotool(self, *arguments: str) -> str:
        done = subprocess.run(
            ["xdotool", *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout.strip()

    def windows(self, title: str) -> list[str]:
        """Visible windows whose title fits, as the X server counts them."""
        return self.xdotool("search", "--onlyvisible", "--name", title).split()

    def window(self, title: str, seconds: float = 60) -> str:
        """The window of this title; waits for it."""
        found: list[str] = []  # a title is away for a moment while it changes

        def opens() -> bool:
            found[:] = self.windows(f"^{title}$")
            return found != []

        eventually(opens, f"a window {title!r} opens", seconds)
        return found[-1]

    def another(self, window: str, title: str) -> str:
        """A second window beside one of this title, which shows the same folder."""
        before = set(self.windows(f"^{title}$"))

        def opens() -> bool:
            self.keys(window, "ctrl+n")
            try:
                eventually(lambda: not before.issuperset(self.windows(f"^{title}$")), "it opens", 10)
            except AssertionError:
                return False
            return True

        eventually(opens, f"a second window {title!r} opens", 60)
        return next(one for one in self.windows(f"^{title}$") if one not in before)

    def beside(self, left: str, right: str) -> None:
        """Give each of two windows half of the screen."""
        width, height = (int(n) for n in SIZE.split("x"))
        for window, at in ((left, 0), (right, width // 2)):
            self.xdotool("windowsize", "--sync", window, str(width // 2), str(height))
            self.xdotool("windowmove", "--sync", window, str(at), "0")

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Press the mouse's button at a place of the screen, move in small steps, as a hand does, and let go."""
        self.xdotool("mousemove", str(start[0]), str(start[1]), "sleep", "0.2", "mousedown", "1", "sleep", "0.2")
        for n in range(1, 26):
            x, y = (a + (b - a) * n // 25 for a, b in zip(start, end, strict=True))
            self.xdotool("mousemove", str(x), str(y), "sleep", "0.02")
        self.xdotool("sleep", "0.4", "mouseup", "1")

    def keys(self, window: str, *keys: str) -> None:
        self.xdotool("windowfocus", "--sync", window)
        self.xdotool("key", "--delay", "60", *keys)

    def type(self, window: str, text: str) -> None:
        self.xdotool("windowfocus", "--sync", window)
        self.xdotool("type", "--delay", "15", text)

    def picture(self, path: Path) -> None:
        subprocess.run(["import", "-window", "root", "-colors", "64", path], env=self.environment, check=True)


@contextmanager
def desktop(folder: Path) -> Iterator[Desktop]:
    folder.mkdir()
    reading, writing = os.pipe()
    with (folder / "xvfb.log").open("wb") as log:
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{SIZE}x24", "-nolisten", "tcp"],
            pass_fds=[writing], stdout=log, stderr=log,
        )  # fmt: skip
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()
        assert number, (folder / "xvfb.log").read_text()
        here = Desktop(f":{number}", folder)
        here.configure()
        try:
            yield here
        finally:
            here.close()
    finally:
        server.terminate()
        server.wait()
