"""The process behind the page takes orders from its own user only, and no order ends it by accident."""

from __future__ import annotations

import json
import socket
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import LocalError
from mount.browse.server.control.base import MOST, Orders
from mount.browse.server.control.posix import PosixOrders
from mount.browse.server.control.windows import PipeOrders, WindowsOrders
from mount.process.control.socket_status import at_path


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
    with pytest.raises(LocalError, match="can't be made"):
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
