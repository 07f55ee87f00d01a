"""Sending through the spool: retries, order, once each, and never in the way of a job."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from catalog.notify import notifier as module
from catalog.notify import spool as spool_module
from catalog.notify.event import Ping, PingWhat, Severity
from catalog.notify.notifier import Notifier
from catalog.notify.spool import DAY, HOUR, Spool
from tests.catalog.notify.events import NOW, event, write
from tests.kit.web_server import WebServer, raw_server, refused_port, web_server

PATIENCE = 60.0  # s; the targets answer at once, but the machine may be busy


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


class Home:
    """A configuration and a spool, and notifiers on them, as each process makes one."""

    def __init__(self, folder: Path) -> None:
        self.config, self.state = folder / "config", folder / "state"

    def configure(self, **urls: str) -> None:
        rows = (f'[targets.{name}]\ntype = "webhook"\nurl = "{url}"\n' for name, url in urls.items())
        write(self.config, "".join(rows))

    def notifier(self, patience: float = PATIENCE) -> Notifier:
        return Notifier(self.config, self.state, patience)

    def waiting(self, target: str) -> int:
        return len(Spool(self.state / "notify").entries(target))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def titles(server: WebServer) -> list[str]:
    return [request.json["subject"].rpartition(": ")[2] for request in server.requests]


def test_without_a_configuration_nothing_happens(home: Home) -> None:
    home.config.mkdir()
    notifier = home.notifier()
    assert notifier.send([event()], NOW) == []
    notifier.ping(Ping(what=PingWhat.START, kind="backup", time=NOW))
    notifier.retry(NOW)
    assert notifier.failing(NOW) == [] and not (home.state / "notify").exists()


def test_events_arrive_once_and_leave_the_spool(home: Home, server: WebServer) -> None:
    home.configure(hook=server.url, other=f"{server.url}/2")
    home.notifier().send([event(title="a"), event(title="b")], NOW)
    home.notifier().retry(NOW + HOUR)
    assert sorted((r.path, t) for r, t in zip(server.requests, titles(server), strict=True)) == [
        ("/", "a"), ("/", "b"), ("/2", "a"), ("/2", "b")
    ]  # fmt: skip
    assert home.waiting("hook") == home.waiting("other") == 0


def test_what_fails_is_sent_later_in_order(home: Home, server: WebServer) -> None:
    home.configure(hook=server.url)
    server.status = 500
    home.notifier().send([event(title="a")], NOW)
    home.notifier().send([event(title="b")], NOW + 1)
    assert titles(server) == ["a"]  # the next attempt is not due yet
    assert home.waiting("hook") == 2
    assert home.notifier().failing(NOW + HOUR)[0].error == "it answered 500"
    server.status = 200
    home.notifier().retry(NOW + HOUR)
    assert titles(server) == ["a", "a", "b"] and home.waiting("hook") == 0
    assert home.notifier().failing(NOW + 9 * HOUR) == []


def test_one_broken_target_does_not_hold_up_another(home: Home, server: WebServer) -> None:
    home.configure(broken=f"http://127.0.0.1:{refused_port()}", hook=server.url)
    home.notifier().send([event(title="a")], NOW)
    assert titles(server) == ["a"]
    assert (home.waiting("broken"), home.waiting("hook")) == (1, 0)


def test_a_refused_message_does_not_hold_up_the_next(home: Home, server: WebServer) -> None:
    home.configure(hook=server.url)
    server.status = 413
    home.notifier().send([event(title="a"), event(title="b")], NOW)
    assert titles(server) == ["a", "b"] and home.waiting("hook") == 2
    home.notifier().retry(NOW + 2 * DAY)  # given up
    assert home.waiting("hook") == 0
    server.status = 200
    home.notifier().send([event(title="c")], NOW + 3 * DAY)
    assert server.requests[-1].json["fields"]["Not delivered"] == "2 earlier messages were given up"


def test_old_events_are_given_up_and_that_is_said(home: Home, server: WebServer) -> None:
    home.configure(hook=f"http://127.0.0.1:{refused_port()}")
    home.notifier().send([event(title="old")], NOW)
    home.configure(hook=server.url)
    home.notifier().retry(NOW + 15 * DAY)
    assert server.requests == [] and home.waiting("hook") == 0
    home.notifier().send([event(title="new")], NOW + 15 * DAY)
    assert server.requests[0].json["fields"]["Not delivered"] == "1 earlier messages were given up"
    home.notifier().send([event(title="newer")], NOW + 15 * DAY)
    assert "Not delivered" not in server.requests[1].json["fields"]


@pytest.mark.parametrize("main", ["this is not toml", '[targets.hook]\ntype = "webhook"\nurl = 3\n'])
def test_a_broken_configuration_loses_nothing(home: Home, server: WebServer, main: str) -> None:
    write(home.config, main)
    notifier = home.notifier()
    assert notifier.send([event(title="a")], NOW) == []
    rows = notifier.failing(NOW + HOUR)
    assert rows and all("notify.toml" in row.error for row in rows)
    home.notifier().retry(NOW + HOUR)
    home.configure(hook=server.url)
    home.notifier().retry(NOW + HOUR)
    assert titles(server) == ["a"] and home.notifier().failing(NOW + 9 * HOUR) == []


def test_what_waits_for_a_removed_target_goes(home: Home, server: WebServer) -> None:
    home.configure(gone=f"http://127.0.0.1:{refused_port()}")
    home.notifier().send([event()], NOW)
    home.configure(hook=server.url)
    home.notifier().retry(NOW + HOUR)
    assert home.notifier().failing(NOW + 9 * HOUR) == [] and server.requests == []


def test_a_hanging_target_does_not_hold_up_the_caller(home: Home) -> None:
    """The caller goes on while the target still hangs, and the message stays."""
    reached = threading.Event()

    def hang(connection: socket.socket) -> None:
        reached.set()
        while connection.recv(4096):
            pass

    with raw_server(hang) as port:
        home.configure(hook=f"http://127.0.0.1:{port}")
        notifier = home.notifier(patience=0.1)
        notifier.send([event()], NOW)
        assert reached.wait(PATIENCE)
        assert any(thread.is_alive() for thread in notifier._threads)
        assert home.waiting("hook") == 1
        home.notifier(patience=0.1).retry(NOW + 2 * HOUR)  # the first one still holds the lock
        assert Spool(home.state / "notify").state("hook").failures == 1
    for thread in notifier._threads:
        thread.join(PATIENCE)


def test_a_faulty_configuration_is_told_by_the_other_targets(home: Home) -> None:
    """After an hour, in which a person may still be writing it."""
    write(
        home.config, '[targets.hook]\ntype = "webhook"\nurl = "https://example.org/"\n[targets.x]\ntype = "fax"\n'
    )
    written = (home.config / "notify.toml").stat().st_mtime_ns
    assert home.notifier().failing(written + HOUR // 2) == []
    (row,) = home.notifier().failing(written + HOUR)
    assert (row.target, row.since, row.waiting) == ("notify.toml", written, 0)
    assert row.error == "notify.toml: targets.x.type: invalid value 'fax'"
    (home.config / "notify.toml").write_text("not toml")
    os.utime(home.config / "notify.toml", ns=(written, written))
    assert "is not TOML" in home.notifier().failing(written + HOUR)[0].error


def test_a_process_that_ends_meanwhile_leaves_the_message(home: Home, server: WebServer) -> None:
    with raw_server(lambda connection: [None for _ in iter(lambda: connection.recv(4096), b"")]) as port:  # type: ignore[arg-type]
        home.configure(hook=f"http://127.0.0.1:{port}")
        code = (
            "import sys; from pathlib import Path; from catalog.notify.notifier import Notifier;"
            "from tests.catalog.notify.events import event, NOW;"
            "Notifier(Path(sys.argv[1]), Path(sys.argv[2]), 0.1).send([event(title='a')], NOW)"
        )
        subprocess.run([sys.executable, "-c", code, home.config, home.state], check=True, timeout=60)
    assert home.waiting("hook") == 1
    home.configure(hook=server.url)
    home.notifier().retry(NOW + HOUR)
    assert titles(server) == ["a"]


def test_many_at_once_send_each_message_once(home: Home, server: WebServer) -> None:
    home.configure(hook=f"http://127.0.0.1:{refused_port()}")
    home.notifier().send([event(title=f"t{n:02}") for n in range(10)], NOW)
    home.configure(hook=server.url)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: home.notifier().retry(NOW + HOUR), range(12)))
    home.notifier().retry(NOW + 2 * HOUR)
    assert sorted(titles(server)) == [f"t{n:02}" for n in range(10)]


def test_a_full_disk_sends_at_once_what_it_can_not_keep(
    home: Home, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    home.configure(hook=server.url, broken=f"http://127.0.0.1:{refused_port()}")
    monkeypatch.setattr(spool_module, "_write", full)
    assert home.notifier().send([event(title="a")], NOW) == []
    assert titles(server) == ["a"]
    server.status = 500
    lost = [event(title="b")]
    assert home.notifier().send(lost, NOW) == lost  # said to the caller, who has it still


@pytest.mark.needs_root
def test_a_spool_on_a_disk_that_is_really_full(home: Home, server: WebServer, tmp_path: Path) -> None:
    home.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", home.state], check=True)
    try:
        home.configure(hook=f"http://127.0.0.1:{refused_port()}")
        home.notifier().send([event(title="kept")], NOW)
        with pytest.raises(OSError), (home.state / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)
        lost = [event(title="lost", text="x" * 9000)]
        assert home.notifier().send(lost, NOW) == lost
        home.configure(hook=server.url)
        home.notifier().retry(NOW + HOUR)
        assert titles(server) == ["kept"] and home.waiting("hook") == 0
    finally:
        subprocess.run(["umount", home.state], check=True)


def test_a_spool_that_can_not_be_emptied_is_not_sent_again_and_again(
    home: Home, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.configure(hook=f"http://127.0.0.1:{refused_port()}")
    home.notifier().send([event(title="a")], NOW)
    home.configure(hook=server.url)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a disk that is mounted read-only
    home.notifier().retry(NOW + HOUR)
    assert server.requests == []


def test_nothing_raises(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any) -> str:
        raise RuntimeError("a bug")

    home.configure(hook="http://127.0.0.1:9/")
    monkeypatch.setattr(module, "deliver", explode)
    notifier = home.notifier()
    assert notifier.send([event()], NOW) == []
    notifier.retry(NOW + HOUR)
    assert home.waiting("hook") == 1


# --- pings ----------------------------------------------------------------------------------------------------


def ping(what: PingWhat, now: int = NOW) -> Ping:
    return Ping(what=what, kind="backup", item="home", time=now, run="0" * 32)


def test_pings_go_out_and_a_late_one_is_dropped(home: Home, server: WebServer) -> None:
    def configure(url: str) -> None:
        write(home.config, f'[targets.alive]\ntype = "ping"\nurl = "{url}/u"\nkinds = ["backup"]\n')

    configure(server.url)
    notifier = home.notifier()
    notifier.ping(ping(PingWhat.START))
    notifier.ping(ping(PingWhat.SUCCESS))
    assert sorted(r.path.partition("?")[0] for r in server.requests) == ["/u", "/u/start"]
    configure(f"http://127.0.0.1:{refused_port()}")
    home.notifier().ping(ping(PingWhat.FAIL))
    assert home.waiting("alive") == 1
    configure(server.url)
    home.notifier().retry(NOW + HOUR // 2)
    assert server.requests[-1].path.startswith("/u/fail")
    configure(f"http://127.0.0.1:{refused_port()}")
    home.notifier().ping(ping(PingWhat.FAIL, NOW + HOUR))
    configure(server.url)
    home.notifier().retry(NOW + 3 * HOUR)  # it would say that something runs now
    assert len(server.requests) == 3 and home.waiting("alive") == 0


def test_events_do_not_go_to_pings(home: Home, server: WebServer) -> None:
    write(home.config, f'[targets.alive]\ntype = "ping"\nurl = "{server.url}"\n')
    home.notifier().send([event(security=True, severity=Severity.CRITICAL)], NOW)
    assert server.requests == []


def test_the_real_clock_works_too(home: Home, server: WebServer) -> None:
    home.configure(hook=server.url)
    home.notifier().send([event(time=time.time_ns())], time.time_ns())
    assert len(server.requests) == 1


def test_a_changed_configuration_is_read_again(home: Home, server: WebServer) -> None:
    """By one that goes on for months, as that of a watch."""
    home.config.mkdir()
    notifier = home.notifier()
    notifier.send([event(title="a")], NOW)
    home.configure(hook=server.url)
    notifier.send([event(title="b")], NOW)
    assert titles(server) == ["b"]
    (home.config / "notify.toml").unlink()
    notifier.send([event(title="c")], NOW)
    assert titles(server) == ["b"]
