"""What a restore was asked for, what it plans, and how far it is: the file between its process and the page.

JSON of one user, written by this version or another: unknown fields are ignored, and missing ones have a default.
Paths are raw bytes. Times in ns since the epoch (UTC), sizes in bytes.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

State: TypeAlias = Literal["planning", "planned", "running", "done", "problems", "failed", "stopped"]
RawPath: TypeAlias = bytes  # in classes with a field `bytes`
ACTIVE = ("planning", "running")  # a process is at work

PLANNED = 20  # entries of a plan that are kept
LISTED = 100  # problems that are kept
LONGEST = 8 << 10  # bytes of a path, or characters of a text, that are kept


class Place(msgspec.Struct, frozen=True):
    """A path in a recovery point. `point` is its id in hex; the path is absolute."""

    point: str
    path: bytes


class Request(msgspec.Struct, kw_only=True, frozen=True):
    """What is to be restored, and how. `to` is None in place; `machine` confirms that it is another one's point."""

    places: list[Place]
    to: bytes | None
    on_conflict: str = "copy"
    verify: bool = False
    permissions: bool = True
    machine: str | None = None


class Planned(msgspec.Struct, frozen=True):
    """What would happen at a path, which is the final one. `what` is a word of WHAT, `replaces` the name kept."""

    path: bytes
    what: str
    size: int = 0


class Trouble(msgspec.Struct, frozen=True):
    """Why something was not, or would not be, restored as it was saved. An empty path: it concerns all."""

    path: bytes
    reason: str


class Room(msgspec.Struct, frozen=True):
    """Space on the file system of a place, and what the restore may need of it, in bytes."""

    place: bytes
    free: int
    needed: int


class Plan(msgspec.Struct, kw_only=True):
    """What a dry run found. `files` are entries that are no folders; `bytes` those that would be written.

    `digest` is of everything that would be done; it is the same as long as the target does not change.
    """

    files: int = 0
    folders: int = 0
    bytes: int = 0
    new: int = 0
    overwritten: int = 0
    copies: int = 0
    skipped: int = 0
    same: int = 0
    attributes: int = 0
    refused: int = 0
    first: list[Planned] = []
    refusals: list[str] = []
    problems: list[Trouble] = []
    problem_count: int = 0
    room: list[Room] = []
    digest: str = ""


class Progress(msgspec.Struct, kw_only=True, frozen=True):
    """How far the process is. `phase` is planning, checking, restoring or stopping; totals are None if unknown."""

    phase: str
    files: int = 0
    files_total: int | None = None
    bytes: int = 0
    bytes_total: int | None = None
    current: RawPath = b""
    seconds: float = 0.0


class Result(msgspec.Struct, kw_only=True, frozen=True):
    """What a restore did. `files` and `bytes` were written; `lines` say it in words."""

    files: int = 0
    bytes: int = 0
    new: int = 0
    overwritten: int = 0
    copies: int = 0
    skipped: int = 0
    same: int = 0
    attributes: int = 0
    verified: int = 0
    renamed: int = 0
    lost: int = 0
    lines: list[str] = []


class Failure(msgspec.Struct, frozen=True):
    """The error that a process ended with."""

    kind: str
    message: str
    advice: str


class Status(msgspec.Struct, kw_only=True):
    """A restore. `pid`, `process` (its start time) and `boot` identify the process that is, or was, at work.

    `changed` says why a restore that was started is only planned again. `session` is that of the page.
    """

    id: str
    vault: str
    request: Request
    session: str = ""
    state: State = "planning"
    made: int = 0
    started: int = 0
    finished: int = 0
    plan: Plan | None = None
    progress: Progress | None = None
    problems: list[Trouble] = []
    problem_count: int = 0
    result: Result | None = None
    failure: Failure | None = None
    changed: str = ""
    pid: int = 0
    process: str = ""
    boot: str = ""


_decode = msgspec.json.Decoder(Status).decode
_encode = msgspec.json.Encoder().encode


def clean(text: str) -> str:
    """A text as it may be kept: whatever it was made of, it can be encoded, and is not too long."""
    return text.encode(errors="replace").decode()[:LONGEST]


def encoded(status: Status) -> bytes:
    return _encode(status) + b"\n"


def decoded(data: bytes) -> Status | None:
    """The status; None if it is malformed, or of a version that can't be read."""
    try:
        return _decode(data)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
