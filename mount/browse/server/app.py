"""The application: the guard in front, the page and its interface on one origin, contents on the other."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from mount.browse.api.answers import problem
from mount.browse.api.context import Context
from mount.browse.api.routes import ROUTES
from mount.browse.contents.app import content_app
from mount.browse.guard.activity import Activity
from mount.browse.guard.door import Guard
from mount.browse.pages.shell import Pages

FOR_EVER = "public, max-age=31536000, immutable"


async def _nothing(request: Request) -> Response:
    return problem("NotFound", "there is nothing at this address", "go back to the start: /", 404)


def page_guard(context: Context) -> Guard:
    """Both applications behind their guard; a Door of it is what uvicorn gets."""
    pages = Pages()

    async def static(request: Request) -> Response:
        found = pages.files.get(str(request.path_params["name"]))
        if found is None or request.scope["path"] != f"{pages.base}/{request.path_params['name']}":
            return await _nothing(request)
        headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(found.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=found.type)
        return Response(found.plain, headers=headers, media_type=found.type)

    async def shell(_request: Request) -> Response:
        return Response(pages.shell, media_type="text/html; charset=utf-8")

    app = Starlette(
        routes=[
            Route("/static/{hash}/{name:path}", static, methods=["GET"]),
            Mount("/api/v1", routes=[*ROUTES, Route("/{rest:path}", _nothing, methods=["GET", "POST", "DELETE"])]),
            Route("/{rest:path}", shell, methods=["GET"]),
        ]
    )
    app.state.context = context
    return Guard(
        context.sessions,
        context.capabilities,
        app,
        content_app(context),
        Activity(busy=context.is_busy),
        ending=context.opened.bus.close,
        is_read_only=lambda: context.opened.read_only,
    )
