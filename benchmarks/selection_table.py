"""What benchmarks.{selection,selector_cost,add_task} have measured: python -m benchmarks.selection_table."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lomt.evaluation.seeds import over_seeds, paired_interval
from lomt.files import read_record

RESULTS = Path(__file__).parent / "results/selection"


def regrets(record: dict[str, Any]) -> str:
    """A line for each rule: its taps, what it loses against the oracle's network, and what it costs."""
    rows = {row["rule"]: row for row in record["rows"]}
    oracle = _deltas(rows["oracle"])
    tasks = list(next(iter(rows["oracle"]["taps"].values())))
    lines = [
        f"| rule | {' | '.join(tasks)} | Δm [%] ↑ | regret ↓ | parameters | MACs | trainings | minutes |",
        f"|---|{'---|' * len(tasks)}--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        taps = [_places([by_task[task] for by_task in row["taps"].values()]) for task in tasks]
        deltas = _deltas(row)
        lost = [oracle[seed] - deltas[seed] for seed in deltas]
        parameters, macs = (statistics.mean(row[key].values()) / 1e6 for key in ("parameters", "macs"))
        quality = f"{_spread(list(deltas.values()), 1)} | {_regret(lost, name)}"
        lines.append(
            f"| {name} | {' | '.join(taps)} | {quality} | {parameters:.2f} M | {macs:.0f} M | "
            f"{row['trainings'] or '–'} | {row['minutes']:.1f} |"
        )
    return "\n".join(lines)


def losses(record: dict[str, Any]) -> str:
    """The oracle's grid: validation loss of each task's single-task network at each tap, the best in bold."""
    grid = record["rows"][0]["said"]["losses"]
    taps = list(next(iter(grid.values())))
    lines = [f"| validation loss at | {' | '.join(taps)} |", f"|---|{'--:|' * len(taps)}"]
    for task, by_tap in grid.items():
        best = min(by_tap.values())
        cells = [f"**{loss:.3f}**" if loss == best else f"{loss:.3f}" for loss in by_tap.values()]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def costs(record: dict[str, Any]) -> str:
    """Times and memory of a training step with the layer, as multiples of those without it."""
    lines = ["| tasks | what each reads | step | times | memory, times |", "|--:|---|--:|--:|--:|"]
    lines += [
        f"| {row['tasks']} | {row['network']} | {row['seconds'] * 1e3:.0f} ms | {row['times']:.2f} | "
        f"{row['times memory']:.2f} |"
        for row in record["rows"]
    ]
    return "\n".join(lines)


def shots(record: dict[str, Any]) -> str:
    """A new task from few shots: its first metric, added and alone, mean and spread over the seeds."""
    rows = record["rows"]
    kinds = sorted(dict.fromkeys(row["network"] for row in rows), key=lambda kind: kind != "added")
    lines = [f"| task | shots | {' | '.join(kinds)} | seconds |", f"|---|--:|{'--:|' * len(kinds)}--:|"]
    for task in dict.fromkeys(row["task"] for row in rows):
        metric = {"normals": "mean_angle", "room": "accuracy"}[task]
        for count in sorted({row["shots"] for row in rows}):
            found = [row for row in rows if (row["task"], row["shots"]) == (task, count)]
            by_kind = [[row for row in found if row["network"] == kind] for kind in kinds]
            cells = [_spread([row["test"][metric] for row in some], 1 if task == "normals" else 3) for some in by_kind]
            seconds = [_spread([row["seconds"] for row in some], 0) for some in by_kind]
            title = f"{task}, {metric.replace('_', ' ')} {'↓' if task == 'normals' else '↑'}"
            lines.append(
                f"| {title} | {count} | {' | '.join(cells)} | {' / '.join(one.split(' ')[0] for one in seconds)} |"
            )
    return "\n".join(lines)


def _deltas(row: dict[str, Any]) -> dict[str, float]:
    return {seed: one["mean"] for seed, one in row["delta_m"].items()}


def _places(taps: Sequence[str]) -> str:
    """One tap, or those of the seeds where they differ."""
    return "/".join(dict.fromkeys(tap.removeprefix("layer") for tap in taps))


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "–"
    found = over_seeds(values)
    return f"{found.mean:.{digits}f}" + (f" ± {found.std:.{digits}f}" if found.std is not None else "")


def _regret(lost: Sequence[float], name: str) -> str:
    if name == "oracle":
        return "–"
    found = paired_interval(lost)
    interval = f" ({found.low:+.1f} … {found.high:+.1f})" if len(lost) > 1 else ""
    return f"{found.mean:+.1f}{interval}"


SHOWN = {"scenes": (losses, regrets), "nyuv2": (losses, regrets), "cost": (costs,), "add_task": (shots,)}
"""File → tables."""


def main() -> None:
    """Print every table of the results that are there."""
    for name, tables in SHOWN.items():
        file = RESULTS / f"{name}.json"
        if file.exists():
            record = read_record(file, "run the benchmark again")
            for table in tables:
                print(f"{name}\n{table(record)}\n")


if __name__ == "__main__":
    main()
