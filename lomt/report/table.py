"""The table of results: figures in rows, methods in columns, so that a phone has room for it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lomt.evaluation import Spread
from lomt.evaluation.formatting import count, number, spread
from lomt.report.comparison import Comparison, TaskFacts
from lomt.report.names import SINGLE, colour_class, method_name, metric_name


@dataclass(frozen=True)
class Cell:
    """One figure of one method.

    Attributes:
        text: the figure.
        std: its standard deviation over seeds, with its sign, or empty.
        note: beside it, smaller; what changed against single-task, or a spread.
        best: whether no other method has a better one.
        tone: ``better``, ``worse`` or empty, the note's direction.
    """

    text: str
    std: str = ""
    note: str = ""
    best: bool = False
    tone: str = ""


@dataclass(frozen=True)
class Line:
    """One row: what is measured, the arrow towards better, and one cell a method."""

    name: str
    unit: str
    arrow: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Group:
    """Rows that belong together: a task, or all."""

    name: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Heading:
    """A column's head.

    Attributes:
        name: of the method, and whether its network is compacted.
        seeds: how many.
        colour: CSS class.
        taken: whether the report's first sentence is about this network.
    """

    name: str
    seeds: int
    colour: str
    taken: bool


def headings(found: Comparison, taken: str | None = None) -> list[Heading]:
    """One for each form of a method's network; ``taken`` is the one that the report's first sentence is about."""
    return [
        Heading(method_name(form), len(found.of(form)), colour_class(form, found.methods), form == taken)
        for form in found.forms
    ]


def groups(found: Comparison, headline_only: bool = True) -> list[Group]:
    """The rows of the table: all tasks together first, then each task, then the costs.

    Args:
        found: the comparison.
        headline_only: only metrics that enter Δm; otherwise only the others.
    """
    tasks = [Group(task.name, _metrics(found, task, headline_only)) for task in found.tasks]
    if not headline_only:
        return [group for group in tasks if group.lines]
    return [Group("all tasks", [_delta_m(found)]), *tasks, Group("cost", _costs(found))]


def _delta_m(found: Comparison) -> Line:
    figures = [found.delta_m(method) for method in found.forms]
    best = _best(figures, higher=True)
    cells = []
    for method, figure in zip(found.forms, figures, strict=True):
        if method == SINGLE:
            cells.append(Cell("0", note="baseline"))
        elif figure is None:
            cells.append(Cell("–"))
        else:
            tone = "better" if figure.mean > 0 else "worse" if figure.mean < 0 else ""
            text = number(figure.mean, 2, signed=True)
            std = f"± {number(figure.std, 2)}" if figure.std is not None else ""
            cells.append(Cell(text, std, best=figure == best and figure.mean > 0, tone=tone))
    return Line("Δm", "%", "↑", cells)


def _metrics(found: Comparison, task: TaskFacts, headline_only: bool) -> list[Line]:
    known = dict.fromkeys([*task.headline, *task.higher_is_better])
    lines = []
    for metric in known:
        if (metric in task.headline) != headline_only:
            continue
        figures = [found.figure(method, task.name, metric) for method in found.forms]
        if not any(figures):
            continue
        higher = task.higher_is_better.get(metric, True)
        best = _best(figures, higher)
        single = found.figure(SINGLE, task.name, metric)
        cells = [
            _cell(found, method, figure, single, higher, figure is not None and figure == best)
            for method, figure in zip(found.forms, figures, strict=True)
        ]
        lines.append(Line(metric_name(metric), task.units.get(metric, ""), "↑" if higher else "↓", cells))
    return lines


def _cell(
    found: Comparison, method: str, figure: Spread | None, single: Spread | None, higher: bool, best: bool
) -> Cell:
    if figure is None:
        return Cell("–")
    missing = len(found.of(method)) - figure.count
    note, tone = (f"{figure.count} of {figure.count + missing} seeds" if missing else ""), ""
    if single and method != SINGLE and single.mean > 0:
        gain = (1 if higher else -1) * 100 * (figure.mean - single.mean) / single.mean
        tone = "better" if gain >= 0.05 else "worse" if gain <= -0.05 else ""
        note = f"{number(gain, 1, signed=True)} %" + (f", {note}" if note else "")
    text, _, std = spread(figure).partition(" ± ")
    return Cell(text, std and f"± {std}", note, best, tone)


def _costs(found: Comparison) -> list[Line]:
    return [
        _cost(found, "parameters", "", lambda method: found.cost(method, "parameters")),
        _cost(found, "multiply-accumulates", "", lambda method: found.cost(method, "macs")),
        _latency(found),
    ]


def _cost(found: Comparison, name: str, unit: str, of: Callable[[str], float | None]) -> Line:
    values = [of(method) for method in found.forms]
    known = [value for value in values if value is not None]
    base = of(SINGLE)
    cells = []
    for method, value in zip(found.forms, values, strict=True):
        share = f"{100 * value / base:.0f} %" if value is not None and base and method != SINGLE else ""
        cells.append(
            Cell("–")
            if value is None
            else Cell(count(round(value)), note=share, best=len(known) > 1 and value == min(known))
        )
    return Line(name, unit, "↓", cells)


def _latency(found: Comparison) -> Line:
    times = [found.latency(method) for method in found.forms]
    fastest = min((time.median for time in times if time), default=math.nan)
    several = sum(time is not None for time in times) > 1
    cells = [
        Cell("–")
        if time is None
        else Cell(
            number(time.median),
            note=f"{number(time.low)}–{number(time.high)}",
            best=several and time.median == fastest,
        )
        for time in times
    ]
    return Line("latency", "ms", "↓", cells)


def _best(figures: Sequence[Spread | None], higher: bool) -> Spread | None:
    known = [figure for figure in figures if figure is not None]
    if len(known) < 2:
        return None
    return (max if higher else min)(known, key=lambda figure: figure.mean)
