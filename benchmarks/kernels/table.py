"""Results of the microbenchmarks as a table and a plot: python -m benchmarks.kernels.table [FILE.json]."""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results/kernels"


def condensed(raw: dict[str, Any], device: str, versions: dict[str, str]) -> dict[str, Any]:
    """What is committed of pytest-benchmark's JSON: medians and quartiles, device, versions, commit."""
    rows = []
    for one in raw["benchmarks"]:
        stats, extra = one["stats"], one["extra_info"]
        per = extra["where"].get("calls", 1)
        rows.append(
            {
                **{key: value for key, value in extra["where"].items() if key != "calls"},
                "rounds": stats["rounds"],
                "median_us": 1e6 * stats["median"] / per,
                "quartiles_us": [1e6 * stats["q1"] / per, 1e6 * stats["q3"] / per],
                "floor": extra["floor"],
                "gigabytes_a_second": extra["moved_bytes"] / stats["median"] / 1e9 if extra["moved_bytes"] else None,
                "others_us": {name: 1e6 * other["median"] / per for name, other in extra["others"].items()},
            }
        )
    return {
        "device": device,
        "versions": versions,
        "commit": raw["commit_info"].get("id"),
        "date": raw["datetime"][:10],
        "rows": rows,
    }


def table(results: dict[str, Any]) -> str:
    """The rows as Markdown; a ratio above 1 says that ours takes longer."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"{results['device']}, {results['date']}, {versions}; medians, ours and others in turn\n",
        "| what | layout | groups | ours | against | |",
        "|---|---|---|--:|---|--:|",
    ]
    for row in results["rows"]:
        for name, other in row["others_us"].items():
            limit = " (the memory's limit)" if name == row["floor"] else ""
            lines.append(
                f"| {row['operation']} | {row.get('layout', '')} | {row.get('axis', '')} | {_time(row['median_us'])} "
                f"| {name}{limit}, {_time(other)} | {row['median_us'] / other:.2f} × |"
            )
    return "\n".join(lines)


def plot(results: dict[str, Any], file: Path) -> None:
    """Each comparison as bars over one pass over the same memory, which for a step is torch's fused AdamW."""
    from matplotlib.figure import Figure

    passes = {"AdamW, fused", *(row["floor"] for row in results["rows"])}
    rows = [row for row in results["rows"] if len(row["others_us"]) > 1 and "layout" in row]
    figure = Figure(figsize=(9, 0.42 * len(rows) + 1.6), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        others = dict(row["others_us"])
        limit = next(others.pop(name) for name in list(others) if name in passes)
        first = not place
        ours = axes.barh(place - 0.2, row["median_us"] / limit, 0.38, color="#1b6ca8")
        plain = axes.barh(place + 0.2, next(iter(others.values())) / limit, 0.38, color="#c9c9c9")
        if first:
            ours.set_label("lomt_kernels")
            plain.set_label("plain PyTorch; AdamW as it is by default")
    axes.axvline(1, color="black", linewidth=1, label="one pass over the same memory; AdamW, fused")
    names = [", ".join(row[key] for key in ("operation", "layout", "axis") if key in row) for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [f"{tick}×" for tick in ticks])
    axes.set_xlabel(f"time over that of one pass; {results['device']}, one thread unless said, {results['date']}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _time(microseconds: float) -> str:
    return f"{microseconds / 1000:.1f} ms" if microseconds >= 1000 else f"{microseconds:.1f} µs"


def main() -> None:
    """Print the table of a result file and draw its plot beside it."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "cpu.json"
    results = json.loads(file.read_text())
    print(table(results))
    plot(results, file.with_suffix(".svg"))


if __name__ == "__main__":
    main()
