"""What a source gives: arrays, and which of their rows are a split."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

MISSING = 255  # of labels that are stored as bytes


class Samples(NamedTuple):
    """A split: whole arrays, memory-mapped as a rule, and which of their rows belong to it.

    Arrays are what is stored: image ``(M, 3, H, W)`` uint8, or floats from 0 to 1; segmentation ``(M, H, W)`` uint8,
    255 missing; edges ``(M, 1, H, W)`` uint8, 255 missing; depth ``(M, 1, H, W)`` and normals ``(M, 3, H, W)`` floats,
    NaN missing; classes ``(M,)`` integers, -1 missing; other labels as their task wants them. All have the same M, and
    a source checks every sample of a split before it gives any.
    """

    arrays: Mapping[str, np.ndarray]
    rows: np.ndarray
