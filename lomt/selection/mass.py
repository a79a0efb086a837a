"""Tap the shallowest depth that holds most of the weights' norm."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from lomt.selection.rule import Place, Selection, SelectionRule, check_place, ends, place
from lomt.sparsity import Pattern


class Mass(SelectionRule):
    """The smallest depth that holds a share of the group norm of the ranked layers, in the mean over the trials.

    Where :class:`DeepestActive` asks whether a layer lives, this asks how much of the network is below it: one group
    that has barely survived does not count as much as a layer. A layer's mass is Σ sqrt(|g|) ‖W_g‖₂, what the penalty
    prices. The score of a candidate is the share that is not deeper than it; shares of ``share`` and more rank first,
    the smallest of them before the others.

    Args:
        share: of the mass, above 0 and at most 1.
        at: ``"conv"`` taps the raw output of the block's last convolution; ``"block"`` that of the block itself.

    Raises:
        ValueError: an impossible share or place.
    """

    name: ClassVar[str] = "mass"

    def __init__(self, share: float = 0.9, at: Place = "conv") -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share={share}: use a share of the mass above 0, at most 1, such as 0.9")
        check_place(at)
        self.share, self.at = share, at

    def choose(self, patterns: Sequence[Pattern]) -> Selection:
        """See :meth:`SelectionRule.select`.

        Raises:
            ValueError: the mass of a layer was not noted.
        """
        candidates = [place(layer, self.at) for layer in ends(patterns[0])]
        shares = np.array([self._shares(pattern) for pattern in patterns])
        alive = [self._shallowest(candidates, one) for one in shares]
        dead = [str(trial) for trial, one in enumerate(alive, 1) if one is None]
        if dead:
            reason = f"everything died in trial {dead[0]} of {len(patterns)}: no layer has any mass; lower λ"
            return Selection.among(None, alive, reason)
        mean = shares.mean(0)
        tap = self._shallowest(candidates, mean)
        held = mean[candidates.index(tap)] if tap else 0.0
        found = Selection.among(tap, alive, f"{held:.0%} of the weights' norm is not deeper than {tap}")
        enough = [(name, share) for name, share in zip(candidates, mean, strict=True) if share >= self._goal(mean)]
        rest = [(name, share) for name, share in zip(candidates, mean, strict=True) if share < self._goal(mean)]
        return replace(found, ranking=(*enough, *reversed(rest)))

    def _goal(self, shares: np.ndarray) -> float:
        """As much as is asked for, but not more than there is: sums are rounded."""
        return min(self.share, float(shares[-1]))

    def _shallowest(self, candidates: Sequence[str], shares: np.ndarray) -> str | None:
        return candidates[int(np.argmax(shares >= self._goal(shares)))] if shares[-1] > 0 else None

    def _shares(self, pattern: Pattern) -> list[float]:
        """For each candidate, the share of the mass that is not deeper."""
        without = next((layer.name for layer in pattern.ranked if layer.mass is None), None)
        if without is not None:
            raise ValueError(f"the pattern does not have the mass of {without!r}: it was made before masses were noted")
        masses = [layer.mass or 0.0 for layer in pattern.ranked]
        sums = np.cumsum(masses)
        last = [number for number, layer in enumerate(pattern.ranked) if layer.block_end]
        return [float(sums[number] / sums[-1]) if sums[-1] > 0 else 0.0 for number in last]
