"""Fixtures for the tests that run winfspy over the stand-in for WinFsp."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.needs import missing

if reason := missing(pytest.mark.needs_winfsp.mark):
    pytest.exit(f"tests/mount/winfsp {reason}; or leave it out by -m 'not needs_winfsp'", 4)

from tests.kit.winfsp import standin
from tests.kit.winfsp.wheel import load

load()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    here = f"{Path(__file__).parent}{os.sep}"  # of thousands of tests: comparing texts is quick
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.needs_winfsp)


@pytest.fixture
def winfsp() -> Iterator[None]:
    """winfspy over the stand-in for WinFsp. A call that would crash on Windows fails the test."""
    standin.faults.clear()
    before = standin.volumes()
    yield
    standin.forget(before)
    assert not standin.faults
