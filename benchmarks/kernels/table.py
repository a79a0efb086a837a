"""Results of the microbenchmarks as tables and plots: python -m benchmarks.kernels.table."""

import json
import math
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


def convolutions(results: dict[str, Any]) -> str:
    """The channel-masked convolution against each other way: geometric means over layers, and the worst one."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"{results['device']}, {results['date']}, {versions}; one thread",
        "",
        "Ours over the other, in turn: geometric mean over layers (worst layer).",
        "",
        "| what | layout | live | over dense | over compacted | over index_select | 1×1 over compacted by oneDNN |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for (what, layout, live), rows in _grouped(results["rows"], "masked_conv2d").items():
        found = [ratios(rows, name) for name in ("dense", "compacted", "index_select", "compacted, oneDNN")]
        cells = [f"{geometric(values):.2f} ({max(values):.2f})" if values else "" for values in found]
        lines.append(f"| {what} | {layout} | {live} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| four readers of one map, a quarter alive each | layout | what | over four calls | over four dense |",
        "|---|---|---|--:|--:|",
    ]
    for row in results["rows"]:
        if row["operation"] == "four readers":
            four, dense = (row["median_us"] / row["others_us"][name] for name in ("four calls", "four dense"))
            lines.append(f"| {row['layer']} | {row['layout']} | {row['mode']} | {four:.2f} | {dense:.2f} |")
    return "\n".join(lines)


def ratios(rows: list[dict[str, Any]], name: str) -> list[float]:
    """Ours over another one, for every layer where that was measured."""
    return [row["median_us"] / row["others_us"][name] for row in rows if name in row["others_us"]]


def geometric(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def plot_convolutions(results: dict[str, Any], file: Path) -> None:
    """Time against the live share, dense being 1: ours, the compacted shape, index_select."""
    from matplotlib.figure import Figure

    groups = _grouped(results["rows"], "masked_conv2d")
    shown = [("forward", "channels_last"), ("forward", "contiguous"), ("both", "channels_last")]
    titles = ["forward, channels_last", "forward, contiguous", "forward and backward, channels_last"]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, kind, title in zip(figure.subplots(1, 3, sharey=True), shown, titles, strict=True):
        rows = sorted((live, found) for (what, layout, live), found in groups.items() if (what, layout) == kind)
        shares = [live for live, _ in rows]
        dense = [geometric([1 / ratio for ratio in ratios(found, "dense")]) for _, found in rows]
        axes.axhline(1, color="black", linewidth=1, label="dense")
        for name, label, color in (
            ("index_select", "index_select, then the compacted shape", "#c9c9c9"),
            ("compacted", "the compacted shape", "#e0903a"),
        ):
            others = [geometric([1 / ratio for ratio in ratios(found, name)]) for _, found in rows]
            axes.plot(
                shares, [other / d for other, d in zip(others, dense, strict=True)], "o-", color=color, label=label
            )
        axes.plot(shares, [1 / d for d in dense], "o-", color="#1b6ca8", label="masked_conv2d")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("live input channels")
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, None)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("time over dense")
    figure.axes[1].legend(frameon=False, fontsize=8, loc="upper left")
    figure.suptitle(f"ResNet-50's convolutions and DeepLab's, batch 8; {results['device']}, one thread", fontsize=10)
    figure.savefig(file)


def networks(results: dict[str, Any]) -> str:
    """The block-sparse feed-forward network: its time over that of dense ones and of one pass of reading."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    names = ["dense, ours", "dense, oneDNN", "F.linear"]
    lines = [
        f"{results['device']}, {results['date']}, {versions}; medians, ours and others in turn.",
        "",
        "Of one pass: the rate of reading, of that of torch.sum. Dense: how many times as long they take.",
        "",
        "| dtype | threads | rows | active | ours | GB/s | share of one pass | dense, ours | oneDNN | F.linear |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in results["rows"]:
        others, ours = row["others_us"], row["median_us"]
        cells = [f"{others[name] / ours:.2f} × ({_time(others[name])})" if name in others else "–" for name in names]
        lines.append(
            f"| {row['dtype']} | {row['threads']} | {row['rows']} | {row['live']:.0%} | {_time(ours)} "
            f"| {row['gigabytes_a_second']:.1f} | {others[row['floor']] / ours:.0%} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def plot_networks(results: dict[str, Any], file: Path) -> None:
    """Time of one token on one thread against the active share, the dense ones as lines across."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, dtype in zip(figure.subplots(1, 2), ("float32", "bfloat16"), strict=True):
        rows = [row for row in results["rows"] if (row["dtype"], row["threads"], row["rows"]) == (dtype, 1, 1)]
        shares = [row["live"] for row in rows]
        for name, color in (("F.linear", "#c9c9c9"), ("dense, oneDNN", "#e0903a"), ("one pass", "black")):
            if name in rows[0]["others_us"]:
                times = [row["others_us"][name] / 1000 for row in rows]
                axes.plot(shares, times, ":" if name == "one pass" else "-", color=color, label=name)
        axes.plot(shares, [row["median_us"] / 1000 for row in rows], "o-", color="#1b6ca8", label="sparse_ffn")
        axes.set_title(dtype, fontsize=10)
        axes.set_xlabel("active blocks")
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, None)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.axes[0].set_ylabel("ms a token")
    figure.suptitle(f"A gated network of 2048 × 5632, one token; {results['device']}, one thread", fontsize=10)
    figure.savefig(file)


def _grouped(rows: list[dict[str, Any]], operation: str) -> dict[tuple[str, str, float], list[dict[str, Any]]]:
    found: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for row in rows:
        if row["operation"] == operation:
            found.setdefault((row["mode"], row["layout"], row["live"]), []).append(row)
    return found


def _time(microseconds: float) -> str:
    return f"{microseconds / 1000:.1f} ms" if microseconds >= 1000 else f"{microseconds:.1f} µs"


def main() -> None:
    """Print the tables of the result files and draw their plots beside them."""
    for name, said, drawn in (
        ("cpu", table, plot),
        ("conv", convolutions, plot_convolutions),
        ("ffn", networks, plot_networks),
    ):
        file = RESULTS / f"{name}.json"
        results = json.loads(file.read_text())
        print(said(results), end="\n\n")
        drawn(results, file.with_suffix(".svg"))


if __name__ == "__main__":
    main()
