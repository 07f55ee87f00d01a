"""system.json is what a stranger wrote: bounded, checked, and one bad entry costs that entry."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from catalog.errors import Damaged, NewerFormat
from catalog.inventory.reading import MOST, read_state
from catalog.inventory.values import Boot, Disk, Partition, SystemState, User

HOSTILE = (
    "-rf",
    "a b",
    "$(id)",
    "`id`",
    "a;b",
    "a\nb",
    "a\x1b[2J",
    "a|b",
    "a'b",
    'a"b',
    "a\\b",
    "a&b",
    "a>b",
    "../x",
    "*",
)


def read(**fields: Any) -> tuple[SystemState, list[str]]:
    return read_state(json.dumps({"format": 1, **fields}).encode())


def test_what_was_written_is_read() -> None:
    disk = Disk(
        device="/dev/sda", size=10, partitions=[Partition(device="/dev/sda1", number=1, start=2048, size=8)]
    )
    user = User(name="anna", uid=1000, gid=1000, comment="Anna, Büro")
    state = SystemState(format=1, disks=[disk], users=[user])
    assert read_state(msgspec.json.encode(state)) == (state, [])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_costs_its_entry(name: str) -> None:
    good = {"name": "good", "uid": 1, "gid": 1}
    state, refused = read(
        users=[{"name": name, "uid": 2, "gid": 2}, good],
        packages={"installed": [{"name": name}, {"name": "vim"}]},
        units=[{"name": name, "state": "enabled"}, {"name": "ssh.service", "state": "enabled"}],
        volume_groups=[{"name": name}, {"name": "vg0"}],
        disks=[
            {"device": name, "size": 1},
            {"device": f"/dev/a/{name}", "size": 1},
            {"device": "/dev/sda", "size": 1},
        ],
        file_systems=[{"device": "/dev/sda", "type": name}, {"device": "/dev/sda", "type": "ext4", "uuid": name}],
    )
    assert [user.name for user in state.users] == ["good"]
    assert [package.name for package in state.packages.installed] == ["vim"]
    assert [unit.name for unit in state.units] == ["ssh.service"]
    assert [group.name for group in state.volume_groups] == ["vg0"]
    assert [disk.device for disk in state.disks] == ["/dev/sda"]
    assert [(f.type, f.uuid) for f in state.file_systems] == [("ext4", "")]
    assert len(refused) == 8
    assert not any(name in line for line in refused if len(name) > 3), "what is refused is never printed"


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31m", "a\x7f", "a\x9b1m", "a\u202eb", "x" * 4097])
def test_no_text_can_act_on_a_terminal(text: str) -> None:
    state, refused = read(computer={"hostname": text, "os": "debian"}, notes=[text, "a note"])
    assert (state.computer.hostname, state.computer.os, state.notes) == ("", "debian", ["a note"])
    assert refused == [
        "computer.hostname in system.json has no value that can be used: left out",
        "notes[0] in system.json has no value that can be used: left out",
    ]


@pytest.mark.parametrize(
    "value", [None, 3, "x", [], {"size": -1}, {"device": "/dev/sda"}, {"device": [], "size": 1}]
)
def test_a_wrong_shape_costs_its_entry(value: object) -> None:
    state, refused = read(disks=[value, {"device": "/dev/sdb", "size": 2}], boot=7, sysctl={"a.b": 1, "c.d": "2"})
    assert [disk.device for disk in state.disks] == ["/dev/sdb"]
    assert state.boot == Boot()
    assert state.sysctl == {"c.d": "2"}
    assert len(refused) == 3


def test_unknown_fields_are_ignored() -> None:
    state, refused = read(later=1, disks=[{"device": "/dev/sda", "size": 1, "later": {}}])
    assert (len(state.disks), refused) == (1, [])


def test_many_refused_entries_are_counted() -> None:
    _state, refused = read(notes=[1] * 1000)
    assert len(refused) == 51
    assert refused[-1] == "950 more values in system.json were left out"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"format": "1"}', b'{"format": 0}', b"[" * 100_000])
def test_what_is_no_state_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        read_state(data)


def test_what_is_too_large_is_not_parsed() -> None:
    with pytest.raises(Damaged, match="more than"):
        read_state(b" " * (MOST + 1))


def test_a_newer_format_is_named() -> None:
    with pytest.raises(NewerFormat, match="has the format 2"):
        read_state(b'{"format": 2}')
