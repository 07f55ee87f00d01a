"""What is told at the end of each job and in each tick, besides alerts: waiting messages, metrics, the digest."""

from __future__ import annotations

import hashlib
import logging
import platform
from contextlib import suppress
from pathlib import Path

from catalog.errors import LocalError
from catalog.notify.notifier import Notifier
from catalog.notify.spool import HOUR

_log = logging.getLogger("rpdrive.notify")
_STATE = "digest"  # a file in the folder of the spool: the time of the newest digest, in ns


def tell(notifier: Notifier, state: Path, now: int) -> None:
    """Send what waits, write metrics, and send the digest if it is due. Raises nothing; takes seconds at most.

    `state` is the folder of this machine's records. Without notify.toml this reads nothing else.
    """
    config = notifier.config
    try:
        if config is not None and config.metrics is not None:
            _write_metrics(notifier, state, config.metrics, now)
        if config is not None and config.targets:
            _send_digest(notifier, state, now)
    except (LocalError, OSError, ValueError) as e:
        _log.warning("notifications: %s", e)
    notifier.retry(now)


def _write_metrics(notifier: Notifier, state: Path, folder: Path, now: int) -> None:
    from catalog.report.metrics import refresh, samples, text_of, write_metrics

    failing = len(notifier.failing(now))
    sources = _sources(state, f"{now // HOUR} {failing}")
    if refresh(folder, sources, now):
        return  # a year of runs costs 50 ms to read, and mostly says the same
    from catalog.alerts.keeping import Kept
    from catalog.report.series import series_here

    severities = [alert.severity for alert in Kept(state).all() if alert.is_open]
    write_metrics(folder, text_of(samples(series_here(state, now), severities, failing)), sources)


def _sources(state: Path, more: str) -> str:
    """A digest of what metrics are made of: it is another one once a file of records has changed."""
    found = [more]
    for path in (state / "runs.jsonl", *_files(state / "plans"), *_files(state / "alerts")):
        with suppress(OSError):
            status = path.stat()
            found.append(f"{path.name} {status.st_mtime_ns} {status.st_size} {status.st_ino}")
    return hashlib.blake2b("\0".join(found).encode(errors="replace"), digest_size=16).hexdigest()


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError:
        return []


def _send_digest(notifier: Notifier, state: Path, now: int) -> None:
    from catalog.notify.matching import newest_digest

    config = notifier.config
    if config is None or config.digest.off:
        return
    slot = newest_digest(config, now, notifier.zone)
    path = notifier.spool.folder / _STATE
    last = _read(path)
    if last is None or last > now:  # a new machine has nothing to tell; a clock was ahead
        _write(path, now)
    elif last < slot:
        from catalog.alerts.keeping import Kept
        from catalog.report.digest import WEEK, digest_of
        from catalog.report.series import series_here

        _write(path, now)  # first: a digest too few is better than one every five minutes
        series = series_here(state, now)
        machine = next((one.machine for one in series if one.machine), platform.node())
        alerts = [alert for alert in Kept(state).all() if alert.is_open]
        notifier.send([digest_of(series, alerts, max(last, now - 4 * WEEK), now, machine)], now)


def _read(path: Path) -> int | None:
    try:
        return int(path.read_bytes()[:30])
    except (OSError, ValueError):
        return None


def _write(path: Path, time: int) -> None:
    from catalog.access.settings import private_folder, write_private

    private_folder(path.parent)
    write_private(path, str(time).encode())
