"""The helper process that holds the shadow copies of one backup.

COM's security can be set once in a process, and shadow copies of VSS_CTX_BACKUP are released with the process that
made them. So they have one of their own: its end, by whatever cause, frees them, and the end of rpdrive ends it,
as its standard input is a pipe from there. Orders come in by that pipe, and answers go out by standard output.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from backup.snapshot.vss.com import Failed, Library
from backup.snapshot.vss.messages import CHECK, FINISH, LINE, MAKE, Answer, Lines, Malformed, Order, line, parsed
from backup.snapshot.vss.requester import Requester
from catalog.windows.api import BACKUP_PRIVILEGE, Api

_GRACE = 30.0  # s for the end of the set after the pipe was closed; then the process ends, and the set with it
_IN, _OUT = 0, 1


def main() -> None:
    """Serve the process at the other end of the pipe, on Windows."""

    def library() -> Library:
        with suppress(OSError):
            Api().take_privileges((BACKUP_PRIVILEGE,))
        return Library()

    serve(library)


def serve(library: Callable[[], Library], grace: float = _GRACE) -> None:
    """Carry out orders until the pipe is closed. Ends the process."""
    with suppress(ValueError):  # only the main thread can
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # rpdrive gets it too, and ends this in order
    stopped = threading.Event()
    orders: SimpleQueue[Order | None] = SimpleQueue()
    threading.Thread(target=_read, args=(orders, stopped, grace), daemon=True).start()
    code = 3
    try:
        _carry_out(library, orders, stopped)
        code = 0
    except (OSError, Malformed):  # nobody listens any more, or talks nonsense
        code = 1
    finally:
        os._exit(code)  # without waiting for the thread that reads


def _read(orders: SimpleQueue[Order | None], stopped: threading.Event, grace: float) -> None:
    """Read orders. At the end of the pipe, stop what is waited for; if that does not help, end the process."""
    lines = Lines()
    with suppress(OSError, Malformed):
        while data := os.read(_IN, LINE):
            for each in lines.add(data):
                orders.put(parsed(each, Order))
    stopped.set()
    orders.put(None)
    timer = threading.Timer(grace, os._exit, (2,))
    timer.daemon = True
    timer.start()


def _carry_out(library: Callable[[], Library], orders: SimpleQueue[Order | None], stopped: threading.Event) -> None:
    loaded: Library | None = None
    requester: Requester | None = None
    try:
        while (order := orders.get()) is not None:
            answer = Answer()
            try:
                if order.do == MAKE:
                    loaded = loaded or library()
                    requester = Requester(loaded, stopped)
                    answer.shadows = requester.make(order.volumes, order.timeout, order.retry)
                elif order.do == CHECK and requester is not None:
                    requester.check()
                elif order.do == FINISH:
                    if requester is not None:
                        requester.finish()
                    requester = None
                else:
                    raise Malformed(order.do)
            except Failed as e:
                answer.step, answer.code = e.step, e.code
            except OSError as e:  # vssapi.dll can't be loaded
                answer.step, answer.code = f"loading vssapi.dll: {e.strerror or e}", 0x80040154
            if requester is not None and order.do == MAKE:
                answer.writers = requester.writers[:100]
            data = line(answer)
            while data:
                data = data[os.write(_OUT, data) :]
            if order.do == FINISH:
                return
    finally:
        if requester is not None:
            with suppress(Failed):
                requester.finish()
        if loaded is not None:
            loaded.close()
