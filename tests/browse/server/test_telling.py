"""What the command prints, and how a browser is led to the page without showing the token to other users."""

from __future__ import annotations

import stat
import sys
import webbrowser
from pathlib import Path

import pytest

from catalog.errors import UsageError
from mount.browse.options import Listen, parse_listen, parsed
from mount.browse.server import telling

ROW = {"port": 4000, "socket": None, "url": "http://127.0.0.1:4000/#t=secret"}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setattr("socket.gethostname", lambda: "nas")


def test_the_line_for_another_machine_can_be_copied() -> None:
    assert telling.ssh_line(ROW, {}) == "ssh -L 4000:localhost:4000 ada@nas"
    by_socket = telling.ssh_line(ROW | {"socket": "/run/user/1000/my page.sock"}, {})
    assert by_socket == "ssh -L 4000:'/run/user/1000/my page.sock' ada@nas"


def test_over_ssh_it_names_the_machine_as_the_client_does() -> None:
    connection = "198.51.100.9 50000 192.0.2.7 22"
    assert telling.ssh_line(ROW, {"SSH_CONNECTION": connection}) == "ssh -L 4000:localhost:4000 ada@192.0.2.7"
    assert telling.ssh_line(ROW, {"SSH_CONNECTION": connection.replace(" 22", " 2222")}).startswith(
        "ssh -p 2222 -L "
    )
    hostile = telling.ssh_line(ROW, {"SSH_CONNECTION": "a b $(x) ;y"})
    assert hostile == "ssh -p ';y' -L 4000:localhost:4000 'ada@$(x)'"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a display")
def test_a_browser_is_opened_only_in_front_of_the_person() -> None:
    assert telling.has_display({"DISPLAY": ":0"}) and telling.has_display({"WAYLAND_DISPLAY": "wayland-0"})
    for environ in ({}, {"DISPLAY": ":0", "SSH_CONNECTION": "a 1 b 2"}, {"DISPLAY": ":0", "SUDO_UID": "1000"}):
        assert not telling.has_display(environ)


def test_the_browser_gets_a_private_file_and_not_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[str] = []
    monkeypatch.setattr(webbrowser, "open", got.append)
    telling.open_browser(ROW["url"], tmp_path / "page.html").join(30)  # type: ignore[arg-type]
    assert got == [(tmp_path / "page.html").as_uri()]
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600
    assert b'content="0;url=http://127.0.0.1:4000/#t=secret"' in (tmp_path / "page.html").read_bytes()


def test_no_browser_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_url: str) -> bool:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "open", broken)
    telling.open_browser("http://x", tmp_path / "page.html").join(30)
    assert "no browser could be opened: could not locate" in capsys.readouterr().err


def test_an_address_cannot_leave_its_attribute() -> None:
    assert b'"><script>' not in telling.redirecting('http://x/"><script>alert(1)</script>')


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("192.0.2.7", "192.0.2.7", 0, "192.0.2.7"),
        ("192.0.2.7:8443", "192.0.2.7", 8443, "192.0.2.7"),
        ("NAS.example:1", "nas.example", 1, "nas.example"),
        ("2001:DB8::7", "2001:db8::7", 0, "[2001:db8::7]"),
        ("[2001:db8::7]:443", "2001:db8::7", 443, "[2001:db8::7]"),
        ("[::1]", "::1", 0, "[::1]"),
    ],
)
def test_where_to_listen(text: str, host: str, port: int, shown: str) -> None:
    assert parse_listen(text) == Listen(host, port)
    assert parse_listen(text).shown == shown


@pytest.mark.parametrize(
    "text", ["", ":80", "a:b", "a:99999", "http://x", "[::1", "a b", "ä.example", "a:1:2x", "x/y"]
)
def test_nowhere_to_listen(text: str) -> None:
    with pytest.raises(UsageError, match="is not an address"):
        parse_listen(text)


def test_a_page_for_other_devices_changes_nothing_unless_it_may() -> None:
    def read_only(listen: str | None, read_only: bool, allow_restore: bool) -> bool:
        return parsed(
            port=0, socket=None, listen=listen, read_only=read_only, allow_restore=allow_restore, idle="off",
            no_open=False, as_json=False,
        ).read_only  # fmt: skip

    assert not read_only(None, False, False) and read_only(None, True, False)
    assert read_only("192.0.2.7", False, False) and not read_only("192.0.2.7", False, True)
    for listen, first, second in ((None, False, True), ("192.0.2.7", True, True)):
        with pytest.raises(UsageError):
            read_only(listen, first, second)
