"""The table of a comparison: methods in rows, metrics and costs in columns."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lomt.evaluation.delta_m import Results
from lomt.evaluation.formatting import count, number, spread
from lomt.evaluation.latency import Latency
from lomt.evaluation.seeds import Spread, over_seeds
from lomt.tasks import Task

ABSENT = "–"
COMPACTED = ", compacted"
"""What the name of a row ends with that is the network of the row above without what is dead in it."""


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        method: what the reader calls it.
        results: for each seed, what the network reached.
        delta_m: Δm of each seed, in percent; empty where it makes no sense, as for the baseline.
        parameters: of one network, or of all single-task networks together.
        macs: multiply-accumulates of one image, likewise.
        latency: time of one image, likewise.
    """

    method: str
    results: Sequence[Results]
    delta_m: Sequence[float] = ()
    parameters: int | None = None
    macs: int | None = None
    latency: Latency | None = None

    def figure(self, task: str, metric: str) -> Spread | None:
        """A metric over the seeds that have it; None where none has."""
        values = [one[task][metric] for one in self.results if metric in one.get(task, {})]
        return over_seeds(values) if values else None


@dataclass(frozen=True)
class Column:
    """One metric of one task.

    Attributes:
        task: the task's name.
        metric: the metric's name.
        unit: what it is measured in; empty for a pure number.
        higher_is_better: the direction that is better.
        headline: whether it enters Δm.
    """

    task: str
    metric: str
    unit: str
    higher_is_better: bool
    headline: bool

    @property
    def title(self) -> str:
        """Task, metric, unit and an arrow towards better.

        Example:
            >>> Column("depth", "RMSE", "m", False, True).title
            'depth RMSE [m] ↓'
        """
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.task} {self.metric}{unit} {'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True)
class Table:
    """A comparison of methods.

    Attributes:
        tasks: they say which metrics there are, in which units, and which direction is better.
        rows: one method each.
        headline_only: only the metrics that enter Δm.
    """

    tasks: Sequence[Task]
    rows: Sequence[Row]
    headline_only: bool = True

    @property
    def columns(self) -> list[Column]:
        """The metrics that at least one row has: a task's headline first, then its others."""
        return [
            Column(
                task.name,
                metric,
                task.units.get(metric, ""),
                task.higher_is_better[metric],
                metric in task.headline,
            )
            for task in self.tasks
            for metric in _metrics(task, self.headline_only)
            if any(row.figure(task.name, metric) for row in self.rows)
        ]

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Titles, and for each row its texts, as a person reads them."""
        columns = self.columns
        titles = ["method", *(column.title for column in columns), "Δm [%] ↑", "parameters ↓", "MACs ↓"]
        timed = next((row.latency for row in self.rows if row.latency), None)
        if timed:
            titles.append(f"latency [ms] ↓ ({timed.device}, {_plural(timed.threads, 'thread')})")
        lines = []
        for row in self.rows:
            line = [row.method, *(_text(row.figure(column.task, column.metric)) for column in columns)]
            line.append(_text(over_seeds(row.delta_m) if row.delta_m else None, signed=True))
            line += [ABSENT if value is None else count(value) for value in (row.parameters, row.macs)]
            if timed:
                line.append(_duration(row.latency))
            lines.append(line)
        return titles, lines

    def to_markdown(self) -> str:
        """A Markdown table; ``mean ± std`` over seeds where there are several."""
        titles, lines = self.cells()
        rule = ["---", *("---:" for _ in titles[1:])]
        return "\n".join("| " + " | ".join(line) + " |" for line in (titles, rule, *lines))

    def to_dict(self) -> dict[str, Any]:
        """Everything behind the table in JSON's types; a figure that is not finite becomes None."""
        rows = []
        for row in self.rows:
            metrics: dict[str, dict[str, Any]] = {}
            for column in self.columns:
                figure = row.figure(column.task, column.metric)
                metrics.setdefault(column.task, {})[column.metric] = _plain(figure)
            rows.append(
                {
                    "method": row.method,
                    "metrics": metrics,
                    "delta_m": _plain(over_seeds(row.delta_m) if row.delta_m else None),
                    "parameters": row.parameters,
                    "macs": row.macs,
                    "latency": asdict(row.latency) if row.latency else None,
                }
            )
        return {
            "columns": [asdict(column) | {"title": column.title} for column in self.columns],
            "rows": rows,
        }


def _metrics(task: Task, headline_only: bool) -> list[str]:
    others = [metric for metric in task.higher_is_better if metric not in task.headline]
    return [*task.headline, *([] if headline_only else others)]


def _text(figure: Spread | None, signed: bool = False) -> str:
    return ABSENT if figure is None else spread(figure, signed)


def _duration(time: Latency | None) -> str:
    return ABSENT if time is None else f"{number(time.median)} ({number(time.low)}–{number(time.high)})"


def _plural(number_of: int, what: str) -> str:
    return f"{number_of} {what}" if number_of == 1 else f"{number_of} {what}s"


def _plain(figure: Spread | None) -> dict[str, Any] | None:
    if figure is None:
        return None
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(figure).items()
    }
