"""Tap the deepest layer that all trials keep: LOMT's rule."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from lomt.selection.rule import Selection, SelectionRule
from lomt.sparsity import LayerPattern, Pattern


class DeepestActive(SelectionRule):
    """The deepest layer still active, beyond which all is dead (LOMT, arXiv 2406.03048).

    A layer is active in a trial if more than ``threshold`` of its channels are alive, and over the trials if it's
    active in all of them. Layers that stand in series in a residual block count together: the block is active if
    each of them is. Where the block's last layer is dead nothing comes of its first one, and where its first one is
    dead the last one works on constants, however alive either looks. Stems and shortcuts are not ranked.

    Args:
        threshold: share of channels, from 0 up to but not including 1.
        at: ``"conv"`` taps the raw output of the deepest active block's last convolution, as LOMT does;
            ``"block"`` taps the output of the block itself, shortcut added.

    Raises:
        ValueError: an impossible threshold or place.
    """

    name: ClassVar[str] = "deepest-active"

    def __init__(self, threshold: float = 0.01, at: Literal["conv", "block"] = "conv") -> None:
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold={threshold}: use a share of channels from 0 to below 1, such as 0.01")
        if at not in ("conv", "block"):
            raise ValueError(f"at={at!r}: use 'conv' or 'block'")
        self.threshold = threshold
        self.at = at

    def choose(self, patterns: Sequence[Pattern]) -> Selection:
        """See :meth:`SelectionRule.select`."""
        active = [self._active(pattern) for pattern in patterns]
        ends = [layer.name for layer in patterns[0].ranked if layer.block_end]
        common = set.intersection(*active)
        tap = self._deepest(patterns[0], common)
        per_trial = [self._deepest(pattern, one) for pattern, one in zip(patterns, active, strict=True)]
        return Selection.among(tap, per_trial, self._reason(tap, ends, active))

    def taps(self, patterns: Sequence[Pattern], parts: Sequence[Sequence[int]]) -> list[str | None]:
        """See :meth:`SelectionRule.taps`: each trial is looked at once, however many parts it belongs to."""
        ends = [layer for layer in patterns[0].ranked if layer.block_end]
        found = [self._active(pattern) for pattern in patterns]
        active = np.array([[layer.name in one for layer in ends] for one in found])
        common = (np.flatnonzero(active[np.asarray(some)].all(axis=0)) for some in parts)
        return [self._place(ends[places[-1]]) if len(places) else None for places in common]

    def _active(self, pattern: Pattern) -> set[str]:
        """The last layers of all branches that are active in one trial."""
        dead = {layer.end for layer in pattern.ranked if layer.density <= self.threshold}
        return {layer.name for layer in pattern.ranked if layer.block_end} - dead

    def _deepest(self, pattern: Pattern, active: set[str]) -> str | None:
        layers = [layer for layer in pattern.ranked if layer.name in active]
        return self._place(layers[-1]) if layers else None

    def _place(self, layer: LayerPattern) -> str:
        return layer.block if self.at == "block" else layer.name

    def _reason(self, tap: str | None, ends: list[str], active: list[set[str]]) -> str:
        trials = f"all {len(active)} trials" if len(active) > 1 else "the trial"
        common = set.intersection(*active)
        share = f"{self.threshold:.0%}" if self.threshold * 100 % 1 == 0 else f"{self.threshold:.2%}"
        empty = [str(trial) for trial, one in enumerate(active, 1) if not one]
        if empty:
            which = f"trial {empty[0]}" if len(empty) == 1 else f"trials {', '.join(empty)}"
            return f"everything died in {which} of {len(active)}: no layer keeps more than {share}; lower λ"
        if tap is None:
            return f"no layer is active in {trials}, although each trial keeps some: lower λ, or run more trials"
        if common == set(ends):
            return f"no layer died: all are active in {trials}; raise λ to learn what the task can do without"
        if ends[-1] in common:
            return f"the last layer is active in {trials}: the task uses the whole depth; a higher λ may cut it"
        beyond = ends[max(place for place, end in enumerate(ends) if end in common) + 1]
        return f"{tap} is the deepest active in {trials}; from {beyond} on, no layer is active in {trials}"
