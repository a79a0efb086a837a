"""How taps were found in one training: what each task kept of every tap as the penalty grew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lomt.report.chart import Curve, chart
from lomt.report.read import Run

COLOURS = 6
"""How many colours there are for lines that stand beside each other."""


@dataclass(frozen=True)
class Searched:
    """One task of one search.

    Attributes:
        task: its name.
        tap: what it has in the end.
        reason: why, in words.
        picture: the norm of its weights on each tap over the training.
        legend: (colour class, tap), from shallow to deep.
        ranking: every tap with its score, the best first.
        channels: of each tap at the end.
    """

    task: str
    tap: str
    reason: str
    picture: Markup
    legend: Sequence[tuple[str, str]]
    ranking: Sequence[tuple[str, float]]
    channels: Mapping[str, int]


def searches(run: Run) -> dict[str, list[Searched]]:
    """Stage → its tasks, for every stage that has searched taps in one training."""
    return {
        name: [_searched(task, result) for task in result["selections"]]
        for name, result in sorted(run.searches.items())
    }


def _searched(task: str, result: Mapping[str, Any]) -> Searched:
    taps, selection = result["candidates"], result["selections"][task]
    legend = [(f"of-task-{number % COLOURS}", tap) for number, tap in enumerate(taps)]
    curves = [
        Curve([(100 * note["at"], note["tasks"][task]["norms"][number]) for note in result["path"]], tap, colour)
        for number, (colour, tap) in enumerate(legend)
    ]
    label = f"Norm of the weights with which {task} reads each tap, over the training; {selection['tap']} is left."
    picture = chart(curves, label, x_title="training [%]")
    last = result["path"][-1]["tasks"][task]["channels"]
    return Searched(
        task,
        selection["tap"],
        selection["reason"],
        picture,
        legend,
        [(name, score) for name, score in selection["ranking"]],
        dict(zip(taps, last, strict=True)),
    )
