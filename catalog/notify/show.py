"""Runs the commands `rpdrive notify …`."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from catalog.access.passphrases import ask_on_terminal
from catalog.access.settings import Settings
from catalog.access.trusted import read_trusted
from catalog.errors import LocalError, NotFound, Undeliverable, UsageError
from catalog.notify.bounded import Undelivered
from catalog.notify.config import FILE, Config, read_config
from catalog.notify.delivery import deliver
from catalog.notify.editing import Value, remove_target, set_target
from catalog.notify.event import Event, Ping, PingWhat, Severity, What
from catalog.notify.notifier import Notifier
from catalog.notify.spool import Spool, State
from catalog.notify.targets import Apprise, PingUrl, Smtp, Target
from catalog.screen.output import print_json, print_table, say
from catalog.screen.stderr import warn
from catalog.screen.text import counted, iso_time, local_time

Row = dict[str, Value]
_LONGEST = 4096  # bytes of a file with a URL
_FLUSHING = 60.0  # s


def mail_row(
    to: Sequence[str], smtp: str, security: str, user: str | None, password_file: Path | None, sender: str | None,
    ca_file: str | None,
) -> tuple[Row, dict[str, str]]:  # fmt: skip
    """The fields of a target of mail, and its secrets. Asks for a password if there is a user and no file."""
    host, colon, port = smtp.rpartition(":") if smtp.count(":") == 1 else (smtp, "", "")
    if colon and not (port.isascii() and port.isdecimal()):
        raise UsageError(f"--smtp {smtp!r} has no number after the colon", "give e.g. mail.example.org:587")
    public: Row = {"type": "smtp", "host": host or smtp, "security": security, "to": list(to)}
    public |= {"port": int(port)} if port else {}
    public |= {"user": user} if user else {}
    public |= {"from": sender} if sender else {}
    public |= {"ca_file": str(Path(ca_file).absolute())} if ca_file else {}
    if password_file is not None:
        return public | {"password_file": str(password_file.absolute())}, {}
    if not user:
        return public, {}
    password = ask_on_terminal(f"Password of {user} at {host or smtp}")
    if password is None:
        raise UsageError("there is no terminal to ask for the password", "give it with --password-file")
    return public, {"password": password}


def url_row(
    kind: str, url: str | None, url_file: Path | None, ca_file: str | None, *, insecure: bool = False
) -> tuple[Row, dict[str, str]]:
    """The fields of a target with a URL, which is a secret. Asks for it if it is not given."""
    if url and url_file:
        raise UsageError("a URL and --url-file are given", "give one of them")
    if url_file is not None:
        data = read_trusted(url_file, _LONGEST, secret=True)
        if data is None:
            raise LocalError(f"the file {url_file} does not exist", "write the URL into it")
        url = data.decode(errors="replace").strip()
    elif not url:
        url = (ask_on_terminal("URL") or "").strip()
        if not url:
            raise UsageError("no URL is given", "give it, or --url-file FILE")
    public: Row = {"type": kind}
    public |= {"insecure": True} if insecure else {}
    public |= {"ca_file": str(Path(ca_file).absolute())} if ca_file else {}
    return public, {"url": url}


def set_up(
    settings: Settings, name: str, public: Row, private: dict[str, str], *, test: bool, as_json: bool
) -> None:
    """Write a target, and prove by a message that it works. The target stays, also if that fails."""
    set_target(settings.config, name, public, private)
    config = read_config(settings.config)
    error = _tested(config.targets[name], name, _spool(settings)) if test else None
    if as_json:
        print_json({"target": name, "tested": test, "error": error or None})
    else:
        say(f"The target {name} is in {settings.config / FILE}.")
        if test and not error:
            say(f"It took a test message: see that it arrived{_where(config.targets[name])}.")
    if error:
        raise Undeliverable(f"the target {name} is set, but a test message failed: {error}")


def _where(target: Target) -> str:
    return f" at {', '.join(target.to)}" if isinstance(target, Smtp) else ""


def _tested(target: Target, name: str, spool: Spool) -> str:
    """Why a test message was not taken; "" if it was. What waits is then tried by the next tick."""
    now = time.time_ns()
    content: Event | Ping = Event(
        what=What.TEST, alert="test", severity=Severity.INFO, time=now, machine=platform.node(),
        title="this is a test of notifications",
        text="If you can read this, rpdrive can reach you here. Nothing has happened.",
    )  # fmt: skip
    if isinstance(target, PingUrl):
        content = Ping(what=PingWhat.SUCCESS, kind="test", time=now, text="test of notifications by rpdrive")
    state = spool.state(name)
    try:
        remark = deliver(target, content)
    except Undelivered as e:
        spool.set_state(name, msgspec.structs.replace(state, error=str(e)))
        return str(e)
    spool.set_state(name, State(error=remark, delivered=now, dropped=state.dropped))
    return ""


def show_targets(settings: Settings, *, as_json: bool) -> None:
    """List targets with what waits for each, and all faults. Raises UsageError if there are faults."""
    config, spool = read_config(settings.where("config")), _spool(settings)
    rows = [(name, config.targets.get(name)) for name in [*config.targets, *sorted(config.faulty)]]
    if as_json:
        print_json({
            "targets": [_json(name, target, spool) for name, target in rows],
            "faults": config.faults,
            "metrics": str(config.metrics) if config.metrics else None,
        })  # fmt: skip
    elif not rows:
        say("There are no targets: nobody is told. Add one with `rpdrive notify set mail …`.")
    else:
        print_table(("TARGET", "TYPE", "TO", "WAITING>", "STATE"), [_cells(n, t, spool) for n, t in rows])
        for matcher in config.matchers:
            say(f"Matcher for {', '.join(matcher.targets)}: {_rules(matcher)}")
    for fault in config.faults if not as_json else ():
        warn(fault)
    if config.faults:
        raise UsageError(
            f"{settings.where('config') / FILE} has {counted(len(config.faults), 'fault')}", "see docs/notify.md"
        )


def _rules(matcher: msgspec.Struct) -> str:
    rules = {k: v for k, v in msgspec.to_builtins(matcher).items() if v and k != "targets"}
    return "; ".join(f"{k} {', '.join(v) if isinstance(v, list) else v}" for k, v in rules.items()) or "everything"


def _to(target: Target | None) -> str:
    """Where a target leads, without what may be secret of it."""
    from urllib.parse import urlsplit

    match target:
        case None:
            return ""
        case Smtp():
            return f"{', '.join(target.to)} by {target.host}:{target.used_port} ({target.security})"
        case Apprise():
            return target.url.partition("://")[0]
        case _:
            return urlsplit(target.url).netloc


def _kind(target: Target | None) -> str:
    return str(target.__struct_config__.tag) if target is not None else "?"


def _cells(name: str, target: Target | None, spool: Spool) -> tuple[str, str, str, str, str]:
    state = spool.state(name)
    if target is None:
        text = "not usable: see the faults"
    elif state.failures:
        text = f"failing since {local_time(state.since)}: {state.error}"
    elif state.delivered:
        text = f"ok, last {local_time(state.delivered)[:16]}" + (f"; {state.error}" if state.error else "")
    else:
        text = state.error or "nothing sent yet"
    return name, _kind(target), _to(target), str(len(spool.entries(name))), text


def _json(name: str, target: Target | None, spool: Spool) -> dict[str, object]:
    state = spool.state(name)
    return {
        "name": name, "type": _kind(target), "to": _to(target), "usable": target is not None,
        "waiting": len(spool.entries(name)), "failures": state.failures,
        "failing_since": iso_time(state.since) if state.failures else None, "error": state.error or None,
        "next_attempt": iso_time(state.next) if state.failures else None,
        "delivered": iso_time(state.delivered) if state.delivered else None,
    }  # fmt: skip


def remove(settings: Settings, name: str, *, as_json: bool) -> None:
    """Remove a target. Raises NotFound if there is none."""
    found = remove_target(settings.config, name)
    waiting = _spool(settings).remove_target(name) if found else 0
    if not found:
        raise NotFound(f"there is no target {name!r}", "see `rpdrive notify list`")
    if as_json:
        print_json({"removed": name, "dropped": waiting})
    else:
        say(f"Removed the target {name}" + (f" and {counted(waiting, 'message')} for it." if waiting else "."))


def test(settings: Settings, name: str | None, *, as_json: bool) -> None:
    """Send a test message to targets, one after the other. Raises Undeliverable if one did not take it."""
    config = read_config(settings.where("config"))
    names = _chosen(config, name)
    spool = _spool(settings)
    errors = {
        n: _tested(config.targets[n], n, spool)
        if n in config.targets
        else "it has a fault: see `rpdrive notify list`"
        for n in names
    }
    if as_json:
        print_json({"targets": [{"name": n, "error": e or None} for n, e in errors.items()]})
    else:
        print_table(("TARGET", "RESULT"), [(n, e or "took the message") for n, e in errors.items()])
    failed = [n for n, e in errors.items() if e]
    if failed:
        raise Undeliverable(f"{counted(len(failed), 'target')} of {len(names)} did not take the message")


def _chosen(config: Config, name: str | None) -> list[str]:
    names = [*config.targets, *sorted(config.faulty)]
    if not names:
        raise NotFound("there are no targets", "add one with `rpdrive notify set mail …`")
    if name is not None and name not in names:
        raise NotFound(f"there is no target {name!r}", f"there are {', '.join(names)}")
    return names if name is None else [name]


def flush(settings: Settings, *, as_json: bool) -> None:
    """Try to deliver all that waits. Raises Undeliverable if something still waits afterwards."""
    spool = _spool(settings)
    for name in spool.targets():
        state = spool.state(name)
        if state.next:
            spool.set_state(name, msgspec.structs.replace(state, next=0))
    before, dropped = _waiting(spool), _dropped(spool)
    notifier = Notifier(settings.config, settings.state, _FLUSHING)
    notifier.retry(time.time_ns())
    left, old = _waiting(spool), max(_dropped(spool) - dropped, 0)
    done = max(before - left - old, 0)
    if as_json:
        print_json({"delivered": done, "waiting": left, "given_up": old})
    else:
        given_up = f"; {old} too old, and given up" if old else ""
        say(f"{counted(done, 'message')} delivered, {left} waiting{given_up}.")
    if left:
        rows = [(n, spool.state(n).error or notifier.fault) for n in spool.targets() if spool.entries(n)]
        raise Undeliverable("; ".join(f"{name}: {error}" for name, error in rows) or "messages still wait")


def _waiting(spool: Spool) -> int:
    return sum(len(spool.entries(name)) for name in spool.targets())


def _dropped(spool: Spool) -> int:
    return sum(spool.state(name).dropped for name in spool.targets())


def _spool(settings: Settings) -> Spool:
    return Spool(settings.where("state") / "notify")
