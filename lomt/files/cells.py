"""Texts in CSV files that people open in a spreadsheet."""

from typing import TypeVar

T = TypeVar("T")

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet would compute."""


def cell(value: T) -> T | str:
    """A value as a CSV file may hold it: a text that a spreadsheet would run as a formula gets a ``'`` before it.

    Numbers stay as they are, and so do texts that are numbers.

    Example:
        >>> [cell(value) for value in ("=cmd()", "kitchen", -1.5, "-1.5")]
        ["'=cmd()", 'kitchen', -1.5, '-1.5']
    """
    if not isinstance(value, str) or not value.startswith(FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
