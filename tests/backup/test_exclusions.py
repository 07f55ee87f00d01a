"""What rules leave out of a backup, wherever they stand; what is said about it, and `--why`."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from backup.census import Census
from backup.exclusions import Exclusions
from backup.selection import Selection
from backup.systems.this import this_system
from backup.why import answer
from catalog.errors import LocalError, UsageError
from catalog.format.records import Point
from catalog.vault import Vault
from tests.kit.cli import Cli
from tests.kit.descriptors import descriptors
from tests.kit.recorded import PointReader

TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for name in ("a/b", "cache/sub", "own/deep"):
        (folder / name).mkdir(parents=True)
    for name in (
        "r.xlsx",
        "a/r.xlsx",
        "a/b/r.xlsx",
        "a/x.tmp",
        "cache/f",
        "cache/g",
        "cache/sub/h",
        "own/1",
        "own/2.tmp",
    ):
        (folder / name).write_text(name)
    (folder / "own/deep/3").write_text("three")
    return folder


def latest(vault: Vault) -> Point:
    return vault.point(max(vault.point_names(), key=lambda n: n.sequence))


def saved(vault: Vault, folder: Path) -> set[str]:
    """The files of the newest point below a folder."""
    entries = PointReader(vault).snapshot(latest(vault), folder).entries
    return {os.fsdecode(p) for p, e in entries.items() if e.kind == 0}


ALL = {
    "r.xlsx", "a/r.xlsx", "a/b/r.xlsx", "a/x.tmp", "cache/f", "cache/g", "cache/sub/h", "own/1", "own/2.tmp",
    "own/deep/3",
}  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        (["*", "!*/", "!*.xlsx"], {"r.xlsx", "a/r.xlsx", "a/b/r.xlsx"}),
        (["{}/cache/**", "!{}/cache/f"], ALL - {"cache/g", "cache/sub/h"}),
        (["{}/cache/**/"], ALL - {"cache/sub/h"}),
        (["[[:digit:]]*"], ALL - {"own/1", "own/2.tmp", "own/deep/3"}),
    ],
)
def test_rules_that_once_had_other_answers(
    rpdrive: Cli, vault: Vault, folder: Path, tmp_path: Path, rules: list[str], left: set[str]
) -> None:
    given = [rule.format(folder) for rule in rules]
    rpdrive.ok("backup", folder, *(o for rule in given for o in ("--exclude", rule)))
    assert saved(vault, folder) == left
    assert latest(vault).excludes == given
    (tmp_path / "rules").write_text("\n".join(["# of this machine", "", *given]) + "\n")
    rpdrive.ok("backup", folder, "--exclude-file", tmp_path / "rules")
    assert saved(vault, folder) == left
    assert latest(vault).excludes == [f"# {tmp_path}/rules", *given]


def test_the_order_of_rules(rpdrive: Cli, vault: Vault, folder: Path, tmp_path: Path) -> None:
    """As git's: an option before files in the folders, the lowest first, before files of an option."""
    (tmp_path / "first").write_text("*.xlsx\n*.tmp\n")
    (tmp_path / "second").write_text("!x.tmp\n")
    (folder / ".rules").write_text("!/a/r.xlsx\n/own/\n")
    (folder / "a/.rules").write_text("*\n!b/\n!x.tmp\n")
    (folder / "own/.rules").write_text("!*\n")
    files = [f"--exclude-file={tmp_path / name}" for name in ("first", "second")]
    options = [*files, "--ignore-files", ".rules"]
    rpdrive.ok("backup", folder, *options)
    kept = {"a/x.tmp", "cache/f", "cache/g", "cache/sub/h", ".rules"}
    assert saved(vault, folder) == kept
    rpdrive.ok("backup", folder, *options, "--exclude", "!*.xlsx", "--exclude", "x.tmp", "--exclude", "/*/nothing")
    assert saved(vault, folder) == (kept - {"a/x.tmp"}) | {"r.xlsx", "a/r.xlsx", "a/b/r.xlsx"}


