"""systemd units that open a drive: a user's unit at login, or the system's at its start.

A drive must be visible outside of its process. So the units have no option that gives the process its own view of
the file systems (Private…=, Protect…=), and a user's unit has none that implies NoNewPrivileges, as most
restrictions do there: fusermount3 is setuid.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from catalog.errors import LocalError, MountFailed
from catalog.program import HOME, lasting_environment, rpdrive_command, user_path
from catalog.units.systemd import Unit, check_program, one_line, quoted, run, succeeds, write
from mount.login.base import Entry

_NAME_MAX = 255
_INSTEAD = "use --at-login"
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")
# Where rpdrive keeps its files: a service doesn't see the environment of the shell that made the unit.
_KEPT = (HOME, "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "FUSE_LIBRARY_PATH", "RPDRIVE_ALLOW_HTTP")
_SYSTEM_LIMITS = """\
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""


def unit_for(place: Path, *, system: bool, environ: Mapping[str, str] = os.environ) -> Unit:
    """The unit of a mount point (absolute, without symlinks)."""
    if system:
        folder = Path("/etc/systemd/system")
    else:
        config = environ.get("XDG_CONFIG_HOME") or "~/.config"
        folder = user_path(config).absolute() / "systemd" / "user"
    return Unit(folder / unit_name(place), system)


def unit_name(place: Path) -> str:
    """`rpdrive-<path>.service`, with the path as by `systemd-escape --path`, or a digest if that is too long."""
    raw = os.fsencode(place).strip(b"/")
    parts = []
    for n, byte in enumerate(raw):
        if byte == ord("/"):
            parts.append("-")
        elif byte in _PLAIN and not (n == 0 and byte == ord(".")):
            parts.append(chr(byte))
        else:
            parts.append(f"\\x{byte:02x}")
    name = f"rpdrive-{''.join(parts)}.service"
    return name if len(name) <= _NAME_MAX else f"rpdrive-{hashlib.sha256(raw).hexdigest()[:32]}.service"


class SystemdUnits:
    """Implements Login by systemd."""

    def add(self, entry: Entry, *, now: bool) -> Iterator[str]:
        """See Login. If systemd doesn't answer, e.g. in a chroot, yields the commands that the user has to run."""
        unit = unit_for(entry.place, system=entry.system)
        if entry.system:
            check_program([sys.executable, *sys.path], _INSTEAD)
        write(unit, unit_text(entry.place, entry.arguments, system=entry.system, vault=entry.vault), _INSTEAD)
        yield f"Wrote {unit.path}"
        if enable(unit, now=now):
            yield f"The drive will be open at every {'start' if entry.system else 'login'}"
            return
        yield "Systemd doesn't answer here. Where it does, run:"
        for command in (["daemon-reload"], ["enable", "--now", shlex.quote(unit.name)]):
            yield "    " + " ".join(unit.systemctl(*command))

    def remove(self, place: Path, *, system: bool) -> str:
        unit = unit_for(place, system=system)
        if not remove(unit):
            raise MountFailed(
                f"there is no unit {unit.path}", "leave out --at-login or --service to close the drive"
            )
        return f"Removed {unit.path}"

    def readdress(self, old: str, new: str) -> list[str]:
        lines = list[str]()
        for system in (False, True):
            folder, changed = unit_for(Path("x"), system=system).path.parent, False
            for path in sorted(folder.glob("rpdrive-*.service")):
                unit = Unit(path, system)
                try:
                    before = os.fsdecode(path.read_bytes())
                except OSError:
                    continue  # another user's
                after = readdressed(before, old, new)
                if after == before:
                    continue
                try:
                    write(unit, after, f"change {old} in it as root")
                except LocalError as e:
                    lines.append(f"{e}; {e.advice}")
                    continue
                changed = True
                lines.append(f"{path} opens its drive from {new}, once it is opened again")
            if changed:
                succeeds(Unit(folder / "x", system), "daemon-reload")
        return lines

    def report_ready(self) -> None:
        """See Login. Uses sd_notify(3), if systemd asked for that when it started this process."""
        address = os.environ.get("NOTIFY_SOCKET")
        if not address:
            return
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as systemd:
                systemd.sendto(b"READY=1", address)
        except OSError:
            pass  # systemd reports the unit as failed


def unit_text(
    place: Path,
    arguments: Sequence[str],
    *,
    system: bool,
    vault: Path | None,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """A unit that opens a drive at `place` with these arguments of `rpdrive mount`; `vault` if it is a folder."""
    program, *start = rpdrive_command()

    def command(*arguments: str) -> str:
        return " ".join([quoted(program, program=True), *map(quoted, [*start, *arguments])])

    kept = lasting_environment(_KEPT, environ)
    lines = ["[Unit]", f"Description=Recovery points at {one_line(place)}"]
    if system:
        lines += ["Wants=network-online.target", "After=network-online.target"]
        folders = [place] if vault is None else [place, vault]
        lines.append("RequiresMountsFor=" + " ".join(quoted(str(f), program=True) for f in folders))
    lines += [
        "# The network may be late, and come and go.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        *(f"Environment={quoted(f'{name}={value}', program=True)}" for name, value in kept.items()),
        f"ExecStart={command('mount', str(place), '--foreground', *arguments)}",
        f"ExecStop={command('unmount', '--lazy', str(place))}",
        "Restart=on-failure",
        "RestartSec=30",
        "# Wrong options, no such point, a newer format, no key: a retry would not help.",
        "RestartPreventExitStatus=2 4 7 8",
        "TimeoutStartSec=180",
        "# The keys are in memory.",
        "LimitCORE=0",
    ]
    if system:
        lines += _SYSTEM_LIMITS.splitlines()
    lines += ["", "[Install]", f"WantedBy={'multi-user' if system else 'default'}.target", ""]
    return "\n".join(lines)


def readdressed(text: str, old: str, new: str) -> str:
    """A unit's text with another address of the vault. All else stays, also what a person has changed."""
    words = quoted(f"--vault={old}"), quoted(f"--vault={new}")
    return "".join(
        f"{line} ".replace(f" {words[0]} ", f" {words[1]} ")[:-1] if line.startswith("ExecStart=") else line
        for line in text.splitlines(keepends=True)
    )


def enable(unit: Unit, *, now: bool) -> bool:
    """Load a new unit into systemd, and start it `now`. False if systemd doesn't answer. Raises MountFailed."""
    if not succeeds(unit, "daemon-reload"):
        return False
    done = run(unit, "enable", *(["--now"] if now else []), "--", unit.name)
    if done is None or done.returncode:
        why = done.stderr.strip().splitlines()[-1:] if done is not None else []
        raise MountFailed(
            f"systemd did not open the drive: {' '.join(why)}",
            f"see `{' '.join(unit.systemctl('status', repr(unit.name)))}`",
        )
    return True


def remove(unit: Unit) -> bool:
    """Close the unit's drive and delete its file. False if the unit does not exist. Raises LocalError."""
    if not unit.path.exists():
        return False
    succeeds(unit, "disable", "--now", "--", unit.name)
    try:
        unit.path.unlink(missing_ok=True)
    except OSError as e:
        raise LocalError(f"the unit {unit.path} can't be deleted: {e.strerror}", "check its permissions") from e
    succeeds(unit, "daemon-reload")
    return True
