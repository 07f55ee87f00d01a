"""Signals that ask a drive to end, whichever thread the kernel gives them to."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from mount.drivers.signals import on_signals


class Stop(BaseException):
    pass


def stop(_number: int, _frame: object) -> None:
    raise Stop


def test_a_signal_given_to_another_thread_reaches_the_main_thread_while_it_waits() -> None:
    read_end, write_end = os.pipe()
    over, too_late = threading.Event(), threading.Event()

    def send() -> None:
        time.sleep(0.3)  # the main thread waits by then
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        if not over.wait(10):
            too_late.set()
            os.write(write_end, b"x")

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(Stop), on_signals(stop):
        os.read(read_end, 1)
    over.set()
    thread.join()
    os.close(read_end)
    os.close(write_end)
    assert not too_late.is_set()


def test_afterwards_signals_are_handled_as_before() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGURG)
    before = [signal.getsignal(number) for number in numbers]
    with on_signals(stop):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1
