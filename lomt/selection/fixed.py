"""Tap the same place for every task: the naive rules."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from lomt.selection.rule import Needs, Place, Selection, SelectionRule, check_place, ends, place
from lomt.sparsity import Pattern


class Fixed(SelectionRule):
    """A share of the depth, whatever the task: 1 is the conventional network, 0.5 the middle layer.

    The score of a candidate is 1 less its distance from that depth, as a share of the candidates.

    Args:
        depth: share of the candidates, above 0 and at most 1.
        at: ``"conv"`` taps the raw output of the block's last convolution; ``"block"`` that of the block itself.

    Raises:
        ValueError: an impossible depth or place.
    """

    name: ClassVar[str] = "fixed"
    needs: ClassVar[Needs] = "nothing"

    def __init__(self, depth: float = 1.0, at: Place = "block") -> None:
        if not 0 < depth <= 1:
            raise ValueError(f"depth={depth}: use a share of the layers above 0, at most 1; 1 is the last one")
        check_place(at)
        self.depth, self.at = depth, at

    def choose(self, patterns: Sequence[Pattern]) -> Selection:
        """See :meth:`SelectionRule.select`."""
        candidates = [place(layer, self.at) for layer in ends(patterns[0])]
        # Rounded half up: the middle of an even number is the deeper one.
        number = max(1, int(self.depth * len(candidates) + 0.5))
        tap = candidates[number - 1]
        found = Selection.among(
            tap, [tap] * len(patterns), f"fixed: layer {number} of {len(candidates)}, for every task"
        )
        scores = [(name, 1 - abs(one - number) / len(candidates)) for one, name in enumerate(candidates, 1)]
        return replace(found, ranking=tuple(sorted(scores, key=lambda one: -one[1])))
