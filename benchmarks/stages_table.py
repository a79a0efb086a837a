"""What benchmarks.stages has measured, as a table and a picture: python -m benchmarks.stages_table."""

from pathlib import Path
from typing import Any

from lomt.files import read_record

RESULTS = Path(__file__).parent / "results/stages"
PICTURE = Path(__file__).parents[1] / "docs/images/stages.svg"
NAMES = {"edges": "stage 1, edges", "seg": "stage 1, segmentation", "tailored": "stage 2, tailored network"}
WAYS = ("masks", "taken out")
KINDS = (
    ("masks, dead groups may come back", "masks", False, "#c2500c", "^"),
    ("masks, frozen", "masks", True, "#c2500c", "o"),
    ("taken out, for good", "taken out", None, "#0a66ad", "s"),
)
"""What is drawn: its name, the way, whether frozen (None: either), colour and marker."""


def table(records: dict[str, dict[str, Any]]) -> str:
    """A line for each path: its time, dense and in each way."""
    lines = [
        "| | dense epochs before | epochs timed | dead at last | dense | masks | taken out | both, as it is |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, record in records.items():
        seconds, times = record["processor seconds of all steps"], record["times faster than dense"]
        dead = max(row["live"] for row in record["rows"][-1:])
        ways = " | ".join(f"{seconds[way]:.0f} s, {times[way]:.2f} ×" for way in (*WAYS, "ours"))
        lines.append(
            f"| {NAMES[name]} | {record['epochs']} | {len(record['rows'])} | {1 - dead:.0%} | {seconds['dense']:.0f} s "
            f"| {ways} |"
        )
    return "\n".join(lines)


def picture(records: dict[str, dict[str, Any]], file: Path) -> None:
    """A training step's time in each way, over the share of the backbone's channels that live, epoch by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    panels = figure.subplots(1, len(records), sharey=True, squeeze=False)[0]
    for axes, (name, record) in zip(panels, records.items(), strict=True):
        for what, way, frozen, colour, marker in KINDS:
            rows = [row for row in record["rows"] if frozen is None or row["frozen"] == frozen]
            places = [100 * row["live"] for row in rows]
            times = [100 * row["step"][way] / row["step"]["dense"] for row in rows]
            axes.plot(places, times, marker, color=colour, alpha=0.8, label=what)
        axes.axhline(100, color="#777", linewidth=1)
        axes.set_title(NAMES[name], loc="left", fontsize=10)
        axes.set_xlabel("live channels of the backbone [%]")
        axes.set_xlim(0, 103)
        axes.set_ylim(0, 115)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("a training step, of dense [%]")
    panels[-1].legend(frameon=False, fontsize=8, loc="upper left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Print the one, draw the other."""
    found = {name: RESULTS / f"{name}.json" for name in NAMES}
    records = {name: read_record(file, "measure again") for name, file in found.items() if file.exists()}
    print(table(records))
    picture(records, PICTURE)


if __name__ == "__main__":
    main()
