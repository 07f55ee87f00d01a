"""Fixtures for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.azurite import Azurite, running_azurite
from tests.cli import rpdrive, vault  # noqa: F401
from tests.winfsp import standin
from tests.winfsp.wheel import load


@pytest.fixture(scope="module", params=["kernel", "fuse"])
def driver(request: pytest.FixtureRequest) -> Iterator[str]:
    """Drives are opened by this driver; what asks for it is done with each. To come before any Home."""
    name = str(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "RPDRIVE_DRIVER", name)
        yield name


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A running Azurite, one for the whole session; a test makes containers of its own in it."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def winfsp() -> Iterator[None]:
    """winfspy over the stand-in for WinFsp. What is done to it that Windows would not bear fails the test."""
    load()
    standin.faults.clear()
    yield
    standin.forget()
    assert not standin.faults
