"""What is installed, by dpkg, rpm, pacman or apk; which files differ from their package's, and which have none."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator

from catalog.inventory.here import Here
from catalog.inventory.values import Package, Packages

_DPKG = "${db:Status-Abbrev}\t${binary:Package}\t${Version}\t${Architecture}\n"
_RPM = "%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\n"
_UNOWNED = 20_000  # paths that are listed
_WALKED = 2_000_000  # entries looked at
_LOOKED = ("etc", "usr", "opt")  # where files of packages lie; /var is made by programs
_MADE = re.compile(
    r"/__pycache__(?:/|$)|\.py[co]$|^/etc/(?:ssl/certs|alternatives|rc.\.d|systemd/system/.*\.wants)/"
)
_LARGE = 1 << 20  # bytes of a configuration file that is compared


def packages(here: Here) -> Packages:
    """The packages of the first manager that is there, and snaps and flatpaks."""
    snaps = [Package(name=row[0], version=row[1]) for row in _columns(here, "snap", "list")[1:] if len(row) > 1]
    flatpaks = [
        Package(name=row[0], version=row[1] if len(row) > 1 else "")
        for row in _columns(here, "flatpak", "list", "--app", "--columns=application,version")
        if row and "." in row[0]
    ]
    for manager, tool, collect in (
        ("dpkg", "dpkg-query", _dpkg),
        ("rpm", "rpm", _rpm),
        ("pacman", "pacman", _pacman),
        ("apk", "apk", _apk),
    ):
        if here.tools.has(tool) and (installed := collect(here)):
            foreign = here.run("dpkg", "--print-foreign-architectures").split() if manager == "dpkg" else []
            own = here.run("dpkg", "--print-architecture").strip() if manager == "dpkg" else ""
            return Packages(
                manager=manager, architecture=own, foreign=sorted(foreign), installed=installed, snaps=snaps,
                flatpaks=flatpaks,
            )  # fmt: skip
    here.note("no package manager was found: dpkg, rpm, pacman and apk are not here, or list nothing")
    return Packages(snaps=snaps, flatpaks=flatpaks)


def _columns(here: Here, tool: str, *args: str) -> list[list[str]]:
    return [line.split() for line in here.run(tool, *args, note=False).splitlines()] if here.tools.has(tool) else []


def _dpkg(here: Here) -> list[Package]:
    text = here.run("dpkg-query", "--show", f"--showformat={_DPKG}")
    # As apt-mark does, which takes a second for it.
    own = here.run("dpkg", "--print-architecture").strip()
    return dpkg(text, here.text("/var/lib/apt/extended_states", 64 << 20), own)


def dpkg(text: str, states: str, own: str) -> list[Package]:
    """The installed packages in what dpkg-query prints. `states` is apt's file of those that others needed.

    There, packages of all architectures have the machine's `own`.
    """
    automatic: set[tuple[str, str]] = set()
    for stanza in states.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in stanza.splitlines())
        if fields.get("Auto-Installed") == "1":
            automatic.add((fields.get("Package", ""), fields.get("Architecture", "")))
    found = []
    for line in text.splitlines():
        row = line.split("\t")
        if len(row) != 4 or row[0][1:2] != "i":
            continue
        status, name, version, architecture = row
        name = name.partition(":")[0]
        found.append(
            Package(
                name=name,
                version=version,
                architecture=architecture,
                manual=(name, own if architecture == "all" else architecture) not in automatic,
                hold=status[0] == "h",
            )
        )
    return sorted(found, key=lambda p: (p.name, p.architecture))


def _rpm(here: Here) -> list[Package]:
    text = here.run("rpm", "--query", "--all", "--queryformat", _RPM, seconds=120)
    tool = next((tool for tool in ("dnf", "yum") if here.tools.has(tool)), "")
    asked = here.run(tool, "--quiet", "--cacheonly", "repoquery", "--userinstalled", "--queryformat", "%{name}\n",
                     seconds=120) if tool else ""  # fmt: skip
    locked = here.run(tool, "--quiet", "versionlock", "list", note=False) if tool else ""
    here.run(
        tool, "--quiet", "--cacheonly", "module", "list", "--enabled", keep="packages/modules.txt", note=False
    ) if tool else None
    return rpm(text, set(asked.split()), locked)


def rpm(text: str, asked: set[str], locked: str = "") -> list[Package]:
    """The installed packages in rpm's answer: name, epoch:version-release, architecture; without its keys."""
    locks = {re.sub(r"-(?:\d+:)?[^-]+-[^-]+$", "", line.strip()) for line in locked.splitlines()}
    rows = (line.split("\t") for line in text.splitlines())
    found = [
        Package(name=row[0], version=row[1], architecture=row[2], manual=row[0] in asked, hold=row[0] in locks)
        for row in rows
        if len(row) == 3 and row[0] != "gpg-pubkey"
    ]
    return sorted(found, key=lambda p: (p.name, p.architecture, p.version))


