"""Runs `rpdrive alerts`, `health` and `watch`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import msgspec

from catalog.access.session import Session
from catalog.alerts.health import alert_json, alert_line, health_json, health_of, health_text
from catalog.alerts.keeping import Kept
from catalog.alerts.looking import Looker
from catalog.alerts.rules import rank
from catalog.alerts.state import Alert, Facts, acknowledge, step
from catalog.alerts.telling import tell
from catalog.alerts.vaults import vault_facts
from catalog.alerts.watching import Watched, Watcher, away, known_of, own_facts, room_of, watch
from catalog.errors import AmbiguousName, LocalError, Locked, NotFound, RpdriveError, UsageError, WrongPassphrase
from catalog.machines.registry import id_here
from catalog.notify.notifier import Notifier
from catalog.schedule.history import History
from catalog.screen.output import print_json, say
from catalog.screen.text import counted, local_time, parse_duration
from catalog.vault import Vault

RESTORE_TEST = "restore-test"
_LEAST_EVERY = 60.0  # s


def _notifier(session: Session) -> Notifier:
    return Notifier(session.settings.where("config"), session.settings.where("state"))


def _chosen(session: Session) -> list[Alert]:
    """The alerts of the vault that was named on the command line, or of all."""
    alerts = Kept(session.settings.state_to_read).all()
    if session.vault_option is None:
        return alerts
    known = session.known_id()
    return alerts if known is None else [a for a in alerts if a.vault in ("", known.hex())]


def show_alerts(session: Session, *, closed: bool, as_json: bool) -> None:
    """Print the alerts that are open, the worst first; with `closed`, all, the newest last."""
    alerts = [alert for alert in _chosen(session) if alert.is_open or closed]
    if closed:
        alerts.sort(key=lambda a: (a.opened, a.key))
    else:
        alerts.sort(key=lambda a: (-rank(a.severity), a.opened, a.key))
    if as_json:
        print_json({"alerts": [alert_json(alert) for alert in alerts]})
    elif alerts:
        for alert in alerts:
            until = f" - {local_time(alert.resolved)[:16]}" if alert.resolved else ""
            print(f"{local_time(alert.opened)[:16]}{until}  {alert_line(alert)}")
    else:
        print("no alerts" if closed else "no open alerts")


def acknowledge_alert(session: Session, which: str, reason: str, *, as_json: bool) -> None:
    """Acknowledge an open alert. Raises NotFound, AmbiguousName and LocalError."""
    found = [a for a in _chosen(session) if a.is_open and a.ref.startswith(which.lower())]
    if not found:
        raise NotFound(f"there is no open alert {which}", "see `rpdrive alerts`")
    if len({alert.key for alert in found}) > 1:
        raise AmbiguousName(f"{len(found)} open alerts have ids that start with {which}", "give more of the id")
    one, now = found[0], time.time_ns()
    plain = reason.encode(errors="replace").decode()
    kept = Kept(session.settings.state)
    result = tell(kept, one.vault, lambda before: acknowledge(before, one.ref, now, plain), now, _notifier(session))
    after = next(a for a in reversed(result.alerts) if a.key == one.key)
    if as_json:
        print_json(alert_json(after))
    elif after.is_open:
        say(f"{after.ref} is acknowledged, and open until its cause ends")
    else:
        say(f"{after.ref} is resolved")


def show_health(session: Session, vault: Vault, *, every: bool, as_json: bool) -> int:
    """Print how well items are protected. Nobody is told anything, and no alert is kept. Returns the exit code."""
    now, state = time.time_ns(), session.settings.state
    look = Looker(state, vault.id).look(vault, now)
    facts = vault_facts(look, known_of(state, vault.state_id))
    facts = facts.and_also(Facts(tuple(own_facts(session, vault.id.hex(), now))))
    kept = Kept(state)
    alerts = [*step(kept.of(vault.id.hex()), facts, now).alerts, *kept.of("")]
    known = id_here(session.settings, vault)
    here = known.hex() if known is not None else ""
    tests = [ran for ran in History(state).all() if ran.vault == vault.id.hex() and ran.kind == RESTORE_TEST]
    look = look._replace(runs=(*look.runs, *(msgspec.structs.replace(ran, machine=here) for ran in tests)))
    found = health_of(look, alerts, room_of(session), (here,) if here and not every else (), here)
    if as_json:
        print_json(health_json(found))
    else:
        print(health_text(found))
    return found.code


def run_watch(
    session: Session, *, once: bool, every: str, as_json: bool, sleep: Callable[[float], object] = time.sleep
) -> None:
    """Look once, or again and again.

    A vault that can't be opened is an alert, too, if this machine knows its id; it ends the command only if it is
    to look once. Raises UsageError for a time that is too short, and as `Session.open_vault`.
    """
    pause = parse_duration(every)
    if pause < _LEAST_EVERY:
        raise UsageError(f"{every} is too often", "give --every 1m or more")
    notifications, watcher = _notifier(session), None
    known = session.known_id()
    if known is not None:
        watcher = Watcher(session.settings.state, known, notifications)
    master: bytes | None = None
    while True:
        try:
            vault = session.open_vault(master=master)
            master = vault.keys.master
            if vault.file.copy is not None and vault.file.is_following:
                of = vault.file.copy.of
                raise UsageError(f"{session.address} is a copy of {of}, and follows it", f"watch {of}")
            watcher = watcher or Watcher(session.settings.state, vault.id, notifications)
            found = watch(session, watcher, vault, notifications)
        except (LocalError, UsageError, WrongPassphrase, Locked):
            raise
        except RpdriveError as e:
            if watcher is None:
                raise
            found = away(watcher, e, notifications)
            if once:
                _print(found, as_json=as_json)
                raise
        _print(found, as_json=as_json)
        if once:
            return
        sleep(pause)


def _print(found: Watched, *, as_json: bool) -> None:
    """Print what a look changed, and what is open."""
    if as_json:
        changes = [{"what": change.what, **alert_json(change.alert)} for change in found.changes]
        print(json.dumps({"changes": changes, "open": [alert_json(a) for a in found.alerts]}), flush=True)
        return
    for change in found.changes:
        print(f"{local_time(change.time)[:16]}  {change.what:<8}  {alert_line(change.alert)}")
    print(f"{local_time(time.time_ns())[:16]}  {_open_text(found.alerts)}", flush=True)


def _open_text(alerts: Sequence[Alert]) -> str:
    return f"{counted(len(alerts), 'alert')} open" if alerts else "nothing is wrong"
