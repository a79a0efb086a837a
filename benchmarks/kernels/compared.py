"""One comparison: ours and others in turn, round by round, and what pytest-benchmark keeps of it."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def compare(
    benchmark: Any,
    ours: Callable[[], object],
    others: dict[str, Callable[[], object]],
    *,
    check: Callable[[], None],
    before: Callable[[str], None] | None = None,
    rounds: int = 21,
    warmup: int = 2,
    timer: Callable[[], float] = time.perf_counter,
    floor: str | None = None,
    moved: int = 0,
    where: dict[str, Any],
) -> None:
    """Measure ``ours`` with pytest-benchmark, and each of the others before every round of it.

    Args:
        benchmark: pytest-benchmark's fixture.
        ours: what is measured.
        others: by name, what it is measured against.
        check: raises where ours computes something else than the reference; nothing is measured then.
        before: called before each call, with its name, or "ours", and not measured.
        rounds: how many times all of them run.
        warmup: how many times they run before that.
        timer: the clock, which is to be the fixture's, too.
        floor: the name of the one that the memory sets as a limit.
        moved: bytes that have to be read and written at least.
        where: what tells this comparison from others, for the table.
    """
    check()
    times: dict[str, list[float]] = {name: [] for name in others}

    def others_first() -> None:
        for name, call in others.items():
            if before is not None:
                before(name)
            begin = timer()
            call()
            times[name].append(timer() - begin)
        if before is not None:
            before("ours")

    benchmark.pedantic(ours, setup=others_first, rounds=rounds, warmup_rounds=warmup)
    kept = {name: sorted(values[-rounds:]) for name, values in times.items()}
    benchmark.extra_info.update(
        where=where,
        floor=floor,
        moved_bytes=moved,
        others={
            name: {"median": statistics.median(values), "quartiles": [values[rounds // 4], values[-rounds // 4 - 1]]}
            for name, values in kept.items()
        },
    )
