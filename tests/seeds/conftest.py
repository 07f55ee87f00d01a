"""Small disks, and a source that takes many steps to store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.exporting import small_steps
from tests.kit.seeding import tmpfs
from tests.kit.sources import many_packs


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backups take many small steps."""
    small_steps(monkeypatch)


@pytest.fixture
def disks(tmp_path: Path, steps: None) -> Iterator[list[Path]]:
    """Two disks; the first one has no room for all of `source`."""
    with ExitStack() as stack:
        sizes = ("1500k", "16m")
        yield [stack.enter_context(tmpfs(tmp_path / f"disk-{n}", size)) for n, size in enumerate(sizes, 1)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    many_packs(folder)
    return folder
