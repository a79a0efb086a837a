"""From the gradients' inner products: who conflicts with whom, and whose share of a step is how large."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from lomt.diagnosis.gradients import Gradients
from lomt.evaluation import Spread, over_seeds


def cosines(gradients: Gradients) -> dict[tuple[str, str], dict[str, Spread]]:
    """Cosine between the gradients of every pair of tasks at every layer that both reach.

    1: both want the same; 0: neither cares about the other; −1: what helps one harms the other.

    Returns:
        Pair of tasks → layer → mean and standard deviation over the batches in which both gradients are there and not
        zero.
    """
    found: dict[tuple[str, str], dict[str, Spread]] = {}
    for (first, one), (second, other) in combinations(enumerate(gradients.tasks), 2):
        layers = {}
        for layer in gradients.layers:
            squares = layer.products[:, first, first] * layer.products[:, second, second]
            spread = _spread(layer.products[:, first, second] / squares.sqrt())
            if spread:
                layers[layer.name] = spread
        if layers:
            found[one, other] = layers
    return found


def norms(gradients: Gradients, weights: Mapping[str, float]) -> dict[str, dict[str, Spread]]:
    """Norm of each task's weighted gradient: layer → task → mean and standard deviation over batches.

    Args:
        gradients: of unweighted losses.
        weights: each loss's factor in training.
    """
    return {
        layer.name: {
            task: spread
            for index, task in enumerate(gradients.tasks)
            if (spread := _spread(weights[task] * layer.products[:, index, index].sqrt()))
        }
        for layer in gradients.layers
    }


def shares(gradients: Gradients, weights: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Each task's part of the sum of the norms of weighted gradients: layer → task → share, mean over batches."""
    means = {
        layer: {task: spread.mean for task, spread in by_task.items()}
        for layer, by_task in norms(gradients, weights).items()
    }
    return {
        layer: {task: norm / sum(by_task.values()) for task, norm in by_task.items()}
        for layer, by_task in means.items()
        if sum(by_task.values()) > 0
    }


def relative_share(gradients: Gradients, weights: Mapping[str, float], task: str) -> float | None:
    """A task's share times the number of tasks at the layer, the mean over the layers it shares: 1 is a fair share."""
    found = [by_task[task] * len(by_task) for by_task in shares(gradients, weights).values() if task in by_task]
    return sum(found) / len(found) if found else None


def against_others(
    gradients: Gradients, weights: Mapping[str, float], task: str, layers: Sequence[str] | None = None
) -> Spread | None:
    """Cosine between a task's gradient and the weighted sum of all the others', over all layers that it shares at once.

    Negative: the rest of a step raises this task's loss.

    Args:
        gradients: of unweighted losses.
        weights: each loss's factor in training.
        task: whose gradient.
        layers: names of the layers to look at; by default all.
    """
    own = gradients.tasks.index(task)
    factors = torch.tensor([weights[name] for name in gradients.tasks], dtype=torch.float64)
    rest = factors.clone()
    rest[own] = 0
    dot = square = other = torch.zeros(gradients.batches, dtype=torch.float64)
    for layer in gradients.layers:
        if (layers is None or layer.name in layers) and layer.reached(own):
            products = layer.products.nan_to_num(0.0)
            dot = dot + products[:, own] @ rest
            square = square + products[:, own, own]
            other = other + torch.einsum("s,bst,t->b", rest, products, rest)
    return _spread(dot / (square * other).sqrt())


def _spread(values: Tensor) -> Spread | None:
    finite = values[values.isfinite()].tolist()
    return over_seeds(finite) if finite else None
