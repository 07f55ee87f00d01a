"""The process behind the page takes orders from its own user only, and no order ends it by accident."""

from __future__ import annotations

import json
import socket
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import LocalError, UsageError
from mount.browse.options import Options, parsed
from mount.browse.server.control.base import MOST, Orders
from mount.browse.server.control.posix import PosixOrders
from mount.browse.server.control.windows import PipeOrders, WindowsOrders
from mount.browse.server.start import check_same
from mount.process.control.own_socket import at_path


def echo(order: dict[str, Any]) -> dict[str, Any]:
    if order.get("do") == "fail":
        raise ZeroDivisionError
    return {"got": order}


class PipeOnPosix(WindowsOrders):
    """The way of Windows with a Unix socket for a pipe: multiprocessing speaks to both."""

    def serve(self, address: Path, answer: Any) -> PipeOrders:
        return PipeOrders(address, answer, str(address.with_suffix(".pipe")))


@pytest.fixture(params=["posix", "windows"])
def orders(request: pytest.FixtureRequest) -> Orders:
    return PosixOrders() if request.param == "posix" else PipeOnPosix()


def test_an_order_is_answered(orders: Orders, tmp_path: Path) -> None:
    path = tmp_path / "o"
    assert orders.ask(path, {"do": "link"}) is None
    with closing(orders.serve(path, echo)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert orders.ask(path, {"do": "link"}) == {"got": {"do": "link"}}
        assert orders.ask(path, {"do": "fail"}) is None
        assert orders.ask(path, {"do": "stop"}) == {"got": {"do": "stop"}}
    assert not path.exists()
    assert orders.ask(path, {"do": "link"}) is None


def test_what_a_dead_process_left_is_replaced(orders: Orders, tmp_path: Path) -> None:
    path = tmp_path / "o"
    with socket.socket(socket.AF_UNIX) as dead:
        at_path(path, dead.bind)
    with closing(orders.serve(path, echo)):
        assert orders.ask(path, {}) == {"got": {}}


@pytest.mark.parametrize("data", [b"", b"\n", b"{\n", b"[]\n", b"\xff\n", b"[" * 1000 + b"\n", b"x" * (MOST + 10)])
def test_a_malformed_order_harms_nobody(tmp_path: Path, data: bytes) -> None:
    path, orders = tmp_path / "o", PosixOrders()
    with closing(orders.serve(path, echo)):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(30)
            at_path(path, caller.connect)
            caller.sendall(data)
            caller.shutdown(socket.SHUT_WR)
            answer = caller.makefile("rb").read()
        assert json.loads(answer) == {"error": "the order is malformed"}
        assert orders.ask(path, {}) == {"got": {}}


def test_the_socket_of_another_process_stays(tmp_path: Path) -> None:
    path, orders = tmp_path / "o", PosixOrders()
    first = orders.serve(path, echo)
    with closing(orders.serve(path, echo)):
        first.close()
        assert orders.ask(path, {}) == {"got": {}}


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="can't be created"):
        PosixOrders().serve(tmp_path / "none" / "o", echo)


def test_a_pipe_answers_only_who_knows_its_key(tmp_path: Path) -> None:
    path, orders = tmp_path / "o", PipeOnPosix()
    with closing(orders.serve(path, echo)):
        row = json.loads(path.read_text())
        path.write_text(json.dumps(row | {"key": "00" * 32}))
        assert orders.ask(path, {"do": "link"}) is None
        path.write_text("{")
        assert orders.ask(path, {"do": "link"}) is None
        path.write_text(json.dumps(row))
        assert orders.ask(path, {"do": "link"}) == {"got": {"do": "link"}}


def told(**given: Any) -> Options:
    flags = dict.fromkeys(("read_only", "allow_restore", "as_json"), False)
    return parsed(**({"port": 0, "socket": None, "listen": None, "idle": "1h", "no_open": True, **flags} | given))


@pytest.mark.parametrize(
    "given, missing",
    [
        ({"read_only": True}, "--read-only"),
        ({"port": 2}, "--port"),
        ({"socket": Path("/x/b")}, "--socket"),
        ({"listen": "192.0.2.7:1", "allow_restore": True}, "--listen"),
        ({"listen": "192.0.2.7"}, "--read-only and --listen"),
    ],
)
def test_a_page_that_runs_is_offered_only_if_it_is_what_was_asked_for(given: dict[str, Any], missing: str) -> None:
    row = {"port": 1, "socket": "/x/a", "read_only": False, "listening": "192.0.2.7:8"}
    check_same(row, told(port=1, socket=Path("/x/a"), listen="192.0.2.7:8", allow_restore=True))
    check_same(row, told())
    with pytest.raises(UsageError, match=f"without {missing}$"):
        check_same(row, told(**given))
    with pytest.raises(UsageError, match=r"without --allow-restore$"):
        check_same(row | {"read_only": True}, told(listen="192.0.2.7:8", allow_restore=True))
