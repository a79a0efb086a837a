"""Learning curves: all methods together, task by task, and how sparsity grew."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lomt.report.chart import Curve, chart
from lomt.report.names import SPARSE, colour_class, in_order, method_name, metric_name
from lomt.report.read import Run, Training


@dataclass(frozen=True)
class Figure:
    """A chart with its title."""

    title: str
    picture: Markup


@dataclass(frozen=True)
class Block:
    """Charts that belong together."""

    title: str
    figures: Sequence[Figure]


def learning(run: Run) -> list[Block]:
    """For every task the losses and its headline metrics, every method in each chart."""
    blocks = []
    methods = in_order(training.method for training in run.trainings)
    for task in run.tasks:
        involved = [method for method in methods if any(task in training.tasks for training in run.of(method))]
        figures = [_figure(run, task, "loss", involved)]
        figures += [_figure(run, task, metric, involved) for metric in _metrics(run, task)]
        blocks.append(Block(task, figures))
    return blocks


def method_legend(run: Run) -> list[tuple[str, str]]:
    """(Colour class, name) of all methods that were trained."""
    methods = in_order(training.method for training in run.trainings)
    return [(colour_class(method, methods), method_name(method)) for method in methods]


def task_legend(run: Run) -> list[tuple[str, str]]:
    """(Colour class, name) of all tasks."""
    return [(task_colour(run, task), task) for task in run.tasks]


def sparsity(run: Run) -> Figure | None:
    """How many of the backbone's groups were dead after every epoch, a colour a task, a line a trial."""
    curves = [
        Curve(_points(training, "sparsity"), training.name, task_colour(run, task), "thin")
        for task in run.tasks
        for training in run.of(SPARSE)
        if task in training.tasks and "sparsity" in training.history
    ]
    if not curves:
        return None
    label = f"Sparsity of the sparse networks of {', '.join(run.tasks)} over epochs."
    return Figure("dead channels of the sparse networks", chart(curves, label, percent=True))


def task_colour(run: Run, task: str) -> str:
    """The CSS class that gives a task its colour where lines stand for tasks."""
    return f"of-task-{run.tasks.index(task) % 6}"


def weights(run: Run) -> list[Figure]:
    """For every method with several tasks the factors of their losses, one line a task; the first seed."""
    figures = []
    for method in in_order(training.method for training in run.trainings):
        training = run.of(method)[0]
        columns = [name for name in training.history if name.startswith("weight/")]
        if len(columns) > 1:
            curves = [
                Curve(_points(training, column), task, task_colour(run, task))
                for column in columns
                if (task := column.split("/", 1)[1]) in run.tasks
            ]
            label = f"Loss weights of the {method_name(method)} network over epochs."
            figures.append(Figure(f"loss weights, {method_name(method)}", chart(curves, label)))
    return figures


def _metrics(run: Run, task: str) -> list[str]:
    """The headline metrics, or all that were measured where no comparison says which those are."""
    facts = next((one for one in run.comparison.tasks if one.name == task), None) if run.comparison else None
    if facts:
        return list(facts.headline)
    found = (name for training in run.trainings for name in training.history if name.startswith(f"{task}/"))
    return [name.split("/", 1)[1] for name in dict.fromkeys(found)][:2]


def _figure(run: Run, task: str, what: str, methods: Sequence[str]) -> Figure:
    every = in_order(training.method for training in run.trainings)
    curves = []
    for method in methods:
        trainings = [training for training in run.of(method) if task in training.tasks]
        colour, name = colour_class(method, every), method_name(method)
        if what == "loss":
            curves.append(_over_seeds(trainings, f"train_loss/{task}", f"{name}, training", colour, "train"))
            curves.append(_over_seeds(trainings, f"val_loss/{task}", f"{name}, validation", colour))
        else:
            curves.append(_over_seeds(trainings, f"{task}/{what}", f"{name}, validation", colour))
    facts = next((one for one in run.comparison.tasks if one.name == task), None) if run.comparison else None
    unit, arrow = "", ""
    if facts and what in facts.higher_is_better:
        unit = f" [{facts.units[what]}]" if facts.units.get(what) else ""
        arrow = " ↑" if facts.higher_is_better[what] else " ↓"
    title = "loss ↓" if what == "loss" else f"{metric_name(what)}{unit}{arrow}"
    label = f"{title} of {task} over epochs for {', '.join(map(method_name, methods))}."
    return Figure(title, chart(curves, label))


def _over_seeds(trainings: Sequence[Training], column: str, name: str, colour: str, style: str = "") -> Curve:
    """The mean over the seeds that measured an epoch; lowest and highest as a band, but for training losses."""
    epochs: dict[float, list[float]] = {}
    for training in trainings:
        for epoch, value in _points(training, column):
            if math.isfinite(value):
                epochs.setdefault(epoch, []).append(value)
    ordered = sorted(epochs.items())
    points = [(epoch, sum(values) / len(values)) for epoch, values in ordered]
    several = len(trainings) > 1 and style != "train"
    band = [(min(values), max(values)) for _, values in ordered] if several else ()
    return Curve(points, name, colour, style, band)


def _points(training: Training, column: str) -> list[tuple[float, float]]:
    values = training.history.get(column, [])
    epochs = training.history.get("epoch") or [float(index + 1) for index in range(len(values))]
    return [(epoch, value) for epoch, value in zip(epochs, values, strict=False) if math.isfinite(epoch)]