def test_files_of_rules_that_are_not_used(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    (folder / "a/.rules").write_text("*\n" + "#" * (64 << 10))
    (folder / "own/.rules").symlink_to("../cache/f")
    (folder / "cache/.rules").mkdir()
    done = rpdrive.run("backup", folder, "--ignore-files", ".rules")
    assert done.returncode == 3
    assert f"{folder}/a: its rules in .rules are not used: ".encode() in done.stderr, done
    assert b"has more than 64 KiB" in done.stderr
    assert saved(vault, folder) == ALL | {"a/.rules"}
    assert "takes a name" in rpdrive.fails("backup", folder, "--ignore-files", "a/b", code=2)
    assert "can't be read" in rpdrive.fails("backup", folder, "--exclude-file", folder / "none", code=11)


def test_rules_in_folders_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup.exclusions._ACTIVE_MAX", 5)
    layer, said = Exclusions(ignore_files=".rules").top, list[str]()
    assert layer is not None
    for _ in range(4):
        layer = layer.within(lambda name, most: b"a\nb\n", lambda: b"x", said.append)
    assert said == ["its rules in .rules are not used: folders in each other have more than 5 rules"] * 2
    assert folder.exists()


def test_caches(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    (folder / "cache/CACHEDIR.TAG").write_bytes(TAG)
    (folder / "own/CACHEDIR.TAG").write_bytes(b"not a tag")
    rpdrive.ok("backup", folder)
    assert saved(vault, folder) == ALL | {"cache/CACHEDIR.TAG", "own/CACHEDIR.TAG"}
    rpdrive.ok("backup", folder, "--exclude-caches")
    left = ALL - {"cache/f", "cache/g", "cache/sub/h"} | {"cache/CACHEDIR.TAG", "own/CACHEDIR.TAG"}
    assert saved(vault, folder) == left


def test_a_cache_that_was_given_as_a_path(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    (folder / "cache/CACHEDIR.TAG").write_bytes(TAG)
    done = rpdrive.run("backup", folder / "cache", folder / "own", "--exclude-caches")
    assert done.returncode == 3
    assert b"/cache: given as a path, but a CACHEDIR.TAG marks it as a cache: left out" in done.stderr
    assert saved(vault, folder) == {"cache/CACHEDIR.TAG", "own/1", "own/2.tmp", "own/deep/3"}


def test_case(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    rpdrive.ok("backup", folder, "--exclude", "*.XLSX", "--exclude", "CACHE/")
    assert saved(vault, folder) == ALL
    rpdrive.ok("backup", folder, "--exclude", "*.XLSX", "--exclude", "CACHE/", "--ignore-case")
    assert saved(vault, folder) == {"a/x.tmp", "own/1", "own/2.tmp", "own/deep/3"}


@pytest.mark.parametrize(
    ("paths", "rule", "said"),
    [
        ([""], "{}/*", "no file of it is saved: all are left out, e.g. by the rule {}/* (--exclude)"),
        (
            ["a", "own"],
            "{}/own/**",
            "no file of it is saved: all are left out, e.g. by the rule {}/own/** (--exclude)",
        ),
        (["a", "own"], "own", "given as a path, but left out by the rule own (--exclude)"),
        (["a/b", "own"], "{}/a/", "above a path, but left out by the rule {}/a/ (--exclude)"),
        (["r.xlsx", "own"], "*.xlsx", "given as a path, but left out by the rule *.xlsx (--exclude)"),
    ],
)
def test_a_given_path_that_is_left_out_is_a_problem(
    rpdrive: Cli, vault: Vault, folder: Path, paths: list[str], rule: str, said: str
) -> None:
    given = [folder / path for path in paths]
    for _ in range(2):  # also if nothing has changed
        done = rpdrive.run("backup", *given, "--item", "odd", "--exclude", rule.format(folder))
        assert done.returncode == 3, done
        assert said.format(folder).encode() in done.stderr
        assert latest(vault).problem_count == 1


def test_an_empty_folder_is_no_problem(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    (folder / "empty").mkdir()
    rpdrive.ok("backup", folder / "empty", folder / "a", "--exclude", "*.tmp")
    assert latest(vault).problem_count == 0


def test_why(rpdrive: Cli, folder: Path, tmp_path: Path) -> None:
    """It needs no vault."""
    (tmp_path / "rules").write_text("# first\n*.tmp\n!x.tmp\n")
    (folder / "own/.rules").write_text("\n/1\n")
    (folder / "cache/CACHEDIR.TAG").write_bytes(TAG)
    (folder / "link").symlink_to("a")
    options = ["--exclude-file", str(tmp_path / "rules"), "--ignore-files", ".rules", "--exclude-caches"]
    asked = {
        "own/2.tmp": f"not saved: left out by the rule *.tmp ({tmp_path}/rules, line 2)",
        "a/x.tmp": f"saved: kept by the rule !x.tmp ({tmp_path}/rules, line 3)",
        "own/1": f"not saved: left out by the rule /1 ({folder}/own/.rules, line 2)",
        "own/deep/3": f"not saved: {folder}/own/deep is left out by the rule deep/ (--exclude)",
        "cache/f": f"not saved: {folder}/cache is marked as a cache by a CACHEDIR.TAG",
        "cache/CACHEDIR.TAG": "saved: no rule matches it",
        "r.xlsx": "saved: no rule matches it",
        "none": f"not saved: {folder}/none can't be read: No such file or directory",
        "link/r.xlsx": "saved: no rule matches it",
        "link": "saved: no rule matches it",
        "r.xlsx/x": f"not saved: {folder}/r.xlsx is no folder",
        "../home": "not saved: it is not below a path that was given",
    }
    rpdrive.home.mkdir(exist_ok=True)
    why = [o for path in asked for o in ("--why", str(folder / path))]
    lines = rpdrive.ok("backup", folder, *options, "--exclude", "deep/", "--dry-run", *why).splitlines()
    names = [os.path.abspath(folder / path).replace("/link/", "/a/") for path in asked]
    assert lines == [f"{name}: {text}" for name, text in zip(names, asked.values(), strict=True)]
    found = rpdrive.json("backup", folder, *options, "--why", folder / "own/2.tmp", "--why", folder / "r.xlsx")
    assert [(row["saved"], row["rule"], row["source"], row["line"]) for row in found] == [
        (False, "*.tmp", f"{tmp_path}/rules", 2),
        (True, None, None, None),
    ]
    assert not rpdrive.vault.exists()


def test_why_answers_as_the_backup_does(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    (folder / "own/.rules").write_text("!*\n*.tmp\n!deep/\n")
    options = ["--exclude", "/**/b/", "--exclude", "h", "--ignore-files", ".rules"]
    rpdrive.ok("backup", folder, *options)
    found = saved(vault, folder)
    why = [o for path in sorted(ALL) for o in ("--why", folder / path)]
    rows = rpdrive.json("backup", folder, *options, *why)
    assert {p for p, row in zip(sorted(ALL), rows, strict=True) if row["saved"]} == found - {"own/.rules"}


def test_the_census_counts_what_the_rules_leave(folder: Path) -> None:
    (folder / "own/.rules").write_text("deep/\n")
    (folder / "cache/CACHEDIR.TAG").write_bytes(TAG)
    exclusions = Exclusions(["*.tmp", "b/"], ignore_files=".rules", caches=True)
    census = Census(Selection([os.fsencode(folder), os.fsencode(folder / "a/x.tmp")], exclusions=exclusions))
    census.start()
    census._thread.join(60)
    wanted = ("r.xlsx", "a/r.xlsx", "own/1", "own/.rules", "a/x.tmp")
    assert census.total == sum((folder / name).stat().st_size for name in wanted)


@pytest.mark.parametrize("options", [[], ["--ignore-files", ".rules"]])
def test_a_dry_run_has_the_same_rules(rpdrive: Cli, vault: Vault, folder: Path, options: list[str]) -> None:
    (folder / "own/.rules").write_text("1\n")
    rpdrive.ok("backup", folder, "--exclude", "*.tmp", *options)
    row = rpdrive.json("backup", folder, "--exclude", "*.tmp", *options, "--dry-run")
    assert (row["new"], row["removed"]) == (0, 0)
    assert row["unchanged"] == latest(vault).totals.entries


def test_exclusions_of_a_wrong_kind() -> None:
    with pytest.raises(LocalError, match="can't be read"):
        Exclusions(files=[Path("/none/such")])
    with pytest.raises(UsageError, match="takes a name"):
        Exclusions(ignore_files="..")
    assert Exclusions().top is None
    many = Exclusions([f"*.{n}" for n in range(2_000)], ignore_files=".rules", caches=True)
    assert len(many.recorded) == 1001
    assert many.recorded[-1] == "# and 1,002 more"


def test_the_whole_machine_and_other_file_systems(tmp_path: Path) -> None:
    system, before = this_system(), descriptors()
    everything = Selection([b"/"], exclusions=Exclusions(["/dev/shm/none"]))
    assert answer(everything, system, os.fsencode(tmp_path)).saved
    assert "pseudo file system" in answer(everything, system, b"/proc/version").reason
    own = tmp_path.stat()
    skipped = Selection([b"/"], skip={(own.st_dev, own.st_ino)})
    assert "of rpdrive" in answer(skipped, system, os.fsencode(tmp_path / "x")).reason
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        there = Selection([b"/"], one_file_system=True)
        assert not answer(there, system, os.fsencode(other)).saved
    assert descriptors() == before


def test_restore_by_rules(rpdrive: Cli, vault: Vault, folder: Path, tmp_path: Path) -> None:
    rpdrive.ok("backup", folder)
    assert latest(vault).problem_count == 0
    text = rpdrive.fails("restore", f"latest:{folder}", "--to", tmp_path / "1", "--include", "*.nothing", code=4)
    assert "nothing matches --include" in text
    text = rpdrive.fails("restore", f"latest:{folder}/r.xlsx", "--to", tmp_path / "2", "--include", "*.tmp", code=4)
    done = rpdrive.run("restore", f"latest:{folder}/r.xlsx", "--to", tmp_path / "5", "--exclude", "*.xlsx")
    assert done.returncode == 3 and b"given as a source, but left out by --exclude" in done.stdout, done
    rpdrive.ok("restore", f"latest:{folder}", "--to", tmp_path / "3", "--include", f"{folder}/cache/**/")
    assert sorted(p.name for p in (tmp_path / "3").rglob("*") if p.is_file()) == ["h"]
    exclude = ["--exclude", f"{folder}/cache/**", "--exclude", f"!{folder}/cache/f"]
    rpdrive.ok("restore", f"latest:{folder}/cache", "--to", tmp_path / "4", *exclude)
    assert sorted(p.name for p in (tmp_path / "4").rglob("*") if p.is_file()) == ["f"]


def test_find_by_the_end_of_a_path(rpdrive: Cli, vault: Vault, folder: Path) -> None:
    rpdrive.ok("backup", folder)
    assert latest(vault).problem_count == 0
    assert rpdrive.ok("find", "/source/a/b/r.xlsx").endswith(f"{folder}/a/b/r.xlsx\n")
    assert rpdrive.ok("find", f"{folder}/r.xlsx").count("\n") == 1
    assert [row["path"] for row in json.loads(rpdrive.ok("find", "/a/r.xlsx", "--json"))["found"]] == [
        f"{folder}/a/r.xlsx"
    ]
    assert rpdrive.ok("find", "/r.xlsx") == ""  # a name alone is found without the slash
