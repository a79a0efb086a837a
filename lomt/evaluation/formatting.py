"""Numbers as a person reads them: three digits that matter, no exponents."""

import math

from lomt.evaluation.seeds import Spread

DIGITS = 3
"""Digits that matter; no figure of a few seeds deserves more."""


def number(value: float, decimals: int | None = None, signed: bool = False) -> str:
    """A figure in three significant digits.

    Args:
        value: any number; NaN becomes a dash.
        decimals: that many decimals instead.
        signed: write + before what is positive.

    Example:
        >>> number(0.30649), number(36.84), number(1234.5), number(-0.5, signed=True), number(float("nan"))
        ('0.306', '36.8', '1234', '−0.500', '–')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    places = _decimals(value) if decimals is None else decimals
    return f"{value:{'+' if signed else ''}.{places}f}".replace("-", "−")


def spread(figure: Spread, signed: bool = False) -> str:
    """Mean ± standard deviation; the mean alone for a single seed.

    Example:
        >>> spread(Spread(0.30649, 0.0041, 3)), spread(Spread(1.842, None, 1), signed=True)
        ('0.306 ± 0.004', '+1.84')
    """
    if figure.std is None or not math.isfinite(figure.mean):
        return number(figure.mean, signed=signed)
    decimals = _decimals(figure.mean)
    return f"{number(figure.mean, decimals, signed)} ± {number(figure.std, decimals)}"


def count(value: int) -> str:
    """A whole number with k, M or G.

    Example:
        >>> count(950), count(3_961_113), count(24_130_000_000)
        ('950', '3.96 M', '24.1 G')
    """
    for factor, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= factor:
            return f"{number(value / factor)} {letter}"
    return str(value)


def _decimals(value: float) -> int:
    """Decimals that give a number three significant digits, between 0 and 3 of them."""
    if value == 0:
        return DIGITS
    return min(max(DIGITS - 1 - math.floor(math.log10(abs(value))), 0), DIGITS)
