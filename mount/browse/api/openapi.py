"""The specification of the interface: OpenAPI 3.1, made of the types that the code itself uses."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mount.browse.api.answers import Problem, json_answer

if TYPE_CHECKING:
    from mount.browse.api.operations import Operation, Schema

_BINARY: Schema = {"type": "string"}
_NAME = re.compile(r"\{([a-z]+)\}")


@functools.cache
def specification() -> Schema:
    """The whole document."""
    from mount.browse.api.operations import OPERATIONS  # it takes time, and few ask

    types: list[Any] = [Problem]
    for operation in OPERATIONS.values():
        types += [one for one in (operation.body, operation.answer) if one not in (None, bytes, dict)]
    found, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(map(repr, types), found, strict=True))
    paths: dict[str, Schema] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rpdrive browse", "version": "1",
            "description": "Recovery points of a vault. Docs: docs/browse.md. Only the page itself may write: "
            "see the section on how it is guarded.",
        },
        "servers": [{"url": "/api/v1"}],
        "paths": paths,
        "security": [{"session": [], "key": []}],
        "components": {
            "schemas": components,
            "securitySchemes": {
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "rpdrive-PORT",
                    "description": "PORT is that of the Host header; with TLS, `__Host-` goes before.",
                },
                "key": {
                    "type": "apiKey", "in": "header", "name": "X-Rpdrive-Key",
                    "description": "`key` of the answer to POST /session.",
                },
            },
        },
    }  # fmt: skip


def _operation(method: str, path: str, operation: Operation, schemas: dict[str, Schema]) -> Schema:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _NAME.findall(path)
    ] + [{"name": one.name, "in": "query", "schema": one.schema} for one in operation.query]
    answers: Schema = {"default": {"description": "an error", "content": _json(schemas[repr(Problem)])}}
    if operation.answer is None or method == "DELETE":
        answers["204"] = {"description": "done"}
    if operation.answer is not None:
        answers["200"] = {"description": operation.summary, "content": _content(operation, schemas)}
    found: Schema = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "responses": answers,
    }
    if parameters:
        found["parameters"] = parameters
    if method == "POST":  # always JSON, which no form of another page can send
        schema = {"type": "object"} if operation.body is None else schemas[repr(operation.body)]
        found["requestBody"] = {"required": True, "content": _json(schema)}
    if (method, path) == ("POST", "/session"):
        found["security"] = []
    return found


def _content(operation: Operation, schemas: dict[str, Schema]) -> Schema:
    if operation.answer is dict:
        return _json({"type": "object"})
    if operation.media != "application/json":
        return {operation.media: {"schema": _BINARY}}
    return _json(schemas[repr(operation.answer)])


def _json(schema: Any) -> Schema:
    return {"application/json": {"schema": schema}}


def show(_request: Request) -> Response:
    return json_answer(specification())


routes = [Route("/openapi.json", show, methods=["GET"])]
