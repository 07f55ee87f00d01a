"""On one machine, the page is for the user who started it: cookies don't know ports, and links can be seen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mount.browse.server.peers import linux
from mount.browse.server.peers.base import Ends
from mount.browse.server.peers.linux import LinuxPeers, Owner, owner_of
from mount.browse.server.protocol import PatientProtocol
from tests.kit.browsing import Page, opened_as, page_of
from tests.kit.vaults import Remote

NOBODY = 65534
SIX = pytest.param("::1", marks=pytest.mark.needs_ipv6)
ASK = """
import encodings.idna, os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
one = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
one.sendall(f"GET / HTTP/1.1\\r\\nHost: 127.0.0.1:{sys.argv[2]}\\r\\nConnection: close\\r\\n\\r\\n".encode())
while part := one.recv(1 << 16):
    sys.stdout.buffer.write(part)
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_of(opened_as(tmp_path_factory.mktemp("home"), Remote().vault)) as found:
        yield found


def asked_by_nobody(page: Page, address: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", ASK, address, str(page.port)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.needs_root
@pytest.mark.parametrize("address", ["127.0.0.1", SIX])
def test_another_user_of_this_machine_is_refused(page: Page, address: str) -> None:
    answer = asked_by_nobody(page, address)
    assert answer.startswith(b"HTTP/1.1 403 ") and b"this connection is another user's" in answer
    assert b"content-security-policy: sandbox" in answer


@pytest.mark.needs_root
def test_who_became_root_by_sudo_is_let_in(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setattr(PatientProtocol, "peers", LinuxPeers())
    assert asked_by_nobody(page, "127.0.0.1").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("address", ["127.0.0.1", SIX, "::ffff:127.0.0.1"])
def test_the_kernel_says_whose_a_connection_is_and_when_its_process_is_gone(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    own = "127.0.0.1" if "." in address else address
    with socket.socket(family if own == address else socket.AF_INET) as listening:
        listening.bind((own, 0))
        listening.listen()
        with socket.socket(family) as client:
            client.connect((address, listening.getsockname()[1]))
            server, _address = listening.accept()
            with server:
                ends = Ends(server.getpeername()[:2], server.getsockname()[:2])
                found = owner_of(ends)
                assert found is not None and found.user == os.geteuid() and found.inode
                assert not LinuxPeers().is_foreign(ends)
                assert LinuxPeers(frozenset({os.geteuid() + 1})).is_foreign(ends)
                client.close()  # what was sent before is not answered: nobody can say who sent it
                assert LinuxPeers().is_foreign(ends)
    assert owner_of(Ends((own, 1), (own, 2))) is None


def test_where_the_kernel_does_not_tell_everybody_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_ends: Ends) -> Owner:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(linux, "owner_of", silent)
    assert not LinuxPeers(frozenset()).is_foreign(Ends(("127.0.0.1", 1), ("127.0.0.1", 2)))


def test_the_user_who_logged_in_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setattr(Path, "read_bytes", lambda _self: b"1234")  # as after `su`
    assert linux._allowed() == {0, os.geteuid(), 1234}
    monkeypatch.setattr(Path, "read_bytes", lambda _self: b"4294967295")  # nobody logged in
    assert linux._allowed() == {0, os.geteuid()}
