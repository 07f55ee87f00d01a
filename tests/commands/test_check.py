"""`rpdrive check` and `rpdrive test-restore` as commands: on a folder and on Azurite, with damage and without."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from tests.kit.azurite import ACCOUNT, Azurite
from tests.kit.cli import Cli

DAMAGED = 9


def source_of(folder: Path) -> Path:
    source = folder / "source"
    source.mkdir()
    for n in range(5):
        (source / f"file-{n}").write_bytes(random.Random(n).randbytes(400_000))
    return source


def answer(cli: Cli, *args: str, code: int = 0) -> dict[str, Any]:
    done = cli.run(*args, "--json")
    assert done.returncode == code, done
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def requests(cli: Cli, *args: str) -> tuple[int, int]:
    """The requests of a command, and the bytes that it received, as reported with -v."""
    done = cli.run("-v", *args)
    assert done.returncode == 0, done
    said = re.search(rb"rpdrive: (\d+) requests, .*?(\d+) bytes received", done.stderr)
    assert said is not None, done
    return int(said[1]), int(said[2])


def test_rot_is_found_named_and_remembered(rpdrive: Cli, tmp_path: Path) -> None:
    source = source_of(tmp_path)
    rpdrive.ok("vault", "create")
    rpdrive.ok("backup", str(source))
    good = answer(rpdrive, "check", "--level", "3")
    assert (good["damaged"], good["findings"], good["packs_read"]) == (False, [], good["objects"])
    (pack,) = [path for path in (rpdrive.vault / "packs").rglob("*") if path.is_file()]
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[1_000_000] ^= 4
    pack.write_bytes(data)
    text = rpdrive.run("check", "--level", "3")
    assert text.returncode == DAMAGED
    assert text.stderr.startswith(b"rpdrive: reading 256 of 256 slices: ")
    named = re.search(r"1 file can't be given back: (/.*)", text.stdout.decode())
    assert named is not None
    assert named[1] in {str(path) for path in source.iterdir()}
    assert f"is damaged: 1 file can't be given back: {named[1]}" in rpdrive.ok("points")
    test = answer(rpdrive, "test-restore", "--percent", "100", code=DAMAGED)
    assert [row["path"] for row in test["failures"]] == [named[1]]
    jobs = rpdrive.json("jobs")["jobs"]
    assert [(job["kind"], job["outcome"]) for job in jobs] == [
        ("backup", "completed"), ("check", "completed"), ("check", "completed with warnings"),
        ("restore test", "failed"),
    ]  # fmt: skip
    shown = rpdrive.ok("jobs", jobs[2]["id"])
    assert f"{named[1]}: can't be given back from 1 point" in shown
    assert "of packs" in shown
    data[1_000_000] ^= 4
    pack.write_bytes(data)
    assert rpdrive.run("check", "--level", "2", "--percent", "0.1").returncode == 0
    assert "damaged" not in rpdrive.ok("points")


def test_checks_and_restore_tests_in_azure(rpdrive: Cli, azurite: Azurite, tmp_path: Path) -> None:
    container = azurite.container("checked")
    rpdrive.environ |= azurite.environ | {"RPDRIVE_VAULT": f"azure://{ACCOUNT}/checked"}
    rpdrive.ok("vault", "create")
    rpdrive.ok("backup", str(source_of(tmp_path)))
    packs = [blob for blob in container.list_blobs() if blob.name.startswith(("packs/", "meta/"))]
    requests(rpdrive, "check")  # keeps records and the mark on this machine
    shallow, _received = requests(rpdrive, "check")
    deep, received = requests(rpdrive, "check", "--level", "3")
    # A request for each pack; a listing to plan with, a listing and a request for the record. What this run noted,
    # its job with its start and the record, is opened as all records are.
    assert deep - shallow == len(packs) + 3 + 3
    assert received >= sum(blob.size for blob in packs)
    assert answer(rpdrive, "test-restore", "--mount")["verdict"] == "passed"
    (pack,) = [blob.name for blob in packs if blob.name.startswith("packs/")]
    data = bytearray(container.download_blob(pack).readall())
    data[70_000] ^= 1
    container.upload_blob(pack, bytes(data), overwrite=True)
    found = rpdrive.run("check", "--level", "3")
    assert found.returncode == DAMAGED
    assert b"0.00 USD of it for the transfer out of the region" in found.stderr
    assert found.stdout.startswith(b"damaged block: packs/")
    assert answer(rpdrive, "test-restore", "--percent", "100", code=DAMAGED)["verdict"] == "failed"


def test_options_are_refused_before_the_passphrase(rpdrive: Cli) -> None:
    env = {"RPDRIVE_PASSPHRASE": None}
    rpdrive.fails("check", "--level", "2", "--item", "home", code=2, env=env)
    assert "test-restore" in rpdrive.fails("check", "--level", "4", code=2, env=env)
