"""Drives on a real Windows, with a real WinFsp: what no test elsewhere can show. For .github/workflows.

Not a test for pytest: run `python tests/kit/real_windows.py` on Windows, with WinFsp, rpdrive and pywin32
installed. It backs a folder up, mounts it in each way there is, compares, tries to write, and unmounts.

It has not been run yet: see docs/windows.md.
"""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

ENVIRONMENT = {"RPDRIVE_PASSPHRASE": "correct horse battery staple"}
# The volume refuses, or its security descriptors do before it: either will do.
REFUSED = ("ERROR_WRITE_PROTECT", "ERROR_ACCESS_DENIED")
# Operations of winfspy's winfstest, and the errors that each may end in; none where it must succeed.
READ_ONLY = (
    ("CreateFile %s\\new GENERIC_WRITE 0 0 CREATE_NEW FILE_ATTRIBUTE_NORMAL 0", REFUSED),
    ("CreateFile %s\\plain.txt GENERIC_READ FILE_SHARE_READ 0 OPEN_EXISTING 0 0", ()),
    ("CreateFile %s\\PLAIN.TXT GENERIC_READ FILE_SHARE_READ 0 OPEN_EXISTING 0 0", ()),
    ("CreateFile %s\\none GENERIC_READ FILE_SHARE_READ 0 OPEN_EXISTING 0 0", ("ERROR_FILE_NOT_FOUND",)),
    ("CreateFile %s\\none\\none GENERIC_READ FILE_SHARE_READ 0 OPEN_EXISTING 0 0", ("ERROR_PATH_NOT_FOUND",)),
    ("CreateDirectory %s\\new 0", REFUSED),
    ("DeleteFile %s\\plain.txt", REFUSED),
    ("RemoveDirectory %s\\folder", REFUSED),
    ("MoveFileEx %s\\plain.txt %s\\other.txt 0", REFUSED),
    ("SetFileAttributes %s\\plain.txt FILE_ATTRIBUTE_HIDDEN", REFUSED),
    ("GetFileInformation %s\\plain.txt", ()),
    ("FindFiles %s\\folder\\*", ()),
)


def rpdrive(*arguments: str) -> str:
    """Run the command; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "rpdrive", *arguments],
        env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"rpdrive {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def make_source(folder: Path) -> None:
    (folder / "folder" / "deeper").mkdir(parents=True)
    (folder / "plain.txt").write_bytes(b"hello\r\n")
    (folder / "big.bin").write_bytes(os.urandom(20_000_000))
    (folder / "folder" / "\u00e9t\u00e9.txt").write_bytes(b"summer")
    Path(f"{folder / 'plain.txt'}:stream").write_bytes(b"an alternate stream")
    for n in range(3000):
        (folder / "folder" / f"file {n:04}").write_bytes(b"%d" % n)


def compare(source: Path, drive: Path) -> None:
    """Contents, names, sizes and times."""
    found = filecmp.dircmp(source, drive)
    assert not found.left_only and not found.right_only, (found.left_only, found.right_only)
    for name in found.common_files:
        ours, theirs = source / name, drive / name
        assert filecmp.cmp(ours, theirs, shallow=False), name
        assert ours.stat().st_mtime_ns == theirs.stat().st_mtime_ns, name
    for name in found.common_dirs:
        compare(source / name, drive / name)


def try_to_write(drive: Path) -> None:
    from winfspy.tests.winfstest import test_winfs

    def run(function: Any, *arguments: Any, **how: Any) -> Any:
        return function(*arguments, **how)

    parse = partial(test_winfs.parse_argument, str(drive))
    for command, errors in READ_ONLY:
        last = (errors or ("",))[-1]
        for error in errors or ("",):
            try:
                test_winfs.expect(parse, run, command, error)
                break
            except AssertionError:
                if error == last:
                    raise


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        os.environ["RPDRIVE_HOME"] = str(top / "home")
        os.environ["RPDRIVE_VAULT"] = (top / "vault").as_uri()
        source = top / "source"
        make_source(source)
        rpdrive("vault", "create")
        rpdrive("backup", str(source))
        inside = Path(source.drive[0], *source.parts[1:])
        ways = (["R:"], ["S:", "--disk"], [str(top / "drive")], [r"\\rpdrive\test"])
        for place, *options in ways:
            print(f"mounting at {place}", flush=True)
            rpdrive("mount", place, "--point", "latest", *options)
            root = Path(place + "\\") if place.endswith(":") else Path(place)
            compare(source, root / inside)
            assert Path(f"{root / inside / 'plain.txt'}:stream").read_bytes() == b"an alternate stream"
            try_to_write(root / inside)
            (row,) = json.loads(rpdrive("mounts", "--json"))
            assert row["answers"] and row["errors"] == 0, row
            rpdrive("unmount", place)
            assert json.loads(rpdrive("mounts", "--json")) == []
    print("all of it held")


if __name__ == "__main__":
    main()
