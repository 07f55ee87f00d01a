"""A vault with a few trees, and a page for it, shared by a module."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mount.browse.resources.wire import path64
from tests.kit.browsing import Page, opened_vault, page_of
from tests.kit.cli import Cli
from tests.kit.drives import eventually, noise
from tests.kit.vaults import home_of, make_vault

ODD = b"odd \xff\n':$(x)"  # not text, and what a shell would act upon


class Restoring:
    """A machine with a point of `source`, and a page for it. The page's processes have this environment."""

    def __init__(self, folder: Path, page: Page, cli: Cli, point: str) -> None:
        self.folder, self.page, self.cli, self.point = folder, page, cli, point
        self.source = folder / "source"

    def at(self, path: Path | bytes) -> dict[str, str]:
        """A place of the point, for a request."""
        return {"point": self.point, "at": path64(os.fsencode(path))}

    def planned(self, *places: Path | bytes, to: Path | None = None, **wish: Any) -> dict[str, Any]:
        """A restore once it is planned, or once that failed."""
        where: dict[str, Any] = {"in_place": True} if to is None else {"to": path64(os.fsencode(to))}
        wanted = [self.at(place) for place in places]
        one = self.page.post("/restores", {"places": wanted} | where | wish)["id"]
        return self.ended(one)

    def show(self, one: str) -> dict[str, Any]:
        found: dict[str, Any] = self.page.get(f"/restores/{one}")
        return found

    def ended(self, one: str) -> dict[str, Any]:
        """A restore once no process is at work on it."""
        eventually(lambda: self.show(one)["state"] not in ("planning", "running"), f"{one} ends", 120)
        return self.show(one)

    def done(self, one: str) -> dict[str, Any]:
        """Start a restore, and wait for its end."""
        self.page.post(f"/restores/{one}/start")
        return self.ended(one)


def make_source(source: Path) -> None:
    """Files, folders, symlinks, hard links, a sparse file, and names that aren't text."""
    (source / "sub" / "deep").mkdir(parents=True)
    for n in range(20):
        (source / "sub" / f"{n:02d}.txt").write_bytes(noise(1000 + n, n))
    (source / "sub/deep/10:30 notes").write_text("a colon")
    (source / "link").symlink_to("sub/00.txt")
    os.link(source / "sub/01.txt", source / "twin")
    (source / "empty").mkdir()
    Path(os.fsdecode(os.fsencode(source) + b"/" + ODD)).write_bytes(b"odd")
    with (source / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restoring]:
    folder = tmp_path_factory.mktemp("restoring")
    cli = Cli(folder)
    make_vault(cli.vault)
    make_source(folder / "source")
    point = cli.json("backup", folder / "source")["point"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in home_of(cli.home, str(cli.vault)).items():
            patch.setenv(name, value)
        with page_of(opened_vault(cli.home, cli.vault)) as page:
            yield Restoring(folder, page, cli, point)
