"""All routes of the interface."""

from __future__ import annotations

from mount.browse.api import (
    drives,
    events,
    history,
    know,
    links,
    local,
    openapi,
    points,
    restores,
    searches,
    session,
)

ROUTES = [
    route
    for module in (session, points, links, searches, history, restores, drives, local, know, events, openapi)
    for route in module.routes
]
