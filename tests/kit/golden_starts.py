"""A vector of the record of a job's start."""

from __future__ import annotations

from typing import Any

import msgspec

from catalog.format.records import Job, JobName, StartName, decode_record, encode_record
from catalog.format.sealed import Kind, seal_object
from tests.kit import golden_vault as g
from tests.kit.golden_checks import in_hex

START = Job(
    id=g.fixed("job"), machine=g.MACHINE, item=g.fixed("item"), kind="backup", outcome="running",
    machine_name="laptop", item_name="home", hostname="laptop.example", time=g.TIME, finished=0,
    boot="0a1b2c3d-0000-4000-8000-00000000002a",
)  # fmt: skip


def starts() -> list[dict[str, Any]]:
    """The record as it is stored."""
    content, name = encode_record(START), str(StartName(JobName.of(START)))
    with g.raw_frames():
        sealed = seal_object(g.KEYS, Kind.JOB, name, content, salt=g.fixed("salt", 32))
    return [{"name": name, "content": content.hex(), "sealed": sealed.hex(), "record": values(content, name)}]


def values(content: bytes, name: str) -> dict[str, Any]:
    """The record's fields, read with today's code."""
    found: dict[str, Any] = in_hex(msgspec.to_builtins(decode_record(Job, content, name), builtin_types=(bytes,)))
    return found
