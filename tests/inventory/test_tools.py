"""Tools of the system: one that hangs, prints gigabytes or leaves children behind costs itself."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from catalog.inventory.tools import Tools


class Doubles:
    """Programs of our own in a folder, which is all that Tools look in but for /usr/bin and /bin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def add(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + body + "\n")
        path.chmod(0o755)

    def tools(self, **options: float) -> Tools:
        return Tools(f"{self.folder}:/usr/sbin:/usr/bin:/sbin:/bin", **options)


@pytest.fixture
def doubles(tmp_path: Path) -> Doubles:
    return Doubles(tmp_path / "bin")


def test_a_tool_runs_without_a_shell_and_in_plain_english(doubles: Doubles) -> None:
    doubles.add("tool", 'printf "%s|" "$@" "$LC_ALL" "$PWD"; ls /proc/self/fd | wc -l')
    output = doubles.tools().run(["tool", "$(id)", "a b; id"])
    assert output == (b"$(id)|a b; id|C|/|4\n", "", False)  # 0, 1, 2, and the folder that ls lists


def test_no_descriptor_of_ours_is_passed_on(doubles: Doubles, tmp_path: Path) -> None:
    doubles.add("tool", "ls -l /proc/self/fd")
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert b"secret" not in doubles.tools().run(["tool"]).text


def test_a_missing_tool_is_named(doubles: Doubles) -> None:
    assert doubles.tools().run(["no-such-tool", "-x"]) == (b"", "no-such-tool is not installed", True)


def test_a_tool_that_fails_says_why(doubles: Doubles) -> None:
    doubles.add("tool", "echo some; echo 'it is\n broken' >&2; exit 4")
    assert doubles.tools().run(["tool"]) == (b"some\n", "tool ended with code 4: it is broken", False)
    assert doubles.tools().run(["tool"], accept=(0, 4)) == (b"some\n", "", False)


def test_a_tool_that_hangs_ends_with_its_children(doubles: Doubles, tmp_path: Path) -> None:
    doubles.add("tool", f"sleep 600 & echo $! > {tmp_path}/child; echo begun; wait")
    output = doubles.tools(seconds=0.3).run(["tool"])
    assert output.text in (b"begun\n", b"")
    assert output.fault.startswith("tool took")
    if (tmp_path / "child").exists():
        child = int((tmp_path / "child").read_text() or 0)
        for _ in range(500):  # until init has collected it
            with suppress(FileNotFoundError):
                if child and Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    time.sleep(0.02)
                    continue
            return
        pytest.fail("the child still runs")


def test_a_tool_that_closes_its_output_and_stays_ends(doubles: Doubles) -> None:
    doubles.add("tool", "exec >&- 2>&-; sleep 600")
    assert "took longer" in doubles.tools(seconds=0.3).run(["tool"]).fault


def test_a_tool_that_prints_without_end_is_stopped(doubles: Doubles) -> None:
    doubles.add("tool", "exec cat /dev/zero")
    output = doubles.tools().run(["tool"], most=1 << 20)
    assert output.fault == "tool printed more than 1,048,576 bytes and was stopped"
    assert len(output.text) <= 1 << 20
    doubles.add("tool", "exec cat /dev/zero >&2")
    assert "took too long" in doubles.tools(seconds=0.3).run(["tool"]).fault


def test_all_tools_together_have_a_limit(doubles: Doubles) -> None:
    doubles.add("tool", "echo one")
    assert doubles.tools(together=0).run(["tool"]).fault == "tool was not run: the tools before it took too long"
