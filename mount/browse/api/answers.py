"""Reading requests and writing answers, errors included."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from catalog.errors import (
    AccessDenied,
    AmbiguousName,
    Damaged,
    NotFound,
    NoVault,
    RpdriveError,
    StoreError,
    UsageError,
)
from mount.browse.api.context import Context
from mount.browse.guard.sessions import PageSession
from mount.browse.resources.opened import Opened
from mount.browse.resources.wire import path_of

_log = logging.getLogger("rpdrive.browse")
_encode = msgspec.json.Encoder().encode
_STATUS: tuple[tuple[type[RpdriveError], int], ...] = (
    (UsageError, 400), (NotFound, 404), (AmbiguousName, 409), (AccessDenied, 403), (Damaged, 502),
    (StoreError, 503), (NoVault, 503),
)  # fmt: skip
_LONE = re.compile("[\ud800-\udfff]")
T = TypeVar("T")


class Problem(msgspec.Struct):
    """An error, as the page shows it."""

    kind: str
    message: str
    advice: str


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A struct, or what consists of such, as JSON."""
    try:
        data = _encode(value)
    except UnicodeEncodeError:  # e.g. a message that names a path of this machine which is no text
        data = _encode(_as_text(msgspec.to_builtins(value)))
    return Response(data, status, headers, "application/json")


def _as_text(value: object) -> object:
    """The same, with what Python keeps of bytes that are no text replaced."""
    if isinstance(value, str):
        return _LONE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_as_text(key): _as_text(one) for key, one in value.items()}
    return [_as_text(one) for one in value] if isinstance(value, list) else value


def problem(kind: str, message: str, advice: str = "", status: int = 500) -> Response:
    """An error as an answer."""
    return json_answer(Problem(kind, message, advice), status)


def status_of(error: RpdriveError) -> int:
    """The status of an answer for an error."""
    return next((number for kind, number in _STATUS if isinstance(error, kind)), 500)


def error_answer(error: Exception) -> Response:
    """The answer for an error. One that nobody expected is logged, and not shown."""
    if isinstance(error, RpdriveError):
        return problem(error.kind, str(error), error.advice, status_of(error))
    _log.error("an unexpected error", exc_info=error)
    return problem("Unexpected", "something went wrong in rpdrive itself", "see the terminal that runs it")


def endpoint(function: Callable[[Request], object]) -> Callable[[Request], Awaitable[Response]]:
    """A function that returns a struct and may wait for the store, as an endpoint.

    It runs in one of Starlette's threads; some of these are left for `own_endpoint`.
    """
    answer = own_endpoint(function)

    @functools.wraps(function)
    async def answer_in_turn(request: Request) -> Response:
        async with context(request).turns:
            return await run_in_threadpool(answer, request)

    return answer_in_turn


def own_endpoint(function: Callable[[Request], object]) -> Callable[[Request], Response]:
    """The same for one that asks this machine only: it answers however many others wait for the store."""

    @functools.wraps(function)
    def answer(request: Request) -> Response:
        try:
            result = function(request)
            if isinstance(result, Response):
                return result
            return Response(status_code=204) if result is None else json_answer(result)
        except Damaged as e:
            return error_answer(_cause(e, opened(request)))
        except Exception as e:  # noqa: BLE001 - whatever it is, the page gets an answer
            return error_answer(e)

    return answer


def _cause(error: Damaged, vault: Opened) -> RpdriveError:
    """The error; or that another vault is at the address, if that is why something is missing or doesn't open."""
    try:
        vault.check_same()
    except NoVault as e:
        return e
    return error


# --- requests -------------------------------------------------------------------------------------------------


def context(request: Request) -> Context:
    found = request.app.state.context
    assert isinstance(found, Context)
    return found


def opened(request: Request) -> Opened:
    return context(request).opened


def session_of(request: Request) -> PageSession:
    """The session of the browser that asks: the guard has let it in."""
    found = request.scope["rpdrive.session"]
    assert isinstance(found, PageSession)
    return found


def body(request: Request, kind: type[T]) -> T:
    """The body of a request, which the guard has read and bounded. Raises UsageError if it is malformed."""
    try:
        return msgspec.json.decode(request.scope["rpdrive.body"], type=kind)
    except msgspec.MsgspecError as e:
        raise UsageError(f"the request is malformed: {e}", "reload the page, and try again") from e


def text(request: Request, name: str, default: str = "", longest: int = 4096) -> str:
    """A parameter of the query. Raises UsageError if it is given twice, or too long."""
    values = request.query_params.getlist(name)
    if len(values) > 1 or any(len(value) > longest for value in values):
        raise UsageError(f"the parameter {name} is malformed", "go back, and try again")
    return values[0] if values else default


def number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A parameter of the query that is a whole number. Raises UsageError if it is out of bounds."""
    given = text(request, name, str(default), 20)
    if not given.isascii() or not given.isdigit() or not low <= int(given) <= high:
        raise UsageError(f"the parameter {name} is not a number from {low} to {high}", "go back, and try again")
    return int(given)


def flag(request: Request, name: str) -> bool:
    """A parameter of the query that is 0 or 1. Raises UsageError."""
    return number(request, name, 0, 0, 1) == 1


def choice(request: Request, name: str, of: tuple[str, ...]) -> str:
    """A parameter of the query that is one of some words; the first is the default. Raises UsageError."""
    given = text(request, name, of[0])
    if given not in of:
        raise UsageError(f"the parameter {name} is not one of {', '.join(of)}", "go back, and try again")
    return given


def at(request: Request) -> bytes | int:
    """The entry that a request is about: `at`, a path, or `n`, a number; the root if none is given. UsageError."""
    if "n" in request.query_params:
        return number(request, "n", 0, 0, (1 << 53) - 1)
    given = text(request, "at", "", 100_000)
    return path_of(given) if given else b"/"


def path_parameter(request: Request, name: str) -> str:
    return str(request.path_params[name])
