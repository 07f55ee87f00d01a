"""Fixtures for every test."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests import again
from tests.kit.cli import rpdrive, vault  # noqa: F401
from tests.kit.needs import mark_by_fixtures, missing
from tests.kit.winfsp.faults import FAULTS, FOLDER, RAN

if TYPE_CHECKING:
    from tests.kit.azurite import Azurite

MEASURING = "COVERAGE_PROCESS_CONFIG"  # makes a Python process measure its coverage
CHOSEN = "RPDRIVE_TEST_CHOSEN"  # names of the variables by which `driver` chooses one
PROFILE = "RPDRIVE_TEST_DRAWS"  # of hypothesis: "same" or "random"
WINFSP = Path(__file__).parent / "mount" / "winfsp"
ROOT = Path(__file__).parents[1]
PACKAGES = ("catalog", "cache", "mount", "backup")

# Compiled modules are kept, whatever the environment says: a command of a test would compile each of its modules
# again, which takes as long as all else of a short command, and pytest each file of tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What `make test` draws depends on the test alone, so that it doesn't fail for a change that is not at fault.
# `make soak` draws at random, and more. How long an example takes depends on the machine's load, and is no failure.
hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("random", deadline=None)
hypothesis.settings.load_profile(os.environ.get(PROFILE, "same"))


def measure_sparingly() -> None:
    """Have the processes of tests measure the same files, without listing those that they don't run.

    With `source`, each process looks for every source at its end, and writes down hundreds of names: half the time
    that measuring a short command takes. `coverage run` itself, which starts all, still does.
    """
    if MEASURING not in os.environ:
        return
    from coverage.config import CoverageConfig

    config = CoverageConfig.deserialize(os.environ[MEASURING])
    config.run_include = [str(ROOT / name) for name in (*(f"{package}/*" for package in PACKAGES), "rpdrive.py")]
    config.source = None
    os.environ[MEASURING] = config.serialize()


def pytest_configure(config: pytest.Config) -> None:
    """Give tests' processes the usual signals, also below nohup: ignoring is inherited, a handler is not.

    SIGPIPE gets one, too. Tests run libfuse in threads of this process; its end would restore the default for a
    SIGPIPE that is ignored, and the next write to a closed connection would end all tests.
    """
    measure_sparingly()
    if again.VARIABLE in os.environ and not hasattr(config, "workerinput"):
        config.pluginmanager.register(again.Noting(Path(os.environ.pop(again.VARIABLE))))
    for name in ("SIGINT", "SIGHUP", "SIGQUIT"):
        number = getattr(signal, name, signal.SIGINT)
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    if sys.platform != "win32":
        signal.signal(signal.SIGPIPE, lambda *_: None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `driver` with each: with winfsp if its module has WINFSP_TOO and it isn't `posix`."""
    if "driver" in metafunc.fixturenames:
        drivers = [pytest.param("kernel"), pytest.param("fuse")]
        if getattr(metafunc.module, "WINFSP_TOO", False) and not metafunc.definition.get_closest_marker("posix"):
            drivers.append(pytest.param("winfsp", marks=pytest.mark.needs_winfsp))
        metafunc.parametrize("driver", drivers, indirect=True, scope="module")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the folder whose modules load winfspy when they are imported, if its tests aren't wanted."""
    return True if collection_path == WINFSP and "not needs_winfsp" in config.option.markexpr else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mark_by_fixtures(items)
    if hasattr(config, "workerinput"):
        longest_first(items)


def longest_first(items: list[pytest.Item]) -> None:
    """Order the files that processes take one by one: no process is to take a long one when the others end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -count[item.path]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep the coverage of processes out of the tests that it would disturb."""
    measuring = os.environ.pop(MEASURING, None) if item.get_closest_marker("unmeasured") else None
    try:
        return (yield)
    finally:
        if measuring is not None:
            os.environ[MEASURING] = measuring


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers():
        if reason := missing(marker):
            pytest.fail(reason, pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def enterable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let other users enter the shared temporary folders, so that no test has to change folders of others."""
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
        patch.setitem(os.environ, CHOSEN, "RPDRIVE_DRIVER")
        if name != "winfsp":
            yield name
            return
        told = tmp_path_factory.mktemp("winfsp")
        patch.setitem(os.environ, FOLDER, str(told))
        patch.setitem(os.environ, "PYTHONPATH", str(Path(__file__).parent / "kit" / "winfsp" / "site"))
        patch.setitem(os.environ, CHOSEN, f"RPDRIVE_DRIVER PYTHONPATH {FOLDER}")
        yield name
        assert (told / RAN).exists(), "no drive was one of WinFsp's"
        assert not (told / FAULTS).exists(), (told / FAULTS).read_text()


@pytest.fixture(autouse=True)
def driver_of_its_own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a test that does not take `driver` the automatic one, though other tests of its module have chosen."""
    if CHOSEN in os.environ and "driver" not in request.fixturenames:
        for name in os.environ[CHOSEN].split():
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A running Azurite, one for the whole session; each test makes its own containers in it."""
    from tests.kit.azurite import running_azurite  # it loads the SDK, which most tests don't need

    with running_azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server
