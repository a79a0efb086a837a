"""The two losses that teach routers: few experts, and decisions far from the threshold."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

EPSILON = 0.1
"""Bounds the separability loss where a gate is at the threshold: by 1 / EPSILON."""

SEPARABILITY = 0.02
"""The weight of the separability loss.

The paper has 0.5, with an ε of 0. There the loss pushes a gate away from the threshold much harder than efficiency, or
a task, can push it across: gates stay on the side where they begin, whatever η is. These two numbers are of a weight
that lets gates cross while the sparsity is looked for, and still parts them.
"""


def efficiency_loss(logits: Iterable[Tensor]) -> Tensor:
    """``Σ G²`` over tokens, a mean over layers and experts: divide by the tokens for the paper's L_eff.

    Args:
        logits: ``[tokens, experts]`` of each layer, padding left out.

    Returns:
        A scalar in float32, from 0 to the number of tokens.
    """
    return _mean(one.float().sigmoid().square() for one in logits)


def separability_loss(logits: Iterable[Tensor], threshold: float = 0.5, epsilon: float = EPSILON) -> Tensor:
    """``Σ 1 / ((G − τ)² + ε)`` over tokens, a mean over layers and experts: divide by the tokens for L_sep.

    Args:
        logits: ``[tokens, experts]`` of each layer, padding left out.
        threshold: τ.
        epsilon: 0 is the paper's formula, which is infinite at the threshold.

    Returns:
        A scalar in float32.
    """
    return _mean(1 / ((one.float().sigmoid() - threshold).square() + epsilon) for one in logits)


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack([value.mean(-1).sum() for value in values]).mean()
