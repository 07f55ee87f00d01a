"""What the machine is: its system, its kernel, its hardware."""

from __future__ import annotations

import platform

from catalog.inventory.here import Here
from catalog.inventory.values import Computer

_DMI = (
    "sys_vendor", "product_name", "product_version", "product_serial", "product_uuid", "board_vendor", "board_name",
    "board_version", "bios_vendor", "bios_version", "bios_date", "chassis_type",
)  # fmt: skip


def os_release(text: str) -> dict[str, str]:
    """The fields of /etc/os-release (os-release(5)), quotes undone."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, sep, value = line.strip().partition("=")
        if sep and not name.startswith("#"):
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            for escaped in '"$`\\':
                value = value.replace("\\" + escaped, escaped)
            found[name] = value
    return found


def computer(here: Here) -> Computer:
    """The machine, from files of the kernel and /etc; nothing here needs a tool but systemd-detect-virt."""
    release = os_release(here.text("/etc/os-release") or here.text("/usr/lib/os-release"))
    uname = platform.uname()
    cpus = here.text("/proc/cpuinfo", 16 << 20)
    memory = next((line for line in here.text("/proc/meminfo").splitlines() if line.startswith("MemTotal:")), "")
    kilobytes = "".join(c for c in memory if c.isdigit())
    here.run("dmidecode", keep="machine/dmidecode.txt", note=False)
    return Computer(
        hostname=here.line("/etc/hostname") or uname.node,
        machine_id=here.line("/etc/machine-id"),
        os=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        os_name=release.get("PRETTY_NAME", ""),
        like=release.get("ID_LIKE", "").split(),
        codename=release.get("VERSION_CODENAME", ""),
        kernel=uname.release,
        architecture=uname.machine,
        virtualisation=_virtualisation(here),
        processors=max(cpus.count("\nprocessor") + cpus.startswith("processor"), 0),
        memory=_rounded(int(kilobytes or 0) << 10),
        timezone=_timezone(here),
        dmi={name: value for name in _DMI if (value := here.line(f"/sys/class/dmi/id/{name}"))},
    )


def _rounded(size: int) -> int:
    """Memory in whole 64 MiB: what the kernel keeps for itself differs between its versions and starts."""
    return (size + (32 << 20)) >> 26 << 26


def _virtualisation(here: Here) -> str:
    if not here.tools.has("systemd-detect-virt"):
        return ""
    found = here.run("systemd-detect-virt", accept=(0, 1)).strip()
    return "" if found == "none" else found


def _timezone(here: Here) -> str:
    name = here.line("/etc/timezone")
    if name:
        return name
    try:
        target = here.path("/etc/localtime").readlink().as_posix()
    except OSError:
        return ""
    return target.partition("zoneinfo/")[2]
