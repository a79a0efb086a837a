"""Tap the deepest layer that all trials keep: LOMT's rule."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from lomt.selection.rule import Place, Selection, SelectionRule, check_place, ends, place
from lomt.sparsity import LayerPattern, Pattern


class DeepestActive(SelectionRule):
    """The deepest layer still active, beyond which all is dead (LOMT, arXiv 2406.03048).

    A layer is active in a trial if more than ``threshold`` of its channels are alive, and over the trials if it's
    active in all of them. Layers that stand in series in a residual block count together: the block is active if
    each of them is. Where the block's last layer is dead nothing comes of its first one, and where its first one is
    dead the last one works on constants, however alive either looks. Stems and shortcuts are not ranked.

    The score of a candidate is the share of trials in which it is active.

    Args:
        threshold: share of channels, from 0 up to but not including 1.
        at: ``"conv"`` taps the raw output of the deepest active block's last convolution, as LOMT does;
            ``"block"`` taps the output of the block itself, shortcut added.

    Raises:
        ValueError: an impossible threshold or place.
    """

    name: ClassVar[str] = "deepest-active"

    def __init__(self, threshold: float = 0.01, at: Place = "conv") -> None:
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold={threshold}: use a share of channels from 0 to below 1, such as 0.01")
        check_place(at)
        self.threshold = threshold
        self.at = at

    def choose(self, patterns: Sequence[Pattern]) -> Selection:
        """See :meth:`SelectionRule.select`."""
        active = [self._active(pattern) for pattern in patterns]
        candidates = ends(patterns[0])
        common = set.intersection(*active)
        tap = self._deepest(patterns[0], common)
        per_trial = [self._deepest(pattern, one) for pattern, one in zip(patterns, active, strict=True)]
        names = [layer.name for layer in candidates]
        found = Selection.among(tap, per_trial, self._reason(tap, names, active))
        # The sort is stable: of equal shares the deeper one comes first.
        shares = [(place(layer, self.at), _share(layer, active)) for layer in reversed(candidates)]
        return replace(found, ranking=tuple(sorted(shares, key=lambda one: -one[1])))

    def taps(self, patterns: Sequence[Pattern], parts: Sequence[Sequence[int]]) -> list[str | None]:
        """See :meth:`SelectionRule.taps`: each trial is looked at once, however many parts it belongs to."""
        candidates = ends(patterns[0])
        found = [self._active(pattern) for pattern in patterns]
        active = np.array([[layer.name in one for layer in candidates] for one in found])
        common = (np.flatnonzero(active[np.asarray(some)].all(axis=0)) for some in parts)
        return [place(candidates[places[-1]], self.at) if len(places) else None for places in common]

    def _active(self, pattern: Pattern) -> set[str]:
        """The last layers of all branches that are active in one trial."""
        dead = {layer.end for layer in pattern.ranked if layer.density <= self.threshold}
        return {layer.name for layer in ends(pattern)} - dead

    def _deepest(self, pattern: Pattern, active: set[str]) -> str | None:
        layers = [layer for layer in pattern.ranked if layer.name in active]
        return place(layers[-1], self.at) if layers else None

    def _reason(self, tap: str | None, names: list[str], active: list[set[str]]) -> str:
        trials = f"all {len(active)} trials" if len(active) > 1 else "the trial"
        common = set.intersection(*active)
        share = f"{self.threshold:.0%}" if self.threshold * 100 % 1 == 0 else f"{self.threshold:.2%}"
        empty = [str(trial) for trial, one in enumerate(active, 1) if not one]
        if empty:
            which = f"trial {empty[0]}" if len(empty) == 1 else f"trials {', '.join(empty)}"
            return f"everything died in {which} of {len(active)}: no layer keeps more than {share}; lower λ"
        if tap is None:
            return f"no layer is active in {trials}, although each trial keeps some: lower λ, or run more trials"
        if common == set(names):
            return f"no layer died: all are active in {trials}; raise λ to learn what the task can do without"
        if names[-1] in common:
            return f"the last layer is active in {trials}: the task uses the whole depth; a higher λ may cut it"
        beyond = names[max(number for number, end in enumerate(names) if end in common) + 1]
        return f"{tap} is the deepest active in {trials}; from {beyond} on, no layer is active in {trials}"


def _share(layer: LayerPattern, active: list[set[str]]) -> float:
    """Of the trials in which a layer is active."""
    return sum(layer.name in one for one in active) / len(active)
