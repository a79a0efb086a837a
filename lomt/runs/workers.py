"""Methods that run at the same time, each in a process of its own."""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from typing import Any

from lomt.methods import Method

_LOG = logging.getLogger("lomt")

PAUSE = 0.5
"""Seconds between two looks at how far they are."""

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def possible(workers: int, device: str, threads: int) -> int:
    """How many processes can work here; figures don't depend on it, so that fewer than asked for are no error."""
    reasons = {
        "several processes are for Linux": sys.platform != "linux",
        f"several processes can't share a {device}": device != "cpu",
        f"several processes have one thread each, and threads is {threads}": threads > 1,
    }
    why = next((reason for reason, holds in reasons.items() if holds), "") if workers > 1 else ""
    if why:
        _LOG.warning("workers is %d, but %s: one works", workers, why)
    return 1 if why else workers


def ahead(
    methods: Sequence[Method],
    workers: int,
    run: Callable[[Method, Callable[[float], None]], Any],
    tell: Callable[[float], None],
) -> int | None:
    """Run methods in copies of this process, so many at a time; what they give is what they write.

    They end when this process ends, however that comes.

    Args:
        methods: generators that nobody has asked for anything; here, nobody will.
        workers: how many at a time.
        run: runs one to its end; its second argument takes how much work is done.
        tell: hears of how much work all have done together.

    Returns:
        The number of one that failed, after which the others were stopped; None where all ended well.
    """
    fork = multiprocessing.get_context("fork")
    done = fork.RawArray("d", len(methods))
    parent = os.getpid()

    def child(number: int) -> None:
        _end_with(parent)

        def note(work: float) -> None:
            done[number] = work

        try:
            run(methods[number], note)
        except BaseException:  # noqa: BLE001 – the parent does the same again, and hears of it itself
            os._exit(1)

    running: dict[Any, tuple[int, ForkProcess]] = {}
    following = iter(range(len(methods)))
    try:
        while True:
            while len(running) < workers and (number := next(following, None)) is not None:
                process = fork.Process(target=child, args=(number,))
                process.start()
                running[process.sentinel] = (number, process)
            if not running:
                return None
            for sentinel in wait(list(running), PAUSE):
                number, process = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    return number
            tell(sum(done))
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def _end_with(parent: int) -> None:
    """End when the parent ends, though it be killed; Ctrl-C is the parent's, who then ends this process, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
