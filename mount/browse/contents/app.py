"""The content origin: it answers signed links, and leads all else back to the page."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from mount.browse.api.context import Context

HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "no-store",
}


def _home(request: Request) -> Response:
    """Somebody typed `localhost`: the page is under another name, and the fragment goes along."""
    return RedirectResponse(f"{request.scope['rpdrive.origin']}/", 307, HEADERS)


def content_app(context: Context) -> Starlette:
    app = Starlette(routes=[Route("/", _home, methods=["GET"])])
    app.state.context = context
    return app
