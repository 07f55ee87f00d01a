"""Fixtures for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.azurite import Azurite, running_azurite
from tests.kit.cli import rpdrive, vault  # noqa: F401
from tests.kit.winfsp import standin
from tests.kit.winfsp.faults import FAULTS, FOLDER, RAN
from tests.kit.winfsp.wheel import load


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What asks for a driver is done with each; with winfsp if its module says so and it is not marked `posix`."""
    if "driver" in metafunc.fixturenames:
        drivers = ["kernel", "fuse"]
        if getattr(metafunc.module, "WINFSP_TOO", False) and not metafunc.definition.get_closest_marker("posix"):
            drivers.append("winfsp")
        metafunc.parametrize("driver", drivers, indirect=True, scope="module")


@pytest.fixture(scope="session", autouse=True)
def enterable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests that let another user in change the folders above theirs: not those that other tests lie in, too."""
    base = tmp_path_factory.getbasetemp()
    for folder in (base, base.parent):
        if folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o711)


@pytest.fixture(scope="module")
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Drives are opened by this driver. To come before any Home.

    `winfsp` runs on the stand-in for WinFsp and shows here by the bridge; see tests/kit/winfsp.
    """
    name = str(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "RPDRIVE_DRIVER", name)
        if name != "winfsp":
            yield name
            return
        told = tmp_path_factory.mktemp("winfsp")
        patch.setitem(os.environ, FOLDER, str(told))
        patch.setitem(os.environ, "PYTHONPATH", str(Path(__file__).parent / "kit" / "winfsp" / "site"))
        yield name
        assert (told / RAN).exists(), "no drive was one of WinFsp's"
        assert not (told / FAULTS).exists(), (told / FAULTS).read_text()


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
    before = standin.volumes()
    yield
    standin.forget(before)
    assert not standin.faults
