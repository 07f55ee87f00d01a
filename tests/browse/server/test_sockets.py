"""The page's sockets belong to it alone: both loopbacks, a Unix socket, an address of this machine."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import LocalError, UsageError
from mount.browse.server import sockets
from mount.browse.server.sockets import Loopback, loopback, named, unix

NOBODY = 65534


@contextmanager
def listening(port: int | None = None) -> Iterator[Loopback]:
    found = loopback(port)
    try:
        yield found
    finally:
        for one in found.sockets:
            one.close()


@pytest.mark.needs_ipv6
def test_both_loopbacks_are_taken_at_one_port() -> None:
    with listening() as found:
        assert [one.getsockname()[:2] for one in found.sockets] == [("127.0.0.1", found.port), ("::1", found.port)]
        assert found.notice == ""
        for address in ("127.0.0.1", "::1", "localhost"):
            socket.create_connection((address, found.port), 10).close()


@pytest.mark.needs_root
def test_another_user_cannot_take_any_part_of_the_port() -> None:
    code = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for address in ('127.0.0.1', '0.0.0.0', '::1', '::', '::ffff:127.0.0.1'):\n"
        "    for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT):\n"
        "        one = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)\n"
        "        if option is not None: one.setsockopt(socket.SOL_SOCKET, option, 1)\n"
        "        try:\n"
        "            one.bind((address, int(sys.argv[1]))); one.listen()\n"
        "        except OSError: continue\n"
        "        sys.exit(f'{address} is free')\n"
    )  # fmt: skip
    with listening() as found:
        done = subprocess.run(
            [sys.executable, "-c", code, str(found.port)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.needs_ipv6
def test_a_port_whose_other_loopback_is_taken_is_refused_or_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalError, match=rf"can't listen at \[::1\], port {port}"):
            loopback(port)
        free = sockets._listen
        tried: list[int] = []

        def listen(family: int, address: str, wanted: int) -> socket.socket:
            tried.append(wanted)
            return free(family, address, port if not wanted and len(tried) == 1 else wanted)

        monkeypatch.setattr(sockets, "_listen", listen)
        with listening() as found:
            assert found.port != port and len(tried) == 4


def test_a_machine_without_ipv6_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    free = sockets._listen

    def listen(family: int, address: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return free(family, address, port)

    monkeypatch.setattr(sockets, "_listen", listen)
    with listening() as found:
        assert len(found.sockets) == 1 and "127.0.0.1 only" in found.notice


def test_a_taken_port_is_refused_in_words() -> None:
    with listening() as found, pytest.raises(LocalError, match="Address already in use") as caught:
        loopback(found.port)
    assert "--port" in caught.value.advice


def test_a_port_is_free_again_at_once() -> None:
    with listening() as found:
        client = socket.create_connection(("127.0.0.1", found.port), 10)
        server = found.sockets[0].accept()[0]
        server.close()  # first: so that this side of the connection waits for its end
        client.close()
    with listening(found.port) as again:
        assert again.port == found.port


# --- a Unix socket ----------------------------------------------------------------------------------------------


def test_a_unix_socket_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 150) / "page.sock"  # longer than an address of a socket can be
    path.parent.mkdir()
    with unix(path):
        status = path.lstat()
        assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
        with pytest.raises(LocalError, match="a process listens"), unix(path):
            pass
        assert path.is_socket()
    assert not path.exists()


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    before = path.lstat().st_ino, path.lstat().st_mtime_ns
    with unix(path):
        assert (path.lstat().st_ino, path.lstat().st_mtime_ns) != before


@pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
def test_what_is_no_socket_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "page.sock"
    makers: dict[str, Any] = {
        "file": lambda: path.write_text("mine"), "folder": path.mkdir, "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(tmp_path / "elsewhere"),
    }  # fmt: skip
    makers[kind]()
    before = path.lstat()
    with pytest.raises(LocalError, match="is no socket"), unix(path):
        pass
    assert os.path.samestat(path.lstat(), before)


@pytest.mark.needs_root
def test_the_socket_of_another_user_stays(tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(LocalError, match="another user's"), unix(path):
        pass
    assert path.is_socket()


def test_a_folder_where_others_replace_files_is_no_place_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(LocalError, match="others may replace files"), unix(folder / "page.sock"):
        pass
    folder.chmod(0o1777)  # as /tmp
    with unix(folder / "page.sock"):
        pass


def test_a_socket_of_somebody_else_at_its_name_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    with unix(path):
        path.unlink()
        path.write_text("of another program")
    assert path.read_text() == "of another program"


def test_a_system_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(UsageError, match="not possible on this system"), unix(tmp_path / "page.sock"):
        pass


# --- an address for other devices -------------------------------------------------------------------------------


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def resolved(host: str, port: int, **_options: object) -> list[object]:
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1", "::1", "localhost", "127.3.4.5"])
def test_neither_all_addresses_nor_only_this_machine_can_be_named(host: str) -> None:
    with pytest.raises(UsageError):
        named(host, 0)


def test_a_name_that_means_this_machine_only_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "127.0.1.1")  # what Debian's installer gives the machine's own name
    with pytest.raises(UsageError, match=r"means this machine only, at 127\.0\.1\.1"):
        named("nas", 0)


def test_an_address_of_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="is not an address of this machine"):
        named("192.0.2.1", 0)

    def nothing(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(UsageError, match="is not the name of any machine: Name or service not known"):
        named("no-such-machine.invalid", 0)


def test_a_name_with_two_addresses_is_taken_at_both(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "127.0.0.2", "127.0.0.3", "192.0.2.1")
    with pytest.raises(UsageError, match=r"192\.0\.2\.1 is not an address"):
        named("nas", 0)
    monkeypatch.setattr(sockets, "_is_loopback", lambda _address: False)
    answers(monkeypatch, "127.0.0.2", "127.0.0.3")
    found = named("nas", 0)
    try:
        assert [one.getsockname()[0] for one in found] == ["127.0.0.2", "127.0.0.3"]
        assert len({one.getsockname()[1] for one in found}) == 1
    finally:
        for one in found:
            one.close()
