"""The one way in which this wing compiles its inner loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# Sums may be reordered (so that they vectorize); infinities and NaN keep their meaning.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` with numba, keeping the machine code on disk where a disk can be written.

    Where neither the package's folder nor the user's cache can be written, numba refuses to cache; the
    function is then compiled anew by every process, and works just the same.
    """
    try:
        result: Callable[..., Any] = numba.njit(cache=True, nogil=True, fastmath=_FASTMATH)(function)
    except RuntimeError:
        result = numba.njit(nogil=True, fastmath=_FASTMATH)(function)
    return result
