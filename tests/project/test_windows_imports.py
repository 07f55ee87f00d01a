"""What Windows loads must load without what only Unix has: these tests remove such modules and names.

And the tests that docs/windows.md names exist.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Modules and names that Python on Windows doesn't have.
MODULES = ("fcntl", "grp", "posix_ipc", "pty", "pwd", "resource", "syslog", "termios", "tty")
NAMES = {
    "os": """
        O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK WNOHANG SEEK_DATA SEEK_HOLE chown copy_file_range fchmod fchown
        fdatasync fork getegid geteuid getgid getgroups getloadavg getpriority getuid getxattr killpg lchown
        listxattr major makedev minor mkfifo mknod nice posix_fadvise posix_fallocate pread preadv pwrite readv
        sched_getaffinity sendfile setpriority setsid setxattr statvfs sysconf uname writev
    """,
    "time": "clock_gettime clock_getres CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_REALTIME",
    "socket": "AF_UNIX SOCK_CLOEXEC",
    "signal": "SIGALRM SIGHUP SIGKILL SIGUSR1 pthread_sigmask",
    "errno": "EREMOTEIO",
}
# Theirs is another system: they are loaded there only.
UNIX = {
    "backup.snapshot.block",
    "backup.snapshot.btrfs",
    "backup.snapshot.kept",
    "backup.snapshot.lvm",
    "backup.snapshot.mounting",
    "backup.snapshot.none",
    "backup.snapshot.zfs",
    "backup.snapshot.taking",
    "backup.sources.files",
    "backup.sources.image",
    "backup.sources.image_snapshot",
    "backup.systems.image",
    "backup.systems.posix",
    "catalog.disks.devices",
    "catalog.disks.loops",
    "catalog.systems.posix",
    "mount.drivers.libfuse",
    "mount.drivers.kernel.session",
    "mount.drivers.kernel.drive",
    "mount.drivers.kernel.interrupts",
    "mount.loop.attaching",
    "mount.loop.show",
    "mount.restore.device.job",
    "mount.restore.device.show",
    "mount.restore.device.target",
    "mount.restore.device.writing",
    "mount.restore.disk.posix",
}

# Where a system is chosen by its name, when the module is loaded: what Windows gets there, and the module.
CHOSEN = (
    ("catalog.systems.windows", "catalog.systems.this"),
    ("mount.place.windows", "mount.place.this"),
    ("mount.login.schtasks", "mount.login.this"),
    ("mount.process.windows", "mount.process.this"),
    ("mount.process.control.windows", "mount.process.control.this"),
    ("mount.restore.disk.windows", "mount.restore.disk.this"),
    ("mount.browse.server.control.windows", "mount.browse.server.control.this"),
)

SCRIPT = """
import importlib, importlib.abc, os, pkgutil, sys
import cryptography, diskcache, distributed, logging, msgspec, multiprocessing.connection, platformdirs
import rich.console, subprocess, tempfile, tornado.httpserver, typer, zstandard
modules, names, unix, packages, chosen = {modules!r}, {names!r}, {unix!r}, {packages!r}, {chosen!r}

class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in modules:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Gone())
for name in modules:
    sys.modules.pop(name, None)
for module, gone in names.items():
    for name in gone.split():
        vars(importlib.import_module(module)).pop(name, None)
for implementation, module in chosen:
    importlib.import_module(implementation)
    os.name = "nt"  # not while others are loaded: paths would be those of Windows
    importlib.import_module(module)
    os.name = "posix"
import rpdrive
failed = []
for package in packages:
    for found in pkgutil.walk_packages([package], package + "."):
        if found.name in unix:
            continue
        try:
            importlib.import_module(found.name)
        except Exception as e:
            if "winfspy" not in str(e):
                failed.append(f"{{found.name}}: {{type(e).__name__}}: {{e}}")
print("\\n".join(failed))
"""


def test_what_windows_loads_needs_nothing_of_unix() -> None:
    script = SCRIPT.format(
        modules=MODULES, names=NAMES, unix=UNIX, packages=("catalog", "cache", "mount", "backup"), chosen=CHOSEN
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_what_the_page_says_is_shown_by_tests_that_are_there() -> None:
    page = (ROOT / "docs/windows.md").read_text()
    _before, _, table = page.partition("| feature | how tested | test |")
    rows = [line.split("|") for line in table.splitlines() if line.count("|") == 4 and "---" not in line]
    assert len(rows) > 30
    for _empty, feature, how, tests, _end in rows:
        named = re.findall(r"\b(?:\w+/)+(?:test_\w+|real_windows)\b", tests)
        assert named or how.strip().startswith(("not tested on Windows", "not implemented")), feature
        for name in named:
            assert (ROOT / "tests" / f"{name}.py").is_file(), name
