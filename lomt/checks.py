"""Checks of numbers that users give, in one wording."""

import math
from numbers import Integral


def check_whole(name: str, value: object, least: int = 0) -> None:
    """Raise ``ValueError`` where ``value`` is no whole number of ``least`` or more: 2.5 epochs are none.

    >>> check_whole("epochs", 2.5, 1)
    Traceback (most recent call last):
    ...
    ValueError: epochs is 2.5: use a whole number of 1 or more
    """
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value}: use a whole number of {least} or more")


def check_number(name: str, value: float, zero: bool = True) -> None:
    """Raise ``ValueError`` where ``value`` is NaN, infinite or negative, or 0 where ``zero`` is not allowed.

    >>> check_number("lr", float("nan"), zero=False)
    Traceback (most recent call last):
    ...
    ValueError: lr is nan: use a finite number above 0
    """
    if not (0 <= value < math.inf) or (value == 0 and not zero):
        raise ValueError(f"{name} is {value}: use a finite number {'of 0 or more' if zero else 'above 0'}")
