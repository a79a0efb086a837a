"""Directions: vectors of three numbers along dimension 1."""

import torch
from torch import Tensor


def dot(first: Tensor, second: Tensor) -> Tensor:
    """Scalar product over dimension 1, channel by channel: several times faster than a sum over so few."""
    (a, b, c), (x, y, z) = first.unbind(1), second.unbind(1)
    return a * x + b * y + c * z


def angle(first: Tensor, second: Tensor) -> Tensor:
    """Angle between vectors in degrees.

    Args:
        first: vectors ``(N, 3, …)`` of any length.
        second: vectors of the same shape.

    Returns:
        ``(N, …)`` in [0, 180], from sine and cosine: near 0° the arc cosine alone would lose half of the digits. A
        vector of length 0 stands at 90° to all others.
    """
    (a, b, c), (x, y, z) = first.unbind(1), second.unbind(1)
    sine = torch.sqrt((b * z - c * y) ** 2 + (c * x - a * z) ** 2 + (a * y - b * x) ** 2)
    cosine = dot(first, second)
    nowhere = (sine == 0) & (cosine == 0)
    return torch.rad2deg(torch.atan2(sine.masked_fill(nowhere, 1.0), cosine))
