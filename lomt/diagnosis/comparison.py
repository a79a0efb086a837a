"""How each task stands in a multi-task network against its own dense network, on the validation split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lomt.diagnosis.rules import WORSE
from lomt.evaluation import Spread, over_seeds, per_task
from lomt.tasks import Task

Result = Mapping[str, Any]
"""What a training stage left."""


@dataclass(frozen=True)
class Pair:
    """One figure of both networks, each the mean over its seeds.

    Attributes:
        alone: of the dense single-task networks.
        together: of the multi-task networks.
    """

    alone: float
    together: float

    @property
    def change(self) -> float:
        """Relative change from alone to together, in percent."""
        return 100 * (self.together / self.alone - 1) if self.alone else math.nan


@dataclass(frozen=True)
class Standing:
    """One task.

    Attributes:
        task: its name.
        gain: its part of Δm on validation, over seeds, in percent, + is better; none where the baseline leaves it
            undefined.
        metrics: headline metric → both figures.
        training: both training losses of the last epoch.
        validation: both validation losses after it.
    """

    task: str
    gain: Spread | None
    metrics: Mapping[str, Pair]
    training: Pair
    validation: Pair

    @property
    def loses(self) -> bool:
        """Whether the task is worse off, by more than a percent and more than its spread over seeds.

        By its metrics; by its validation loss where they say nothing.
        """
        if self.gain is None:
            return self.validation.change > WORSE
        return -self.gain.mean > max(WORSE, self.gain.std or 0.0)


def standings(tasks: Sequence[Task], together: Sequence[Result], alone: Sequence[Result]) -> list[Standing]:
    """Compare the last epoch's validation of multi-task and single-task trainings.

    Args:
        tasks: the tasks of the multi-task networks.
        together: results of one method's multi-task trainings, one a seed.
        alone: results of the dense single-task trainings of these tasks, one or more each. A seed's networks are
            compared with each other; where a task was not trained alone with a seed, with the mean over its seeds.

    Raises:
        ValueError: where a task was not trained alone.
    """
    return [_standing(task, together, [one for one in alone if list(one["taps"]) == [task.name]]) for task in tasks]


def _standing(task: Task, together: Sequence[Result], alone: Sequence[Result]) -> Standing:
    if not alone:
        raise ValueError(f"task {task.name!r} was not trained alone – add the method single_task to the study")

    def pair(figure: str) -> Pair:
        return Pair(_mean(alone, figure), _mean(together, figure))

    gains = []
    for result in together:
        same = [one for one in alone if one.get("seed") == result.get("seed")] or alone
        values, single = (
            {task.name: {metric: _mean(those, f"{task.name}/{metric}") for metric in task.headline}}
            for those in ([result], same)
        )
        try:
            gains.append(per_task(values, single, [task])[task.name])
        except ValueError:  # a baseline of 0: nothing can be relative to that
            break
    known = len(gains) == len(together) and all(map(math.isfinite, gains))
    return Standing(
        task.name,
        over_seeds(gains) if known else None,
        {metric: pair(f"{task.name}/{metric}") for metric in task.headline},
        pair(f"train_loss/{task.name}"),
        pair(f"val_loss/{task.name}"),
    )


def _mean(results: Sequence[Result], figure: str) -> float:
    values = [float(result["validation"].get(figure, math.nan)) for result in results]
    return math.fsum(values) / len(values)
