"""Health, jobs, alerts, policies and storage."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mount.browse.api.answers import body, choice, endpoint, number, opened, path_parameter, text
from mount.browse.resources.alerts import alerts
from mount.browse.resources.backups import BackupWish, backups_of
from mount.browse.resources.charts import NARROW, WIDEST, WIDTH, chart
from mount.browse.resources.health import MOST as MOST_ITEMS
from mount.browse.resources.health import RANKS, health
from mount.browse.resources.jobs import MOST as MOST_JOBS
from mount.browse.resources.jobs import job, jobs
from mount.browse.resources.policies import MOST as MOST_POLICIES
from mount.browse.resources.policies import policies
from mount.browse.resources.storage import LONGEST, StoragePage, storage
from mount.browse.resources.wire import id_of

_FAR = 10_000_000  # items
_WAIT = 10  # seconds that an answer may wait for the vault, if it is asked to
_NAME = 200  # characters


def _wait(request: Request) -> float:
    return float(number(request, "wait", 0, 0, _WAIT))


def _start(request: Request) -> int:
    return number(request, "from", 0, 0, _FAR)


@endpoint
def show_health(request: Request) -> object:
    return health(
        opened(request), start=_start(request), count=number(request, "count", 50, 0, MOST_ITEMS),
        text=text(request, "filter", "", _NAME), only=choice(request, "only", ("", "attention", *RANKS)),
        wait=_wait(request),
    )  # fmt: skip


@endpoint
def back_up(request: Request) -> object:
    return backups_of(opened(request)).begin(body(request, BackupWish).item)


@endpoint
def show_alerts(request: Request) -> object:
    return alerts(opened(request), _wait(request))


@endpoint
def show_jobs(request: Request) -> object:
    machine = text(request, "machine", "", 32)
    if machine:
        id_of(machine, "machine")
    return jobs(
        opened(request), cursor=text(request, "cursor", "", 80), count=number(request, "count", 50, 1, MOST_JOBS),
        kind=text(request, "kind", "", 40), outcome=text(request, "outcome", "", 40), machine=machine,
    )  # fmt: skip


@endpoint
def show_job(request: Request) -> object:
    return job(opened(request), path_parameter(request, "job"))


@endpoint
def show_policies(request: Request) -> object:
    return policies(
        opened(request), start=_start(request), count=number(request, "count", 20, 1, MOST_POLICIES),
        text=text(request, "filter", "", _NAME),
    )  # fmt: skip


def _storage(request: Request) -> StoragePage:
    by = choice(request, "by", ("day", "item", "machine"))
    days = number(request, "days", 90, 1, LONGEST)
    return storage(opened(request), by=by, days=days, wait=_wait(request))


@endpoint
def show_storage(request: Request) -> object:
    return _storage(request)


@endpoint
def show_chart(request: Request) -> object:
    width = number(request, "width", WIDTH, NARROW, WIDEST)
    return Response(chart(_storage(request), width), media_type="image/svg+xml")


routes: list[Route] = [
    Route("/health", show_health, methods=["GET"]),
    Route("/backups", back_up, methods=["POST"]),
    Route("/alerts", show_alerts, methods=["GET"]),
    Route("/jobs", show_jobs, methods=["GET"]),
    Route("/jobs/{job}", show_job, methods=["GET"]),
    Route("/policies", show_policies, methods=["GET"]),
    Route("/storage", show_storage, methods=["GET"]),
    Route("/storage/chart.svg", show_chart, methods=["GET"]),
]
