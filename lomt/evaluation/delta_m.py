"""Δm: how much better one network does all tasks than one single-task network for each."""

import math
from collections.abc import Mapping, Sequence

from lomt.tasks import Task

Results = Mapping[str, Mapping[str, float]]
"""Task name → metric name → value, as :func:`lomt.evaluation.evaluate` returns it."""


def delta_m(results: Results, baseline: Results, tasks: Sequence[Task]) -> float:
    """Mean relative gain over single-task networks, in percent; + is better.

    The mean over tasks of :func:`per_task`, so that every task weighs the same however many metrics it has
    (after Maninis et al., arXiv 1904.08918, eq. 5; here with several metrics a task).

    Args:
        results: what the network reached.
        baseline: what each task's own, dense network reached.
        tasks: the tasks to compare; they say which metrics count and which direction is better.

    Raises:
        ValueError: no tasks, a value that is absent, or a baseline to which nothing can be relative.

    Example:
        >>> from lomt.tasks import Edges, Segmentation
        >>> tasks = [Segmentation("seg", 13), Edges("edges")]
        >>> single = {"seg": {"mIoU": 0.30}, "edges": {"ODS_F": 0.50}}
        >>> tailored = {"seg": {"mIoU": 0.33}, "edges": {"ODS_F": 0.49}}
        >>> round(delta_m(tailored, single, tasks), 6)
        4.0
    """
    gains = per_task(results, baseline, tasks)
    if not gains:
        raise ValueError("Δm of no tasks – give at least one")
    return sum(gains.values()) / len(gains)


def per_task(results: Results, baseline: Results, tasks: Sequence[Task]) -> dict[str, float]:
    """Each task's mean of ±(m − m_single)/m_single over its headline metrics, in percent; + is better.

    Args:
        results: what the network reached.
        baseline: what each task's own, dense network reached.
        tasks: the tasks to compare.

    Raises:
        ValueError: a value that is absent, or a baseline that is not positive and finite.
    """
    return {task.name: _gain(results, baseline, task) for task in tasks}


def _gain(results: Results, baseline: Results, task: Task) -> float:
    gains = []
    for metric in task.headline:
        value = _value(results, task, metric, "the results")
        single = _value(baseline, task, metric, "the single-task baseline")
        if not 0 < single < math.inf:
            raise ValueError(
                f"the single-task baseline of {task.name}/{metric} is {single:g}, and nothing can be "
                f"relative to that – train the single-task network longer, or check that its labels are there"
            )
        sign = 1 if task.higher_is_better[metric] else -1
        gains.append(100 * sign * (value - single) / single)
    return sum(gains) / len(gains)


def _value(results: Results, task: Task, metric: str, whose: str) -> float:
    try:
        return float(results[task.name][metric])
    except KeyError:
        there = ", ".join(f"{name}/{key}" for name, values in results.items() for key in values)
        raise ValueError(f"no {task.name}/{metric} in {whose} – there are {there or 'no values'}") from None
