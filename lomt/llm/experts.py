"""Neurons into experts: groups of one size whose neurons are alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lomt.llm.assignment import assign_balanced

ITERATIONS = 20
"""At most as many rounds of balanced k-means; it ends before where nothing moves."""

TOLERANCE = 0.02
"""Of the assignment, as a share of the similarities' standard deviation."""


def balanced_kmeans(points: Tensor, size: int, seed: int = 0) -> Tensor:
    """Group points into clusters of one size by cosine similarity.

    Rows are L2-normalized first, as in MoEfication (Zhang et al., 2022); a centre is the normalized mean of its points;
    the first centres are points drawn with the k-means++ rule. The same seed gives the same clusters.
    An FFN of TinyLlama's size, 5632 neurons of 2048 weights, took 3 s (without structure) and 11 s (with 200 clusters)
    on one core of a busy machine.

    Args:
        points: ``[n, d]``, one a neuron.
        size: points in a cluster; divides ``n``.
        seed: of the first centres.

    Returns:
        A permutation of the ``n`` points, int64, in which each cluster's stand together; within a cluster in their
        old order.
    """
    x = torch.nn.functional.normalize(points.detach().float(), dim=1)
    n = len(x)
    centres = x[_spread(x, n // size, torch.Generator().manual_seed(seed))]
    prices = np.zeros(len(centres))
    old = None
    for _ in range(ITERATIONS):
        similarity = (x @ centres.T).cpu().double().numpy()
        cluster = assign_balanced(similarity, TOLERANCE * max(float(similarity.std()), 1e-12), prices)
        if old is not None and np.array_equal(cluster, old):
            break
        old = cluster
        sums = torch.zeros_like(centres).index_add_(0, torch.from_numpy(cluster).to(x.device), x)
        centres = torch.nn.functional.normalize(sums, dim=1)
    return torch.from_numpy(np.argsort(cluster, kind="stable"))


def random_experts(n: int, seed: int = 0) -> Tensor:
    """A random permutation of ``n`` neurons: the control that says what grouping is worth."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _spread(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """``k`` of the points, far from each other (k-means++ in cosine distance)."""
    first = int(torch.randint(len(x), (1,), generator=generator))
    chosen = [first]
    distance = torch.ones(len(x), device=x.device)
    for _ in range(k - 1):
        distance = torch.minimum(distance, (1 - x @ x[chosen[-1]]).clamp_min(0))
        distance[chosen] = 0
        weight = distance.cpu() if float(distance.sum()) > 0 else _unchosen(len(x), chosen)
        chosen.append(int(torch.multinomial(weight, 1, generator=generator)))
    return torch.tensor(chosen)


def _unchosen(n: int, chosen: list[int]) -> Tensor:
    weight = torch.ones(n)
    weight[chosen] = 0
    return weight
