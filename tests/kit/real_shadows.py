"""Shadow copies, and the checks before a system state, on a real Windows. For .github/workflows.

Not a test for pytest: run `python tests/kit/real_shadows.py` on Windows with rpdrive installed, once in an elevated
prompt and once with `--not-elevated` in an ordinary one. It makes shadow copies of C: and deletes them. On a
server, `--system-state E:` has wbadmin make a system state on E:, saves it, and restores it as files.

It has not been run yet: see docs/windows.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ENVIRONMENT = {"RPDRIVE_PASSPHRASE": "correct horse battery staple"}
BEFORE = b"before the shadow copy"
# Keeps a file open as Outlook keeps its own: nobody else may open it.
HOLD = """
import ctypes, sys, time
handle = ctypes.windll.kernel32.CreateFileW(sys.argv[1], 0xC0000000, 0, None, 3, 0, None)
print(handle, flush=True)
time.sleep(600)
"""


def rpdrive(*arguments: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    """Run the command, which must end with one of the codes."""
    done = subprocess.run(
        [sys.executable, "-m", "rpdrive", *arguments],
        env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    print(f"rpdrive {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}", flush=True)
    if done.returncode not in codes:
        raise SystemExit(1)
    return done


def shadows() -> set[str]:
    """The ids of all shadow copies of this machine."""
    script = "ConvertTo-Json -InputObject @(Get-CimInstance Win32_ShadowCopy | ForEach-Object { $_.ID })"
    done = subprocess.run(
        ["powershell", "-NoProfile", "-Command", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def elevated(top: Path, source: Path) -> None:
    """From shadow copies by either provider: a locked file is saved, and nothing is left."""
    before = shadows()
    locked = source / "locked"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(locked)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and int(holder.stdout.readline()) > 0
    try:
        live = rpdrive("backup", str(source), "--item", "live", "--snapshot", "never", "--json", codes=(3,))
        assert any("locked" in str(problem) for problem in json.loads(live.stdout)["problems"])
        for provider in ("vss", "wmi"):
            options = "--snapshot", "always", "--snapshot-provider", provider, "--json"
            made: dict[str, Any] = json.loads(
                rpdrive("backup", str(source), "--item", provider, *options, codes=(0, 3)).stdout
            )
            print(json.dumps(made, indent=2))
            out = top / provider
            rpdrive("restore", f"latest:{source}", "--item", provider, "--to", str(out))
            assert (out / source.name / "locked").read_bytes() == BEFORE
            assert Path(f"{out / source.name / 'plain'}:stream").read_bytes() == BEFORE
            assert shadows() == before, "a shadow copy was left behind"
            again = json.loads(rpdrive("backup", str(source), "--item", provider, *options, codes=(0, 3)).stdout)
            print(json.dumps(again, indent=2))
    finally:
        holder.kill()
    # Whatever is in the way on this machine is told at once.
    rpdrive("backup", "--system-state", "--staging", "C:", codes=(11,))


def ordinary(source: Path) -> None:
    """Without rights: what is said, by default and if a shadow copy must be."""
    rpdrive("backup", str(source), "--item", "ordinary")
    done = rpdrive("backup", str(source), "--item", "ordinary", "--snapshot", "always", codes=(11,))
    assert "Run as administrator" in done.stderr


def server(top: Path, staging: str) -> None:
    """A whole system state, through wbadmin: saved, removed, and restored as files."""
    folder = Path(f"{staging}\\WindowsImageBackup")
    assert not folder.exists()
    rpdrive("backup", "--system-state", "--staging", staging)
    assert not folder.exists(), "the staging folder was not removed"
    out = top / "out"
    done = rpdrive("restore", "latest", "--item", "system state", "--to", str(out))
    assert "wbadmin start systemstaterecovery -version:" in done.stdout
    assert list((out / "WindowsImageBackup").rglob("*.vhdx"))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name).resolve()
        os.environ["RPDRIVE_HOME"] = str(top / "home")
        os.environ["RPDRIVE_VAULT"] = (top / "vault").as_uri()
        source = top / "source"
        source.mkdir()
        for file in ("plain", "locked"):
            (source / file).write_bytes(BEFORE)
        Path(f"{source / 'plain'}:stream").write_bytes(BEFORE)
        rpdrive("vault", "create")
        if "--system-state" in sys.argv:
            server(top, sys.argv[-1])
        elif "--not-elevated" in sys.argv:
            ordinary(source)
        else:
            elevated(top, source)
    print("all of it held")


if __name__ == "__main__":
    main()