def _pacman(here: Here) -> list[Package]:
    asked = {line.split()[0] for line in here.run("pacman", "-Qe").splitlines() if line.split()}
    config = here.text("/etc/pacman.conf")
    hold = {
        name for line in re.findall(r"^\s*IgnorePkg\s*=\s*(.*)$", config, re.MULTILINE) for name in line.split()
    }
    return pacman(here.run("pacman", "-Q"), asked, hold)


def pacman(text: str, asked: set[str], hold: set[str]) -> list[Package]:
    """The installed packages in what `pacman -Q` prints."""
    rows = (line.split() for line in text.splitlines())
    found = [Package(name=r[0], version=r[1], manual=r[0] in asked, hold=r[0] in hold) for r in rows if len(r) == 2]
    return sorted(found, key=lambda p: p.name)


def _apk(here: Here) -> list[Package]:
    return apk(here.run("apk", "info", "--verbose"), here.text("/etc/apk/world"))


def apk(text: str, world: str) -> list[Package]:
    """The installed packages in what `apk info -v` prints; /etc/apk/world names those asked for, `=` holds one."""
    wanted = {re.split(r"[<>=~@]", word)[0]: word for word in world.split()}
    found = []
    for word in text.split():
        if match := re.fullmatch(r"(.+)-(\d[^-]*-r\d+)", word):
            name = match[1]
            found.append(
                Package(name=name, version=match[2], manual=name in wanted, hold="=" in wanted.get(name, ""))
            )
    return sorted(found, key=lambda p: p.name)


# --- drift -----------------------------------------------------------------------------------------------------


def keep_drift(here: Here, manager: str, *, verify: bool = False) -> None:
    """Keep which configuration files differ from their package's, and which files no package owns.

    `verify`: also what the manager says of all files, for which it reads them.
    """
    if manager == "dpkg":
        owned = _dpkg_files(here)
        changed = [path for path, digest in _conffiles(here) if _differs(here, path, digest)]
        here.keep("drift/changed-configuration.txt", "".join(f"{path}\n" for path in sorted(changed)).encode())
        here.keep("drift/unowned.txt", "".join(f"{path}\n" for path in _unowned(here, owned)).encode())
        if verify:
            here.run("dpkg", "--verify", keep="drift/verify.txt", accept=(0, 1, 2), seconds=600)
    elif verify and manager == "rpm":
        here.run("rpm", "--verify", "--all", keep="drift/verify.txt", accept=(0, 1), seconds=600)
    elif verify and manager == "pacman":
        here.run("pacman", "-Qkk", keep="drift/verify.txt", accept=(0, 1), seconds=600)


def _conffiles(here: Here) -> Iterator[tuple[str, str]]:
    """The configuration files that dpkg knows, with their packages' MD5."""
    for line in here.run("dpkg-query", "--show", "--showformat=${Conffiles}\n").splitlines():
        words = line.strip().rsplit(" ", 2)
        if line.endswith((" obsolete", " newconffile", " remove-on-upgrade")):
            words = line.strip().rsplit(" ", 2)[:2]
        elif len(words) == 3:
            words = [" ".join(words[:2]), words[2]]
        if len(words) == 2 and words[0].startswith("/") and len(words[1]) == 32:
            yield words[0], words[1]


def _differs(here: Here, path: str, digest: str) -> bool:
    if not here.exists(path):
        return True
    data = here.data(path, _LARGE + 1)
    if not data and not os.access(here.path(path), os.R_OK):
        return False
    return len(data) <= _LARGE and hashlib.md5(data, usedforsecurity=False).hexdigest() != digest


def _dpkg_files(here: Here) -> set[str]:
    """All paths in dpkg's lists of files, also as they are where /bin is a link to /usr/bin."""
    owned: set[str] = set()
    merged = tuple(f"/{name}/" for name in here.names("/") if here.path(f"/{name}").is_symlink())
    for name in here.names("/var/lib/dpkg/info"):
        if name.endswith(".list"):
            paths = here.text(f"/var/lib/dpkg/info/{name}", 64 << 20).splitlines()
            owned.update(paths)
            owned.update("/usr" + path for path in paths if path.startswith(merged))
    for line in here.run("dpkg-divert", "--list", note=False).splitlines():
        if found := re.search(r" of (/.+) to (/.+?)(?: by .*)?$", line):
            owned.update(found.groups())
    return owned


def _unowned(here: Here, owned: set[str]) -> list[str]:
    """Files below /etc, /usr and /opt that are in no list: of a folder that no package knows, its name alone."""
    found: list[str] = []
    looked = 0
    stack = [f"/{name}" for name in reversed(_LOOKED)]
    while stack and len(found) < _UNOWNED:
        folder = stack.pop()
        try:
            with os.scandir(here.path(folder)) as entries:
                rows = sorted(entries, key=lambda e: e.name)
        except OSError:
            continue
        below: list[str] = []
        for entry in rows:
            looked += 1
            path = f"{folder}/{entry.name}"
            is_folder = entry.is_dir(follow_symlinks=False)
            if path not in owned:
                if path.isprintable() and not _MADE.search(path):
                    found.append(path + ("/" if is_folder else ""))
            elif is_folder:
                below.append(path)
        stack += reversed(below)
        if looked > _WALKED:
            here.note(f"files that no package owns: the list ends after {_WALKED:,} entries")
            break
    return found
