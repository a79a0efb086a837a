"""λ by itself: the strongest penalty that costs the task next to nothing, found on a path from weak to strong."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lomt.checks import check_whole

NOTHING_DIED = 0.01
"""Below this share of dead groups the path walks on in double steps."""


def excess(losses: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """How far losses lie above the reference's, 0.02 for 2 %; the mean over the tasks, so that no unit counts more."""
    return sum(losses[task] / reference[task] for task in reference) / len(reference) - 1


@dataclass(frozen=True)
class Point:
    """One λ that was tried.

    Attributes:
        strength: λ.
        excess: of the validation losses, see :func:`excess`.
        sparsity: share of dead groups, from 0 to 1.
    """

    strength: float
    excess: float
    sparsity: float


@dataclass(frozen=True)
class Step:
    """What to try next.

    Attributes:
        strength: λ.
        start: index of the point whose weights to go on from; none stands for the reference.
    """

    strength: float
    start: int | None


@dataclass(frozen=True)
class Choice:
    """What a path says in the end.

    Attributes:
        strength: the λ to train with; 0 where no λ of the path is bearable.
        index: of the point in the path, or none.
        reason: why, with the figures, and what to do where it is no good answer.
    """

    strength: float
    index: int | None
    reason: str


@dataclass(frozen=True)
class StrengthPath:
    """How a path of penalties is walked, and which of them is chosen.

    Sparsity is not monotonic in λ, so nobody can guess it. The reference is the dense network after a step with λ = 0,
    so that both sides have begun a schedule anew. From there the path goes to a weak λ, and
    on from each network to the next stronger λ (warm starts), in double steps while nothing dies. One network
    that is worse than the tolerance does not end it; two in a row do. What is left of the budget goes into the gap
    between the strongest bearable λ and the weakest unbearable one above it. The choice is the strongest bearable λ.

    λ is the price of a group's norm in *mean loss + λ Σ √|g| ‖W_g‖*: losses are means over pixels and images, and the
    proximal step is scaled by the learning rate, so that λ means the same at any batch size, learning rate and number
    of epochs. The path begins at a share of the dense network's loss, so that a loss in other units has the same path.

    Attributes:
        tolerance: how much larger than the reference's the validation loss may be, as a share of it.
        start: first λ, as a share of the reference's validation loss.
        factor: from one λ to the next.
        steps: networks to train at the most, the reference among them.
        epochs: length of one step, as a share of the recipe's epochs; ``steps · epochs`` is the cost in trainings,
            2 at the most.
        refit: length of the training without a penalty that a shared network gets in the end, as a share of the
            recipe's epochs, at the learning rate of a step.
        lr: peak learning rate of a step, as a share of the recipe's. A network that has learned needs less than a fresh
            one; and what the penalty leaves of the weights moves the further at the same rate the smaller it is.
    """

    tolerance: float = 0.02
    start: float = 3e-4
    factor: float = 2.0
    steps: int = 6
    epochs: float = 0.25
    refit: float = 1.0
    lr: float = 0.25

    def __post_init__(self) -> None:
        for name in ("tolerance", "start", "epochs", "refit", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"path.{name} is {getattr(self, name)}: use a positive number")
        if not self.factor > 1:
            raise ValueError(f"path.factor is {self.factor}: use a number above 1, such as 2")
        check_whole("path.steps", self.steps, 2)
        if self.steps * self.epochs > 2:
            raise ValueError(
                f"path.steps is {self.steps} and path.epochs {self.epochs}: use a product of 2 at "
                "the most, since a path must not cost more than two trainings"
            )

    def length(self, epochs: int) -> tuple[int, int]:
        """(steps, epochs of each) of a path beside trainings of ``epochs`` epochs: never above twice their number."""
        each = max(1, int(self.epochs * epochs))
        return min(self.steps, 2 * epochs // each), each

    def next(self, points: Sequence[Point], reference: float, steps: int) -> Step | None:
        """The next λ, or none where the path has ended.

        Args:
            points: what was tried, in that order.
            reference: validation loss of the reference; of several tasks the sum, each with its weight in training.
            steps: λ to try at the most, without the reference.
        """
        if len(points) >= steps:
            return None
        if not points:
            return Step(self.start * reference, None)
        best = self._strongest_bearable(points)
        above = [p.strength for p in points if not self._bearable(p) and (best is None or p.strength > best.strength)]
        if best is None:
            # Even the weakest was too strong: weaker ones, from the reference again.
            return Step(min(above) / self.factor**2, None)
        last = points[-1]
        if len(above) < 2 and last.sparsity < 1 and last.strength == max(point.strength for point in points):
            double = last.sparsity < NOTHING_DIED
            return Step(last.strength * self.factor ** (2 if double else 1), len(points) - 1)
        if min(above) / best.strength <= self.factor**0.5:
            return None
        return Step(math.sqrt(min(above) * best.strength), points.index(best))

    def choose(self, points: Sequence[Point]) -> Choice:
        """The strongest bearable λ of the path."""
        best = self._strongest_bearable(points)
        if best is None:
            least = min(points, key=lambda point: point.strength)
            return Choice(
                0.0,
                None,
                f"no λ of the path is bearable: already λ {least.strength:.1e} costs {least.excess:+.1%} validation "
                f"loss ({least.sparsity:.0%} of the groups dead), where {self.tolerance:.1%} are allowed; the task "
                "keeps its whole network. Allow more with path.tolerance, or begin weaker with path.start",
            )
        last = best.strength == max(point.strength for point in points)
        figures = f"{best.excess:+.1%} validation loss, {best.sparsity:.0%} of the groups dead"
        if best.sparsity == 0:
            reason = (
                f"nothing ever died up to λ {best.strength:.1e} ({figures}): begin stronger with path.start, or give "
                "more steps"
            )
        else:
            reason = (
                f"λ {best.strength:.1e} is the strongest within {self.tolerance:.1%} of the dense reference: {figures}"
            )
            reason += "; stronger ones were not tried: allow more steps with --study.path.steps" if last else ""
        return Choice(best.strength, points.index(best), reason)

    def _bearable(self, point: Point) -> bool:
        return point.excess <= self.tolerance and point.sparsity < 1

    def _strongest_bearable(self, points: Sequence[Point]) -> Point | None:
        return max(filter(self._bearable, points), key=lambda point: point.strength, default=None)
