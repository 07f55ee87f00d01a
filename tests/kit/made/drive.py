"""A drive of a made-up vault, and what a look takes: `python -m tests.kit.made.drive OUT.json FOLDER PATH…`.

Opens the drive as `rpdrive mount --foreground` does, lists each path in it with `ls -l`, one after the other, and
closes it. OUT.json has a row for the mount and one for each path; `memory` is the peak until then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from tests.kit.made.command import ROOT, Took, Watch, limit_memory, prepared
from tests.kit.vaults import home_of


def run(folder: Path, vault: str, *paths: str, timeout: float | None = None) -> list[Took]:
    """What a mount takes, and then a look at each path, in one process, for a user whose home is `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    out, mount_point = folder / "took.json", folder.with_name(folder.name + "-drive")
    mount_point.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.kit.made.drive", str(out), str(mount_point), *paths],
        env=os.environ | home_of(folder, vault), cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the drive failed: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return msgspec.json.decode(out.read_bytes(), type=list[Took])


def main() -> None:
    out, mount_point, *paths = sys.argv[1:]
    limit_memory()
    scheme = prepared()
    import rpdrive

    rows: list[Took] = []
    watch = Watch(scheme)

    def look() -> None:
        nonlocal watch
        try:
            while not os.path.ismount(mount_point):
                time.sleep(0.05)
            rows.append(watch.took())
            for path in paths:
                watch = Watch(scheme)
                subprocess.run(["ls", "-l", os.path.join(mount_point, path)], stdout=subprocess.DEVNULL, check=True)
                rows.append(watch.took())
        finally:
            subprocess.run(["umount", mount_point], check=True)

    threading.Thread(target=look, daemon=True).start()
    code = rpdrive.run(["mount", mount_point, "--foreground"])
    Path(out).write_bytes(msgspec.json.encode(rows))
    sys.exit(code or len(rows) != len(paths) + 1)


if __name__ == "__main__":
    main()
