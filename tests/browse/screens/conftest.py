"""A vault that a real machine wrote over three days, for all tests of screens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Tab

from tests.kit.browser import DESKTOP, Watched, watched
from tests.kit.browsing import Page, opened_vault, page_of
from tests.kit.cli import Cli
from tests.kit.vaults import home_of

DAY = 86_400 * 10**9  # ns
REPORT = "".join(f"line {n} of the report\n" for n in range(1, 41))

# Three backups in one process, whose clock is two days late, then one, then right. Between them, files change.
BACKUPS = """
import sys, time
from pathlib import Path
now, late = time.time_ns, 2
time.time_ns = lambda: now() - late * 86_400 * 10**9
import rpdrive
source = Path(sys.argv[1])
for late in (2, 1, 0):
    if late < 2:
        text = (source / "docs" / "report.txt").read_text()
        (source / "docs" / "report.txt").write_text(text.replace(f"line {7 * (3 - late)} ", "A NEW LINE "))
        (source / "docs" / f"day-{late}.txt").write_text(f"written {late} days ago")
    if late == 0:
        (source / "docs" / "precious.txt").unlink()
    assert rpdrive.run(["backup", "--item", "home", str(source)]) == 0
print("the points:", flush=True)
assert rpdrive.run(["points", "--json"]) == 0
"""


class Lived(NamedTuple):
    """`kept` is a copy of the source's docs as they were at the first backup, `source` what the last one saw.

    `first` is the day (UTC) of the first backup.
    """

    cli: Cli
    source: Path
    kept: Path
    first: str


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    folder = tmp_path_factory.mktemp("lived")
    cli = Cli(folder)
    with tempfile.TemporaryDirectory(prefix="rpdrive-") as short:  # a few folders deep only
        yield _live(cli, folder, Path(short) / "anna")


def _live(cli: Cli, folder: Path, source: Path) -> Lived:
    docs = source / "docs"
    (docs / "old").mkdir(parents=True)
    (docs / "report.txt").write_text(REPORT)
    (docs / "precious.txt").write_bytes(os.urandom(300_000))
    (docs / "old" / "letter.txt").write_text("dear you\n")
    (docs / "old" / "link").symlink_to("letter.txt")
    kept = folder / "kept"
    subprocess.run(["cp", "-a", docs, kept], check=True)
    cli.ok("vault", "create")
    command = [sys.executable, "-c", BACKUPS, str(source)]
    done = subprocess.run(command, env=cli.environ, check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    points = json.loads(done.stdout.partition("the points:")[2])["points"]
    return Lived(cli, source, kept, points[0]["time"][:10])


@pytest.fixture(scope="module")
def page(lived: Lived) -> Iterator[Page]:
    """A page for it. The page's processes have this environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in home_of(lived.cli.home, str(lived.cli.vault)).items():
            patch.setenv(name, value)
        with page_of(opened_vault(lived.cli.home, lived.cli.vault)) as found:
            yield found


def enter(page: Page, context: Watched, path: str = "/") -> Tab:
    """A new tab that opens a fresh link to a path of the page."""
    tab = context.context.new_page()
    tab.goto(page.link().replace("/#", f"{path}#"))
    expect(tab.locator("main h1")).to_be_visible()
    return tab


@pytest.fixture
def desk(browser: Browser) -> Iterator[Watched]:
    with watched(browser, DESKTOP) as found:
        yield found
