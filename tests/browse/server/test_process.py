"""The real command: its start, its orders, and its end, however it comes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.kit.drives import ROOT, Home
from tests.kit.vaults import make_vault

SECONDS = 60.0  # that a step may take; a broken test waits so long
ENTER = "/api/v1/session"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("page")
    make_vault(folder / "vault")
    return Home(folder, folder / "vault")


class Running:
    """A page in a process of its own, and a client that has a session."""

    def __init__(self, home: Home, *args: str, **environ: str) -> None:
        self.home = home
        foreign = ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SUDO_UID", "BROWSER")
        own = {k: v for k, v in home.environment.items() if k not in foreign}
        self.process = subprocess.Popen(
            home.command("browse", *args), env=own | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    def row(self) -> Any:
        """The line that --json prints once the page answers."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=SECONDS)
        return json.loads(line)

    def ended(self, code: int = 0) -> str:
        """Wait for the end; what was said on stderr."""
        _out, err = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == code, (self.process.returncode, err)
        return str(err)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=SECONDS)


def entered(row: Any) -> dict[str, str]:
    """Use a link; the headers of its session."""
    port, token = row["port"], row["url"].partition("#t=")[2]
    headers = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("POST", ENTER, json.dumps({"token": token}), headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        cookie = str(answer.headers["Set-Cookie"]).partition(";")[0]
        return {"Cookie": cookie, "X-Rpdrive-Key": json.loads(answer.read())["key"]}


@pytest.fixture
def started(home: Home) -> Iterator[list[Running]]:
    found: list[Running] = []
    yield found
    for one in found:
        one.close()


def start(started: list[Running], home: Home, *args: str, **environ: str) -> Running:
    started.append(Running(home, *args, **environ))
    return started[-1]


def left(home: Home) -> list[str]:
    """Files of pages that are there now, but for the lock's."""
    return [path.name for path in (home.folder / "home" / "run").glob("browse-*")]


def test_a_signal_ends_the_page_in_order_while_streams_are_open(home: Home, started: list[Running]) -> None:
    page = start(started, home, "--json")
    row = page.row()
    session = entered(row)
    assert len(left(home)) == 1
    with (
        closing(http.client.HTTPConnection("127.0.0.1", row["port"], timeout=SECONDS)) as events,
        closing(socket.create_connection(("127.0.0.1", row["port"]), SECONDS)) as silent,
    ):
        events.request("GET", "/api/v1/events", headers=session)
        answer = events.getresponse()
        assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/event-stream")
        answer.readline()
        page.process.send_signal(signal.SIGINT)
        assert page.ended(0) == ""  # by force, the code would be another
        assert silent.recv(1) == b""
    assert left(home) == []


def test_there_is_one_page_for_a_vault_and_it_takes_orders(home: Home, started: list[Running]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what a child inherits, as under nohup
    try:
        page = start(started, home, "--json")
    finally:
        signal.signal(signal.SIGHUP, before)
    row = page.row()
    page.process.send_signal(signal.SIGHUP)
    again = json.loads(home.run("browse", "--json").stdout)
    assert again["port"] == row["port"] and again["url"] != row["url"]
    said = home.run("browse", "--no-open", SSH_CONNECTION="198.51.100.9 5 192.0.2.7 22").stdout
    assert f"runs already (process {page.process.pid})" in said
    assert re.search(rf"ssh -L {row['port']}:localhost:{row['port']} \S+@192\.0\.2\.7$", said, re.MULTILINE)
    refused = home.run("browse", "--read-only", exit_code=2)
    assert "runs already, without --read-only" in refused.stderr and "#t=" not in refused.stdout
    link = home.run("browse", "--link").stdout.strip()
    assert re.fullmatch(rf"http://127\.0\.0\.1:{row['port']}/#t=[\w-]{{22}}", link)
    for one in (row, again, {"port": row["port"], "url": link}):
        entered(one)
    (orders,) = (home.folder / "home" / "run").glob("browse-*.sock")
    assert stat.S_IMODE(orders.stat().st_mode) == 0o600
    assert stat.S_IMODE(orders.parent.stat().st_mode) == 0o700
    home.run("browse", "--stop")
    assert page.ended(0) == "" and left(home) == []
    assert "no page of this vault runs here" in home.run("browse", "--link", exit_code=4).stderr


def test_the_browser_is_led_by_a_private_file(home: Home, started: list[Running], tmp_path: Path) -> None:
    browser, got = tmp_path / "browser", tmp_path / "got"
    browser.write_text(f'#!/bin/sh\necho "$@" >> {got}.part && mv {got}.part {got}\n')
    browser.chmod(0o700)
    page = start(started, home, DISPLAY=":0", BROWSER=f"{browser} %s")
    assert page.process.stdout is not None
    page.process.stdout.readline()
    url = page.process.stdout.readline().strip()
    token = url.partition("#t=")[2]
    assert len(token) == 22
    end = time.monotonic() + SECONDS
    while not got.exists() and time.monotonic() < end:
        time.sleep(0.01)
    file = Path(got.read_text().strip().removeprefix("file://"))
    assert token not in got.read_text() and token in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert token.encode() not in process.read_bytes(), process
        except OSError:
            continue  # it has ended
    page.process.send_signal(signal.SIGTERM)
    page.ended(0)
    assert not file.exists()


def test_a_page_that_nobody_uses_ends_and_says_so(home: Home, started: list[Running]) -> None:
    page = start(started, home, "--json", "--idle", "1s")
    row = page.row()
    with ExitStack() as stack:
        with suppress(ConnectionError):  # on a busy machine the page may have ended by now
            connection = socket.create_connection(("127.0.0.1", row["port"]), SECONDS)
            stack.enter_context(closing(connection))  # which is no use of the page
        assert page.ended(0) == "rpdrive: the page has ended: nobody used it for 1 s\n"


def test_a_page_can_be_reached_at_a_private_socket_only(home: Home, started: list[Running], tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    page = start(started, home, "--json", "--socket", str(path), "--read-only")
    row = page.row()
    assert row["socket"] == str(path) and stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 307 ") and b"location: http://127.0.0.1:8080/\r\n" in answer
    with closing(http.client.HTTPConnection("127.0.0.1", row["port"], timeout=SECONDS)) as http_connection:
        http_connection.request("GET", ENTER, headers=entered(row))
        assert json.loads(http_connection.getresponse().read())["read_only"] is True
    page.process.send_signal(signal.SIGHUP)
    page.ended(0)
    assert not path.exists()


def test_a_taken_port_is_said_in_a_line(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = home.run("browse", "--port", str(port), exit_code=11).stderr
    assert error == (
        f"rpdrive: the page can't listen at 127.0.0.1, port {port}: Address already in use; choose another port "
        "with --port\n"
    )
    assert left(home) == []
    assert not os.listdir(home.folder / "home" / "run")


STUCK = """
import sys, time
import rpdrive
from mount.browse.resources import points
def stuck(_opened):
    print("stuck", file=sys.stderr, flush=True)
    time.sleep(3600)
points.machines = stuck
sys.exit(rpdrive.run(sys.argv[1:]))
"""


@pytest.mark.soak
@pytest.mark.parametrize("signals", [1, 2])
def test_a_request_that_waits_for_ever_does_not_keep_the_process(home: Home, signals: int) -> None:
    """It is ended by force, some seconds after the first signal, or by the second one."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, "browse", "--json"], env=home.environment, cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    try:
        row = json.loads(process.stdout.readline())
        with closing(http.client.HTTPConnection("127.0.0.1", row["port"], timeout=SECONDS)) as connection:
            connection.request("GET", "/api/v1/machines", headers=entered(row))
            assert process.stderr.readline() == "stuck\n"
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
            process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
