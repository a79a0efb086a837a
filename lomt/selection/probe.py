"""Tap where a small decoder on a frozen network does best."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from lomt.selection.rule import Needs, Selection, SelectionRule
from lomt.sparsity import Pattern


class Probe(SelectionRule):
    """The shallowest layer whose probe is within a tolerance of the best one, in the mean over the trials.

    Small decoders are trained on each candidate of a dense network that is frozen (after Alain and Bengio,
    "Understanding intermediate layers using linear classifier probes", arXiv 1610.01644). The score of a candidate is
    how far its validation loss is above the best one's, as a share and negative, so that 0 is best.

    Args:
        tolerance: how much larger than the best one's the loss may be, as a share of it.

    Raises:
        ValueError: a negative tolerance.
    """

    name: ClassVar[str] = "probe"
    needs: ClassVar[Needs] = "probes"

    def __init__(self, tolerance: float = 0.01) -> None:
        if not 0 <= tolerance < float("inf"):
            raise ValueError(f"tolerance={tolerance}: use a share of 0 or more, such as 0.01")
        self.tolerance = tolerance

    def select(self, patterns: Sequence[Any]) -> Selection:
        """The tap for a task.

        Args:
            patterns: in their place, one mapping for each trial: candidate → validation loss, from shallow to deep.

        Raises:
            ValueError: there are no losses, or trials have other candidates.
        """
        if not patterns or not patterns[0]:
            raise ValueError("no losses of probes to select from: give those of one trial at least")
        if any(list(trial) != list(patterns[0]) for trial in patterns):
            raise ValueError("the trials have probed other layers, or in another order: give those of one backbone")
        return self.choose(patterns)

    def choose(self, patterns: Sequence[Pattern] | Sequence[Mapping[str, float]]) -> Selection:
        """See :meth:`select`."""
        trials: Any = patterns
        means = {name: sum(trial[name] for trial in trials) / len(trials) for name in trials[0]}
        tap, best = self._shallowest(means), min(means, key=lambda name: means[name])
        above = means[tap] / means[best] - 1
        reason = f"a probe of {tap} has a validation loss {above:.1%} above that of the best one, {best}"
        if tap == best:
            reason = (
                f"a probe of {tap} has the lowest validation loss, {means[tap]:.4g}, and no shallower one comes near"
            )
        found = Selection.among(tap, [self._shallowest(trial) for trial in trials], reason)
        scores = [(name, 1 - loss / means[best]) for name, loss in means.items()]
        chosen = [one for one in scores if one[0] == tap]
        rest = sorted((one for one in scores if one[0] != tap), key=lambda one: -one[1])
        return replace(found, ranking=(*chosen, *rest))

    def _shallowest(self, losses: Mapping[str, float]) -> str:
        bound = (1 + self.tolerance) * min(losses.values())
        return next(name for name, loss in losses.items() if loss <= bound)
