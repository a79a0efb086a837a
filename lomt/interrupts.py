"""Ctrl-C and SIGTERM end a long computation, wherever they come: everything is closed, and a line says what to do."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 128 + signal.SIGTERM
"""What a process ends with that SIGTERM has stopped: 143."""
AGAIN = 0.2
"""Seconds after which a stop that has not come through is raised once more."""


class Terminated(SystemExit):
    """SIGTERM has come; where nobody catches it, the process ends with status 143.

    Attributes:
        line: what a person reads.
    """

    def __init__(self) -> None:
        super().__init__(STATUS)
        self.line = "stopped"


STOPS = (KeyboardInterrupt, Terminated)
_RAISED = dict(zip((signal.SIGINT, signal.SIGTERM), STOPS, strict=True))
_NOBODYS = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def terminating() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` on Ctrl-C, :class:`Terminated` on SIGTERM, and write the latter's line to stderr.

    Python raises in whatever code runs when a signal comes, and callbacks of C libraries (numba's, while it compiles),
    finalizers and bare ``except``s swallow that. So a stop is raised again until it arrives here, and any other error
    by then is what it has broken on its way.

    It stands back where somebody handles a signal already, and in threads, which get no signals.
    """
    taken = {number: signal.getsignal(number) for number in _RAISED if signal.getsignal(number) in _NOBODYS}
    if threading.current_thread() is not threading.main_thread() or not taken:
        yield
        return
    hook, stop = sys.unraisablehook, _Stop()
    sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, STOPS) else hook(lost)
    try:
        for number in taken:
            signal.signal(number, stop)
        yield
        stop.arrive()
    except BaseException as error:
        if not isinstance(error, STOPS):
            stop.arrive()
        raise
    finally:
        stop.disarm()
        sys.unraisablehook = hook
        for number, handler in taken.items():
            signal.signal(number, handler)
        ended = sys.exception()
        if isinstance(ended, Terminated):
            sys.stderr.write(f"\n{ended.line}\n")


class _Stop:
    """A handler that raises what a signal stands for, again and again, until it is being handled.

    A second Ctrl-C is raised in the midst of that, too, and a second SIGTERM ends the process at once.
    """

    def __init__(self) -> None:
        self.kind: type[BaseException] | None = None
        # Not every system has the timer, and one that somebody else waits for is left alone.
        self.timed = hasattr(signal, "SIGALRM") and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL

    def __call__(self, number: int, _: object) -> None:
        if number in _RAISED:
            self.kind = _RAISED[signal.Signals(number)]
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
            if self.timed:
                signal.signal(signal.SIGALRM, self)
                signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
        elif _handled(sys.exception()):
            return
        self.arrive()

    def arrive(self) -> None:
        """Raise what has come, if anything has."""
        if self.kind is not None:
            raise self.kind from None

    def disarm(self) -> None:
        """No more of it."""
        if self.timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _handled(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, STOPS):
        error = error.__context__
    return error is not None
