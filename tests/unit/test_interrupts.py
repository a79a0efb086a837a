"""A stop is heard wherever it comes, also where Python swallows what a signal's handler raises."""

import ctypes
import os
import signal
import sys
import threading

import pytest

from lomt import interrupts
from lomt.interrupts import Terminated, terminating

KINDS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


def in_a_callback(send):
    ctypes.CFUNCTYPE(None)(send)()


def in_a_finalizer(send):
    class Thing:
        def __del__(self):
            send()

    Thing()


def in_a_bare_except(send):
    try:
        send()
    except BaseException:  # noqa: BLE001
        return


@pytest.fixture(params=KINDS, ids=lambda number: number.name)
def number(request):
    return request.param


def wait():
    """As long as it takes; nobody comes, so that it ends by a signal alone."""
    return threading.Event().wait(30)


def sender(number):
    def send():
        os.kill(os.getpid(), number)
        wait()

    return send


@pytest.mark.parametrize("swallow", [in_a_callback, in_a_finalizer, in_a_bare_except])
def test_a_stop_that_is_swallowed_is_raised_again(number, swallow, capsys):
    ended = []

    @terminating()
    def work():
        swallow(sender(number))
        ended.append(wait())

    with pytest.raises(KINDS[number]):
        work()
    assert not ended
    assert capsys.readouterr().err.strip() == ("stopped" if number == signal.SIGTERM else "")


def test_what_a_stop_breaks_on_its_way_is_no_error_of_its_own(number):
    @terminating()
    def work():
        in_a_bare_except(sender(number))
        raise RuntimeError("half of it is missing")

    with pytest.raises(KINDS[number]):
        work()


def test_a_swallowed_stop_of_work_that_ends_is_told(number):
    with pytest.raises(KINDS[number]), terminating():
        in_a_bare_except(sender(number))


def test_closing_is_not_broken_off(number, monkeypatch):
    monkeypatch.setattr(interrupts, "AGAIN", 0.01)
    closed = []

    @terminating()
    def work():
        try:
            sender(number)()
        finally:
            closed.append(threading.Event().wait(0.2))

    with pytest.raises(KINDS[number]):
        work()
    assert closed == [False]


def test_other_errors_and_handlers_stay_what_they_are():
    hook, handlers = sys.unraisablehook, [signal.getsignal(one) for one in (*KINDS, signal.SIGALRM)]
    with pytest.raises(RuntimeError, match="mine"), terminating():
        raise RuntimeError("mine")
    with pytest.raises(KeyboardInterrupt), terminating():
        in_a_bare_except(sender(signal.SIGINT))
    assert sys.unraisablehook is hook
    assert [signal.getsignal(one) for one in (*KINDS, signal.SIGALRM)] == handlers
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_handler_of_somebody_else_is_left_alone(number):
    came = []
    before = signal.signal(number, lambda *_: came.append(number))
    try:
        with terminating():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
    assert came == [number]
