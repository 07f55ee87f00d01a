"""What setup and CI fetch: fixed versions, each file with a hash."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "tests" / "locks"


def locked(name: str) -> dict[str, str]:
    """The text of each package's entry in a lock, by its normalised name."""
    entries = re.split(r"\n(?=\S)", (LOCKS / f"{name}.txt").read_text())
    return {re.sub(r"[-_.]+", "-", e.partition("==")[0]).lower(): e for e in entries if e}


def normalised(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.mark.parametrize("name", ["build", "demo", "test", "winfspy"])
def test_every_package_has_one_version_and_hashes(name: str) -> None:
    for entry in locked(name).values():
        assert re.match(
            r"[a-z0-9-]+==[^ ]+(?: ; [^\n\\]+)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\\n|$))+", entry
        ), entry
        assert "://" not in entry


def test_what_the_project_needs_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {normalised(r) for r in project["project"]["dependencies"]}
    assert needed <= set(locked("demo")), "run tests/locks/renew.sh"
    needed |= {normalised(r) for r in project["project"]["optional-dependencies"]["dev"]}
    assert needed <= set(locked("test")), "run tests/locks/renew.sh"
    assert {normalised(r) for r in project["build-system"]["requires"]} <= set(locked("build"))


def test_azurite_is_locked() -> None:
    setup = (ROOT / "tests" / "setup.sh").read_text()
    (version,) = re.findall(r"^AZURITE=(.*)$", setup, re.M)
    (winfspy,) = re.findall(r"^WINFSPY=(.*)$", setup, re.M)
    assert locked("winfspy")["winfspy"].startswith(f"winfspy=={winfspy} ")
    wanted = json.loads((LOCKS / "azurite" / "package.json").read_text())["dependencies"]
    assert wanted.keys() == {"azurite", "axe-core", "typescript"}
    assert wanted["azurite"] == version
    packages = json.loads((LOCKS / "azurite" / "package-lock.json").read_text())["packages"]
    for name, one in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == one
    for name, row in packages.items():
        assert not name or row["integrity"].startswith("sha512-"), name
        assert "resolved" not in row


def test_actions_are_named_by_their_commit() -> None:
    for path in (ROOT / ".github" / "workflows").iterdir():
        for used in re.findall(r"uses: *(\S+)", path.read_text()):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", used), f"{path.name}: {used}"
