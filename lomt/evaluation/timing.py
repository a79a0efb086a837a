"""Timing several things in turn, interleaved, so that a busy neighbour slows all of them alike."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name")

FEWEST = 5
"""How often even the slowest call is timed, if that many rounds are asked for."""


def interleaved(
    calls: Mapping[Name, Callable[[], object]], repeats: int, warmup: int, seconds: float = float("inf")
) -> dict[Name, list[float]]:
    """Call everything once a round, and in the next round begin with another one.

    Args:
        calls: name → what to time; it returns when its work is done.
        repeats: timed rounds, 1 or more.
        warmup: rounds before, which are not timed.
        seconds: about as much time as one call may take in all timed rounds; a slower one sits out rounds, evenly
            spread, but is timed 5 times at least, and warms up once. How slow it is, is told from the warm-up.

    Returns:
        Name → seconds of each timed call, in the order of ``calls``.
    """
    names = list(calls)
    spent: dict[Name, list[float]] = {name: [] for name in names}
    every = dict.fromkeys(names, 1)
    for turn in range(warmup + repeats):
        begin = turn % len(names)
        for name in names[begin:] + names[:begin]:
            waits = (turn - warmup) % every[name] if turn >= warmup else turn and every[name] > 1
            if waits:
                continue
            began = time.perf_counter()
            calls[name]()
            duration = time.perf_counter() - began
            if turn >= warmup:
                spent[name].append(duration)
            else:
                every[name] = _every(duration, repeats, seconds)
    return spent


def _every(duration: float, repeats: int, seconds: float) -> int:
    """In each how-many-th round a call of this duration is timed."""
    affordable = max(FEWEST, int(min(seconds / max(duration, 1e-9), repeats)))
    return max(1, repeats // affordable)
