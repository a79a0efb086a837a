"""What benchmarks.llm.quality has found, as a table and a picture: python -m benchmarks.llm.quality_table."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from lomt.files import read_record

RESULTS = Path(__file__).parents[1] / "results/llm"
LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9)
NAMES = {
    "lte": ("LTE, trained for each sparsity", "#c2500c", "o-"),
    "lte-from-50": ("LTE, trained for 50 %, threshold moved", "#c2500c", "o:"),
    "lte-from-80": ("LTE, trained for 80 %, threshold moved", "#c2500c", "o--"),
    "lte-several": ("LTE, second stage at all five, threshold moved", "#8e44ad", "d-"),
    "moefication": ("MoEfication (largest outputs, all computed)", "#0a66ad", "s-"),
    "predictor": ("predictor of these (Deja Vu)", "#5b9bd0", "s--"),
    "teal": ("thresholds on inputs (TEAL), unstructured", "#3a7d34", "^-"),
    "random": ("random experts", "#777777", "x-"),
}
"""Method: what it is called, its colour, its marker and line."""

CEILING = 2.0
"""Of the picture, as a multiple of the dense perplexity."""

Found = dict[str, dict[float, dict[int, dict[str, Any]]]]


def read(folder: Path = RESULTS / "quality") -> Found:
    """All points: method → sparsity → seed → record."""
    found: Found = defaultdict(lambda: defaultdict(dict))
    for file in sorted(folder.glob("*.json")):
        record = read_record(file, "make it again")
        found[record["method"].replace("%", "")][record["sparsity"]][record["seed"]] = record
    return found


def excess(found: Found, method: str, level: float) -> list[float]:
    """How far a perplexity is above that of the dense control of the same seed, a share, for each seed."""
    dense = found["dense"][0.0]
    points = found[method].get(level, {})
    return [one["perplexity"] / dense[seed]["perplexity"] - 1 for seed, one in sorted(points.items()) if seed in dense]


def table(found: Found) -> str:
    """A line for each method: perplexity and how far it is above the dense one, means over seeds, and the range."""
    lines = [
        "| | " + " | ".join(f"{level:.0%}" for level in LEVELS) + " |",
        "|---|" + "--:|" * len(LEVELS),
    ]
    for method, (name, *_) in NAMES.items():
        cells = []
        for level in LEVELS:
            points, shares = found[method].get(level, {}), excess(found, method, level)
            if not shares:
                cells.append("–")
                continue
            cell = f"{fmean(one['perplexity'] for one in points.values()):.3f} ({100 * fmean(shares):+.1f} %)"
            if len(shares) > 1:
                cell += f" [{100 * min(shares):+.1f}, {100 * max(shares):+.1f}]"
            cells.append(cell)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def dense_line(found: Found) -> str:
    """The dense control's perplexity."""
    values = [one["perplexity"] for one in found["dense"][0.0].values()]
    return f"{fmean(values):.3f} ({min(values):.3f} … {max(values):.3f}, {len(values)} seeds)"


def measured_line(found: Found) -> str:
    """What LTE's models closed of the held-out text's experts, the least and the most of the seeds at each sparsity."""
    shares = {level: [one["measured sparsity"] for one in found["lte"][level].values()] for level in LEVELS}
    return ", ".join(
        f"{100 * min(each):.1f}" if len(each) == 1 else f"{100 * min(each):.1f} … {100 * max(each):.1f}"
        for each in shares.values()
    )


def picture(found: Found, file: Path) -> None:
    """Perplexity over the dense one against the measured sparsity, seed 0; further seeds as faint points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    dense = found["dense"][0.0]
    axes.axhline(1, color="#333333", linewidth=1)
    for method, (name, colour, style) in NAMES.items():
        first = [points[0] for _, points in sorted(found[method].items()) if 0 in points]
        places = [100 * one["measured sparsity"] for one in first]
        axes.plot(
            places, [one["perplexity"] / dense[0]["perplexity"] for one in first], style, color=colour, label=name
        )
        rest = [
            (seed, one) for points in found[method].values() for seed, one in points.items() if seed and seed in dense
        ]
        for seed, one in rest:
            axes.plot(
                100 * one["measured sparsity"], one["perplexity"] / dense[seed]["perplexity"], style[0],
                color=colour, alpha=0.4, markersize=4,
            )  # fmt: skip
    axes.set_ylim(0.97, CEILING)
    axes.set_xlim(0, 95)
    axes.set_xlabel("experts closed [%]; of inputs for TEAL")
    axes.set_ylabel("perplexity, times that of the dense control")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    points = read()
    print(f"dense, with the same further steps: {dense_line(points)}\n")
    print(table(points))
    print(f"\nclosed of the held-out text: {measured_line(points)}")
    picture(points, RESULTS / "quality.svg")
