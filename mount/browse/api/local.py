"""Folders of this machine. Nothing of them is told to a page that is read-only."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route

from mount.browse.api.answers import body, opened, own_endpoint, text
from mount.browse.resources import local_folders
from mount.browse.resources.restores import refuse_read_only


@own_endpoint
def folders(request: Request) -> object:
    here = opened(request)
    refuse_read_only(here)
    return local_folders.folders(here, text(request, "at", "", 100_000))


@own_endpoint
def make(request: Request) -> object:
    here = opened(request)
    refuse_read_only(here)
    return local_folders.make_folder(here, body(request, local_folders.NewFolder))


routes = [
    Route("/local/folders", folders, methods=["GET"]),
    Route("/local/folders", make, methods=["POST"]),
]
