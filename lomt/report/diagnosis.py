"""The section on tasks that lose: who, by how much, why, and what to try."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lomt.evaluation import Spread
from lomt.evaluation.formatting import number, spread
from lomt.report.conflict import conflict, shares
from lomt.report.curves import task_colour
from lomt.report.names import colour_class, in_order, listing, method_name, metric_name, plural
from lomt.report.probes import probes
from lomt.report.read import Run


@dataclass(frozen=True)
class Standing:
    """A task in a multi-task network against its own, in words."""

    task: str
    change: str
    loses: bool
    metrics: Sequence[str]
    training: str
    validation: str


@dataclass(frozen=True)
class Why:
    """The causes for one task, each with evidence and what to try, and its probe curves."""

    task: str
    causes: Sequence[Mapping[str, Any]]
    picture: Markup | None


@dataclass(frozen=True)
class Diagnosed:
    """One multi-task network.

    Attributes:
        method: as the reader calls it.
        colour: CSS class.
        summary: who loses, in a sentence.
        standings: of its tasks.
        verdicts: of those that lose.
        conflict: map of cosines, or none where nothing is shared.
        shares: map of the gradients' shares.
        note: how gradients were measured.
    """

    method: str
    colour: str
    summary: str
    standings: Sequence[Standing]
    verdicts: Sequence[Why]
    conflict: Markup | None
    shares: Markup | None
    note: str


def diagnosed(run: Run) -> list[Diagnosed]:
    """One for every multi-task network that ``lomt diagnose`` has judged."""
    found = run.diagnosis["networks"] if run.diagnosis else []
    methods = in_order([*(training.method for training in run.trainings), *(one["method"] for one in found)])
    return [_network(run, one, methods) for one in found]


def early(run: Run) -> str:
    """What a diagnosis that was made before the run had ended does not know; empty where it knows all."""
    found = run.diagnosis or {}
    missing = list(found.get("missing", ()))
    if found.get("ended", True) and not missing:
        return ""
    without = f", without {listing(missing)}" if missing else ""
    since = "The run has ended since" if run.comparison else "It goes on"
    return f"This was judged before the run had ended{without}. {since}: diagnose it again."


def _network(run: Run, found: Mapping[str, Any], methods: Sequence[str]) -> Diagnosed:
    standings = [_standing(one) for one in found["standings"]]
    losing = [one.task for one in standings if one.loses]
    seeds = plural(len(found["seeds"]), "seed") + (", so no spread is known" if len(found["seeds"]) == 1 else "")
    who = f"{listing(losing)} {'loses' if len(losing) == 1 else 'lose'}" if losing else "No task loses"
    name, colour = method_name(found["method"]), colour_class(found["method"], methods)
    gradients = found["gradients"]
    curves = {one["task"]: one for one in found["probes"]}
    return Diagnosed(
        method=name,
        colour=colour,
        summary=f"{who[:1].upper() + who[1:] if not losing else who} against single-task networks on validation "
        f"({seeds}).",
        standings=standings,
        verdicts=[
            Why(
                one["task"],
                one["causes"],
                probes(curves[one["task"]], colour, name) if one["task"] in curves else None,
            )
            for one in found["verdicts"]
        ],
        conflict=conflict(gradients),
        shares=shares(gradients, {task: task_colour(run, task) for task in run.tasks}),
        note=f"{gradients['batches']} batches of {gradients['images']} training images in all, first seed, at the "
        "weights with which training ended.",
    )


def _standing(found: Mapping[str, Any]) -> Standing:
    gain = found["gain"]
    return Standing(
        task=found["task"],
        change=f"{spread(Spread(**gain), signed=True)} %" if gain else "–",
        loses=found["loses"],
        metrics=[f"{metric_name(name)} {_change(pair)}" for name, pair in found["metrics"].items()],
        training=_change(found["training"]),
        validation=_change(found["validation"]),
    )


def _change(pair: Mapping[str, float | None]) -> str:
    alone, together = (float("nan") if pair[key] is None else float(pair[key] or 0.0) for key in ("alone", "together"))
    return f"{number(alone)} → {number(together)}"
