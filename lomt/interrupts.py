"""SIGTERM ends a long computation as Ctrl-C does: everything is closed, and a line says what to do."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

STATUS = 128 + signal.SIGTERM
"""What a process ends with that SIGTERM has stopped: 143."""


class Terminated(SystemExit):
    """SIGTERM has come; where nobody catches it, the process ends with status 143.

    Attributes:
        line: what a person reads.
    """

    def __init__(self) -> None:
        super().__init__(STATUS)
        self.line = "stopped"


@contextmanager
def terminating() -> Iterator[None]:
    """Raise :class:`Terminated` where SIGTERM comes, and write its line to stderr.

    It stands back where somebody handles that signal already, and in threads, which get no signals.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    except Terminated as stop:
        sys.stderr.write(f"\n{stop.line}\n")
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
    raise Terminated
