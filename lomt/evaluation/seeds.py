"""What several seeds say together: mean and spread, and an interval for a paired difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean of a figure over seeds.

    Attributes:
        mean: arithmetic mean.
        std: sample standard deviation (n − 1); None for a single seed.
        count: how many seeds.
    """

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class Interval:
    """Mean of paired differences and where the true mean lies.

    Attributes:
        mean: arithmetic mean.
        low: lower end; −∞ for a single pair.
        high: upper end; ∞ for a single pair.
        count: how many pairs.
        level: confidence, in (0, 1).
    """

    mean: float
    low: float
    high: float
    count: int
    level: float


def over_seeds(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation.

    Args:
        values: one figure a seed.

    Raises:
        ValueError: no values.

    Example:
        >>> over_seeds([1.0, 2.0, 3.0])
        Spread(mean=2.0, std=1.0, count=3)
    """
    if not values:
        raise ValueError("mean over no seeds – give at least one value")
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Spread(mean, None, 1)
    return Spread(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1)), count)


def paired_interval(deltas: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t-interval for the mean of paired differences.

    Args:
        deltas: one difference a seed, both sides trained with that seed.
        level: confidence, in (0, 1).

    Returns:
        An interval; with one pair it is the whole line, for one pair says nothing about spread.

    Raises:
        ValueError: no differences, or a level outside (0, 1).

    Example:
        >>> found = paired_interval([1.0, 2.0, 3.0])
        >>> round(found.low, 3), round(found.high, 3)
        (-0.484, 4.484)
    """
    if not 0 < level < 1:
        raise ValueError(f"confidence level {level}: use a number between 0 and 1, such as 0.95")
    spread = over_seeds(deltas)
    if spread.std is None:
        return Interval(spread.mean, -math.inf, math.inf, 1, level)
    half = t_quantile((1 + level) / 2, spread.count - 1) * spread.std / math.sqrt(spread.count)
    return Interval(spread.mean, spread.mean - half, spread.mean + half, spread.count, level)


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution, by bisection of its distribution function.

    Args:
        probability: in [0.5, 1).
        freedom: degrees of freedom, 1 or more.
    """
    high = 1.0
    while _t_distribution(high, freedom) < probability:
        high *= 2
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _t_distribution(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _t_distribution(t: float, freedom: int) -> float:
    """P(T ≤ t) for whole degrees of freedom: the finite sums of Abramowitz & Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + inside) / 2
