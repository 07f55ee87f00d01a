"""Tests in whole machines under QEMU. All of them are slow: `make soak` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDS = (
    pytest.mark.soak,
    pytest.mark.needs_root,
    pytest.mark.needs_program("qemu-system-x86_64", "debootstrap", "setpriv", "mke2fs"),
    pytest.mark.timeout(3600),
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            for marker in NEEDS:
                item.add_marker(marker)
