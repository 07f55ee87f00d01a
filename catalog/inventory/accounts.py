"""Users and groups, from /etc/passwd, /etc/group and /etc/shadow; passwords stay there."""

from __future__ import annotations

from catalog.inventory.here import Here
from catalog.inventory.values import Group, User

_LOCKED = ("!", "*")


def users(here: Here) -> list[User]:
    """The accounts of /etc/passwd (passwd(5)), by number. Those of a directory service are not listed."""
    return parse_users(here.text("/etc/passwd"), here.text("/etc/shadow") if here.by_root else "")


def parse_users(passwd: str, shadow: str = "") -> list[User]:
    """The accounts, and of each what kind of password shadow(5) has for it."""
    kinds = {
        fields[0]: _kind(fields[1])
        for fields in (line.split(":") for line in shadow.splitlines())
        if len(fields) > 1
    }
    found = []
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdecimal() and fields[3].isdecimal():
            name, password, uid, gid, comment, home, shell = fields
            kind = kinds.get(name, "") if password == "x" else _kind(password)
            found.append(
                User(name=name, uid=int(uid), gid=int(gid), comment=comment, home=home, shell=shell, password=kind)
            )
    return sorted(found, key=lambda user: (user.uid, user.name))


def _kind(password: str) -> str:
    if not password:
        return "none"
    return "locked" if password.startswith(_LOCKED) else "set"


def groups(here: Here) -> list[Group]:
    """The groups of /etc/group (group(5)), by number."""
    return parse_groups(here.text("/etc/group"))


def parse_groups(text: str) -> list[Group]:
    """The groups, with their members in alphabetical order."""
    found = []
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[2].isdecimal():
            found.append(
                Group(name=fields[0], gid=int(fields[2]), members=sorted(m for m in fields[3].split(",") if m))
            )
    return sorted(found, key=lambda group: (group.gid, group.name))
