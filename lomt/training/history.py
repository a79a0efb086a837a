"""``metrics.csv``: what every epoch gave."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METRICS = "metrics.csv"
"""Where a training's history lies in its folder."""


def joined(folders: Sequence[Path]) -> str:
    """The histories of trainings of which each went on from the one before, as one CSV; epochs are counted on."""
    rows: list[dict[str, Any]] = []
    for folder in folders:
        with (folder / METRICS).open(encoding="utf-8", newline="") as lines:
            rows += csv.DictReader(lines)
    return table([row | {"epoch": number} for number, row in enumerate(rows, start=1)])


def spent(folder: Path) -> float:
    """Seconds that the epochs of a training took, validation not counted."""
    with (folder / METRICS).open(encoding="utf-8", newline="") as lines:
        return sum(float(row["seconds"]) for row in csv.DictReader(lines))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; a figure that an epoch does not have (a task without labels) is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
