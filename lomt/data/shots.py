"""A few labelled samples of a split."""

import logging
from collections import defaultdict

import torch
from torch import Tensor

from lomt.data.source import Split
from lomt.tasks import Classification, Task
from lomt.tasks.missing import NO_CLASS

_LOG = logging.getLogger("lomt")


def shots(split: Split, task: Task, count: int | None, seed: int) -> list[int]:
    """Indices of samples that have a label of a task, drawn at random; of all classes alike where a sample has one.

    Args:
        split: what to draw from.
        task: whose label they have.
        count: how many; None, or more than there are: all.
        seed: of the draw.

    Raises:
        ValueError: no sample has a label of the task.
    """
    if task.name not in split.samples.arrays:
        known = ", ".join(one.name for one in split.tasks)
        raise ValueError(f"the data has no labels of task {task.name!r}: it has {known}")
    labels = [split[index][task.name] for index in range(len(split))]
    found = [index for index, label in enumerate(labels) if _labelled(label, task)]
    if not found:
        raise ValueError(f"none of {len(split)} samples has a label of task {task.name!r}")
    draw = torch.Generator().manual_seed(seed)
    order = [found[place] for place in torch.randperm(len(found), generator=draw).tolist()]
    if isinstance(task, Classification) and not task.multilabel:
        order = _alternating(order, [int(label) for label in labels])
        _say_missing({int(labels[index]) for index in order[:count]}, task)
    return order[:count]


def _labelled(label: Tensor, task: Task) -> bool:
    if label.is_floating_point():
        return not bool(label.isnan().all())
    return bool((label != getattr(task, "ignore_index", NO_CLASS)).any())


def _alternating(order: list[int], classes: list[int]) -> list[int]:
    """One of each class in turn, as long as there are any."""
    queues: dict[int, list[int]] = defaultdict(list)
    for index in order:
        queues[classes[index]].append(index)
    turns = sorted((turn, name, index) for name, queue in queues.items() for turn, index in enumerate(queue))
    return [index for _, _, index in turns]


def _say_missing(seen: set[int], task: Task) -> None:
    missing = sorted(set(range(task.channels)) - seen)
    if missing:
        _LOG.warning(
            "no shot is of class %s of task %r, which it can't learn: give more shots, or data that has them",
            ", ".join(map(str, missing)),
            task.name,
        )
