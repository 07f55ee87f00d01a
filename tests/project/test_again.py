"""What fails beside other tests is run once more, alone, and only where that can't hide a fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.again import MOST, VARIABLE, again

CONFTEST = """
import os
from pathlib import Path
from tests.again import Noting

def pytest_configure(config):
    if "NAME" in os.environ and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Noting(Path(os.environ["NAME"])))
""".replace("NAME", VARIABLE)
UNLUCKY = """
import os, pytest
from pathlib import Path

@pytest.mark.parametrize("n", range({count}))
def test_unlucky(n):
    seen = Path(__file__).with_name(f"seen-{{n}}")
    if not seen.exists():
        seen.touch()
        assert False

def test_good():
    pass
"""


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, *more: str) -> int:
    """The exit code of pytest with such tests, after what failed was run again."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_them.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    failed = folder / "failed"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *more], env={**os.environ, VARIABLE: str(failed)}, check=False
    )
    return again(done.returncode, failed, folder)


def test_bad_luck_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, monkeypatch, UNLUCKY.format(count=MOST), "-n", "2") == 0
    told = capfd.readouterr().out.partition("FAILED BESIDE OTHERS")[2].splitlines()[1:]
    assert sorted(line.strip() for line in told) == [f"test_them.py::test_unlucky[{n}]" for n in range(MOST)]


@pytest.mark.parametrize(
    "text",
    [
        UNLUCKY.format(count=MOST + 1),  # too many for bad luck
        UNLUCKY.format(count=1) + "\ndef test_bad():\n    assert False\n",
        "import os\n\ndef test_bad():\n    os._exit(1)\n",  # the process died: others were not run
        "assert False\n",
    ],
)
def test_faults_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert run(tmp_path, monkeypatch, text, "-n", "2", "--max-worker-restart", "0") != 0
