"""A bad sector below one object of a vault in a folder costs that object, whatever is run; never the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.bad_disk import BadDisk
from tests.kit.inside import Inside
from tests.kit.vaults import make_vault


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a vault that has a record of each kind, the machine's state, and the source."""
    folder = tmp_path_factory.mktemp("made")
    cli = Inside(folder)
    make_vault(cli.vault)
    source = folder / "source"
    source.mkdir()
    for n in range(3):
        (source / f"f{n}").write_bytes(bytes([n]) * 5000)
        cli.ok("backup", source)
    for days in ("8", "9"):
        cli.ok("policy", "set", "--daily", days)
    for note in ("one", "two"):
        cli.ok("hold", "latest", "--reason", note)
    for _ in range(2):
        cli.ok("prune", "--yes")
    cli.ok("check", "--level", "3")
    return folder


COMMANDS = ["points", "check", "check --level 3", "prune", "repair --dry-run", "backup"]
CODES = {  # of these commands, while the newest object of a kind can't be read
    "machines": "099300",  # the machine is left as it is until `rpdrive repair` has made another record
    "items": "099000",
    "points": "999333",
    "packs": "009030",
    "meta": "099333",
    "index": "099000",
    "ledger": "099300",  # nothing goes by the record before it
    "policies": "099300",
    "checks": "000000",
    "jobs": "000000",
    "vault/1.json": "099000",
}


@pytest.mark.parametrize("kind", CODES)
def test_an_object_that_can_not_be_read_costs_itself(
    kind: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = Inside(made)
    paths = [path for path in cli.vault.rglob("*") if path.is_file()]
    objects = {str(path.relative_to(cli.vault)): path.stat().st_mtime_ns for path in paths}
    objects = {name: time for name, time in objects.items() if not name.startswith(".rpdrive")}
    name = max((name for name in objects if name.startswith(kind)), key=lambda name: (objects[name], name))
    disk = BadDisk(cli.vault, monkeypatch)
    disk.spoil(name)
    codes, naming = "", set[str]()
    for words in COMMANDS:
        done = cli.run(*words.split(), *[made / "source"][: words == "backup"])
        codes += str(done.returncode)
        if name in (done.stdout + done.stderr).decode():
            naming.add(words)
    assert codes == CODES[kind]
    assert "check --level 3" in naming
    assert "check" in naming or kind in ("packs", "jobs"), "it reads none, or some of many"
    assert all((cli.vault / one).is_file() for one in objects), "nothing went"
    disk.bad.clear()
    cli.ok("check", "--level", "3")
