"""What runs and how it is set: units, alternatives, kernel settings, firewall; and what is open at the moment."""

from __future__ import annotations

import re

from catalog.inventory.here import Here
from catalog.inventory.values import Unit

# Kernel settings that count, are drawn, or follow what runs.
_CHANGING = re.compile(
    r"^(?:kernel\.random\.(?:boot_id|entropy_avail|uuid)|kernel\.ns_last_pid|kernel\.pty\.nr|kernel\.tainted"
    r"|fs\.(?:dentry-state|file-nr|inode-nr|inode-state|quota\..*|aio-nr|epoll\..*|nfs\..*)|fs\.binfmt_misc\..*"
    r"|dev\.(?:cdrom|raid)\..*|kernel\.(?:hostname|domainname|sched_domain\..*|perf_event_.*|ostype|osrelease|version)"
    r"|net\.netfilter\.nf_conntrack_(?:count|buckets|max)|net\.nf_conntrack_max|sunrpc\..*"
    r"|net\.(?:ipv4|ipv6)\.(?:conf|neigh)\.(?!all\.|default\.).*|net\.ipv4\.tcp_(?:mem|rmem|wmem)|net\.ipv4\.udp_mem"
    r"|vm\.stat_refresh|kernel\.(?:threads-max|.*\.seq|cad_pid|bootloader_.*)|net\.ipv6\..*stable_secret"
    r"|user\.max_.*|kernel\.keys\..*|net\.mptcp\..*|kernel\.apparmor_.*)$"
)
_COUNTED = re.compile(r"\[\d+:\d+\]|^#.*\n", re.MULTILINE)  # of packets and bytes; when it was written


def units(here: Here) -> list[Unit]:
    """The unit files below /etc and /usr with their states; none without systemd."""
    if not here.tools.has("systemctl"):
        return []
    text = here.run("systemctl", "--root=/", "list-unit-files", "--no-legend", "--no-pager", "--full")
    return parse_units(text)


def parse_units(text: str) -> list[Unit]:
    """The units in what `systemctl list-unit-files` prints: name, state, preset; older ones have no preset."""
    found = []
    for line in text.splitlines():
        words = line.replace("●", " ").split()
        if len(words) > 1 and "." in words[0]:
            preset = words[2] if len(words) > 2 and words[2] != "-" else ""
            found.append(Unit(name=words[0], state=words[1], preset=preset))
    return sorted(found, key=lambda unit: unit.name)


def alternatives(here: Here) -> dict[str, str]:
    """The choices that were made by hand, of update-alternatives: name and path."""
    if not here.tools.has("update-alternatives"):
        return {}
    text = here.run("update-alternatives", "--get-selections", note=False)
    rows = (line.split(None, 2) for line in text.splitlines())
    return {row[0]: row[2] for row in sorted(rows) if len(row) == 3 and row[1] == "manual"}


def sysctl(here: Here) -> dict[str, str]:
    """The kernel's settings, without those that change by themselves."""
    return parse_sysctl(here.run("sysctl", "--all", accept=(0, 1, 255)))


def parse_sysctl(text: str) -> dict[str, str]:
    """The settings in what `sysctl -a` prints; several values of one are joined by blanks."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, sep, value = line.partition(" = ")
        name = name.strip()
        if (sep or line.endswith(" =")) and re.fullmatch(r"[\w./:@-]+", name) and not _CHANGING.match(name):
            found.setdefault(name, []).append(" ".join(value.split()))
    return {name: " ".join(values) for name, values in sorted(found.items())}


def keep_services(here: Here) -> None:
    """Keep the firewall's rules, SELinux settings, and what listens and runs now, as files."""
    here.run("nft", "--stateless", "list", "ruleset", keep="services/nftables.txt", note=False)
    for tool in ("iptables-save", "ip6tables-save"):
        here.run(tool, keep=f"services/{tool}.txt", stable=lambda text: _COUNTED.sub("", text), note=False)
    here.run("getsebool", "-a", keep="services/selinux-booleans.txt", note=False)
    here.run("semanage", "export", keep="services/selinux-local.txt", note=False)
    here.run("timedatectl", "show", "--property=NTP", keep="services/time.txt", note=False)
    here.run(
        "ss", "--listening", "--numeric", "--tcp", "--udp", "--no-header", keep="volatile/listening.txt", note=False
    )
    for tool in ("docker", "podman"):
        here.run(tool, "ps", "--all", "--no-trunc", keep=f"volatile/{tool}.txt", note=False, seconds=10)
    here.run("df", "--block-size=1", "--print-type", "--local", keep="volatile/df.txt", note=False)
    if here.tools.has("zpool"):
        here.run("zpool", "status", "-P", keep="volatile/zpool-status.txt", note=False)
        here.run("zpool", "get", "-Hp", "all", keep="volatile/zpool-properties.txt", note=False)
        here.run("zfs", "get", "-Hp", "all", keep="volatile/zfs-properties.txt", note=False)
