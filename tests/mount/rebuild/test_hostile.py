"""No value of a recovery point becomes a command: scripts of hostile states, run over stand-ins for commands."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.inventory.reading import read_state
from catalog.inventory.values import SystemState
from mount.rebuild.finishing import Restore
from mount.rebuild.names import Target
from mount.rebuild.script import Wanted, plan_rebuild, write_script
from mount.rebuild.shell import in_target, joined, one_line, word, words
from tests.kit.machines import LAYOUTS, targets

SIZE = 1 << 40
COMMANDS = """
awk blkid blockdev btrfs cat chmod chroot cp cryptsetup df efibootmgr find findmnt grep head id lsblk lvcreate mdadm
mkdir mkfs.btrfs mkfs.ext2 mkfs.ext3 mkfs.ext4 mkfs.vfat mkfs.xfs mkswap mount mountpoint mv pvcreate pvs readlink
rm rpdrive sed sfdisk sort stty sync tr tune2fs udevadm umount vgchange vgcreate vgs wipefs
"""
SAID = {
    "blockdev": f"echo {SIZE}",
    "id": "echo 0",
    "cat": "while read -r line; do :; done",
    "find": "echo EFI/grubx64.efi",
}
FAILS = ("mountpoint", "vgs", "grep")
HOSTILE = (
    "$(canary)", "`canary`", "'; canary; '", '"; canary; "', "a\ncanary\n", "a\rcanary", "; canary #", "|canary",
    "&canary", "\\'; canary #", "${IFS}canary", "x' || canary || 'x", "-rf", "--help", "a b", "'", '"', "\\",
    "$target", "*", "~", "\x00canary", "\u2028canary", "\x1b[2J", "EOF\ncanary\nEOF", "\udc80", "é", ")",
    "} ; canary ; {", "%s%n", "/../..",
)  # fmt: skip


def stand_ins() -> str:
    """Functions in place of commands: they note their arguments. Only builtins run, so it takes milliseconds."""
    lines = ['canary() { echo canary >>"$CALLED"; }']
    for name in COMMANDS.split():
        result = "return 1" if name in FAILS else SAID.get(name, ":")
        lines.append(f"{name}() {{ printf '%s\\n' '{name}' >>\"$CALLED\"; {result}; }}")
    return "\n".join(lines) + "\n"


def calls(script: str) -> tuple[int, list[str], str]:
    """Run a script over the stand-ins: exit code, the commands called in order, stderr."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "script").write_bytes(script.encode(errors="surrogateescape"))
        (folder / "stand-ins").write_text(stand_ins())
        (folder / "called").touch()
        (folder / "target").mkdir()
        environ = {
            "CALLED": str(folder / "called"),
            "TARGET": str(folder / "target"),
            "PATH": "/nowhere",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            ["/bin/bash", "-c", f". {folder}/stand-ins; set -- --yes; . {folder}/script"], env=environ,
            input=b"a word\n" * 100, capture_output=True, timeout=60, check=False, cwd=folder,
        )  # fmt: skip
        left = {path.name for path in folder.iterdir()} - {"script", "stand-ins", "called", "target"}
        assert not left, f"files were made: {left}"
        return (
            done.returncode,
            (folder / "called").read_text().split("\n")[:-1],
            done.stderr.decode(errors="replace"),
        )


def script_of(state: SystemState, title: str = "a title") -> str:
    """The script, though there may be refusals: what refuses is not what protects."""
    wanted = Wanted({old: Target(t.path, SIZE) for old, t in targets(state).items() if t is not None})
    rebuild = plan_rebuild(state, wanted)
    restores = [Restore(place, "ab" * 16, "" if place == "/" else place, title) for place in rebuild.places]
    return write_script(state, rebuild, wanted, restores, title=title, vault=title)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_script_runs_to_its_end_over_the_stand_ins(name: str) -> None:
    code, called, told = calls(script_of(LAYOUTS[name]()))
    assert "phase 8: checks" in told
    assert "checks failed" in told  # a stand-in mounts nothing
    assert code == 1
    assert called.index("sfdisk") < called.index("mount") < called.index("rpdrive") < called.index("chroot")


def test_the_stand_ins_would_notice() -> None:
    """What the other tests assert can fail: a value that isn't quoted calls the canary."""
    assert "canary" in calls("echo a; canary\n")[1]
    assert "canary" in calls('x="$(canary)"\n')[1]


def poisoned(value: Any, replacements: dict[int, str], count: list[int]) -> Any:
    """The same value, with texts replaced: numbered from the first to the last."""
    if isinstance(value, msgspec.Struct):
        fields = {name: poisoned(getattr(value, name), replacements, count) for name in value.__struct_fields__}
        return type(value)(**fields)
    if isinstance(value, list):
        return [poisoned(one, replacements, count) for one in value]
    if isinstance(value, dict):
        return {key: poisoned(one, replacements, count) for key, one in value.items()}
    if isinstance(value, str):
        count[0] += 1
        bad = replacements.get(count[0])
        return value if bad is None else bad if count[0] % 2 else value + bad
    return value


def number_of_texts(state: SystemState) -> int:
    count = [0]
    poisoned(state, {}, count)
    return count[0]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_value_becomes_a_command(data: st.DataObject) -> None:
    state = LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))]()
    last = number_of_texts(state)
    bad = st.sampled_from(HOSTILE) | st.text(alphabet="'\"\\$`;|&()<>{}\n #canry-*~", max_size=12)
    replacements = data.draw(st.dictionaries(st.integers(1, last), bad, max_size=last // 2))
    _, called, told = calls(script_of(poisoned(state, replacements, [0]), data.draw(bad)))
    assert "canary" not in called
    assert "command not found" not in told
    assert "syntax error" not in told


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_text_for_itself_is_quoted(name: str, tmp_path: Path) -> None:
    """Every text of a state in turn, several at once where they do not carry the layout. One parse for all."""
    state = LAYOUTS[name]()
    scripts = []
    for number in range(1, number_of_texts(state) + 1):
        bad = HOSTILE[number % len(HOSTILE)]
        scripts.append(script_of(poisoned(state, {number: bad}, [0])))
    path = tmp_path / "all.sh"
    path.write_bytes("\n".join(scripts).encode(errors="surrogateescape"))
    done = subprocess.run(["/bin/sh", "-n", path], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_words_come_back_from_a_shell_as_they_were(values: list[str]) -> None:
    kept = [value.replace("\0", "") for value in values]
    assert shlex.split(words(*values)) == kept
    assert shlex.split(joined(*values)) == (["".join(kept)])
    assert "\n" not in one_line("\n".join(values))


def test_a_hundred_values_through_a_real_shell() -> None:
    done = subprocess.run(["/bin/sh", "-c", f"printf '%s\\0' {words(*HOSTILE)}"], capture_output=True, check=True)
    assert done.stdout.decode(errors="surrogateescape").split("\0")[:-1] == [h.replace("\0", "") for h in HOSTILE]
    assert word("") == "''"
    assert in_target("/") == '"$target"'


def test_what_reading_lets_through_is_rebuilt_without_harm() -> None:
    """By the door that a hostile system.json really comes in."""
    raw = msgspec.to_builtins(LAYOUTS["efi_lvm"]())
    raw["volume_groups"][0]["logical"][1]["name"] = "root; canary"
    raw["disks"][0]["partitions"][0]["name"] = "$(canary)"
    raw["computer"]["hostname"] = "`canary`"
    state = read_state(msgspec.json.encode(raw)).state
    code, called, _ = calls(script_of(state, state.computer.hostname))
    assert code == 1
    assert "canary" not in called
