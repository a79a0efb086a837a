"""The table of a bench: a model and a way to run it in each row."""

from lomt.evaluation.bench import Bench, Timing
from lomt.evaluation.formatting import count, number
from lomt.evaluation.table import ABSENT


def bench_table(found: Bench) -> str:
    """A Markdown table; times are the median, and in brackets the 95th percentile.

    Where a time has fewer passes behind it than others, it says how many.
    """
    settings = list(dict.fromkeys((timing.batch, timing.threads) for timing in found.timings))
    batches = list(dict.fromkeys(one.batch for one in found.memory))
    quality = any(size.delta_m is not None for size in found.models.values())
    titles = ["model", "run by", *(["Δm [%] ↑"] if quality else []), "parameters ↓", "MACs ↓"]
    titles += [f"peak memory [MB] ↓, batch {batch}" for batch in batches]
    titles += [f"latency [ms] ↓, batch {batch}, {_threads(threads)}" for batch, threads in settings]
    most = max((timing.repeats for timing in found.timings), default=0)
    lines = []
    for model, backend in dict.fromkeys((timing.model, timing.backend) for timing in found.timings):
        size = found.models[model]
        line = [model, backend]
        line += [ABSENT if size.delta_m is None else number(size.delta_m, 1, signed=True)] if quality else []
        line += [ABSENT if value is None else count(value) for value in (size.parameters, size.macs)]
        line += [_megabytes(found, model, backend, batch) for batch in batches]
        times = {(one.batch, one.threads): one for one in found.timings if (one.model, one.backend) == (model, backend)}
        line += [_time(times[setting], most) if setting in times else ABSENT for setting in settings]
        lines.append(line)
    rule = ["---", "---", *("---:" for _ in titles[2:])]
    rows = ["| " + " | ".join(line) + " |" for line in (titles, rule, *lines)]
    return "\n".join([*rows, *(f"\n{which}: not measured – {why}" for which, why in found.failures.items())])


def _threads(number_of: int) -> str:
    return "1 thread" if number_of == 1 else f"{number_of} threads"


def _megabytes(found: Bench, model: str, backend: str, batch: int) -> str:
    peaks = [one.peak for one in found.memory if (one.model, one.backend, one.batch) == (model, backend, batch)]
    return ABSENT if not peaks or peaks[0] is None else number(peaks[0] / 1e6)


def _time(timing: Timing, most: int) -> str:
    said = number(timing.median) + (f" ({number(timing.p95)})" if timing.p95 is not None else "")
    return said if timing.repeats == most else f"{said}, {timing.repeats} passes"
