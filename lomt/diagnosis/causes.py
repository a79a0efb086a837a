"""Why a task loses: each cause has a rule, a figure, and a weight that orders it among the others."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lomt.diagnosis.comparison import Standing
from lomt.diagnosis.conflicts import against_others, cosines, relative_share, shares
from lomt.diagnosis.gradients import Gradients
from lomt.diagnosis.probe import ProbeCurve
from lomt.diagnosis.rules import BETTER_TAP, CONFLICT, DROWNED, RESIDUAL, SLOPE, UNDERFIT
from lomt.evaluation import Spread
from lomt.evaluation.formatting import number

CONFLICTING, IMBALANCED, SHALLOW, DEEP, CAPACITY, GENERALIZATION, UNKNOWN = (
    *("conflict", "imbalance", "too shallow", "too deep"),
    *("capacity", "generalization", "unknown"),
)


@dataclass(frozen=True)
class Cause:
    """One reason.

    Attributes:
        kind: conflict, imbalance, too shallow, too deep, capacity, generalization or unknown.
        weight: how strong the evidence is, from 0 (at its threshold) to 1.
        evidence: the reason with its figures, in words.
        tap: a better tap, where the cause is the tap.
        rival: the task that it conflicts with most, where the cause is conflict.
    """

    kind: str
    weight: float
    evidence: str
    tap: str | None = None
    rival: str | None = None


@dataclass(frozen=True)
class Evidence:
    """All that was measured of one task in one network.

    Attributes:
        standing: against its single-task network.
        gradients: of the multi-task network.
        weights: each loss's factor in training.
        tap: where the task's decoder reads.
        shared: probes on the multi-task network's features.
        alone: probes on the task's dense single-task network's, over the whole depth.
    """

    standing: Standing
    gradients: Gradients
    weights: Mapping[str, float]
    tap: str
    shared: ProbeCurve
    alone: ProbeCurve


def causes(evidence: Evidence) -> list[Cause]:
    """Every cause whose rule applies, the strongest evidence first; one that says so where none does."""
    measured = [*_conflict(evidence), *_imbalance(evidence), *_tap(evidence)]
    found = [*measured, *_fit(evidence, measured)]
    return sorted(found, key=lambda cause: -cause.weight) or [_unknown(evidence)]


def _unknown(evidence: Evidence) -> Cause:
    task = evidence.standing.task
    overall = against_others(evidence.gradients, evidence.weights, task)
    share = relative_share(evidence.gradients, evidence.weights, task)
    return Cause(
        UNKNOWN,
        0.0,
        f"no rule applies: cosine {cosine(overall) if overall else '–'} against the rest of a step, "
        f"{number(math.nan if share is None else share, 2)} of a fair share of it, no tap reads clearly better, "
        f"training loss {number(evidence.standing.training.change, 1, signed=True)} %. It may be chance",
    )


def _conflict(evidence: Evidence) -> list[Cause]:
    task = evidence.standing.task
    pairs = {
        next(name for name in pair if name != task): layers
        for pair, layers in cosines(evidence.gradients).items()
        if task in pair
    }
    opposed = {
        name: {layer: spread for layer, spread in layers.items() if conflicting(spread)}
        for name, layers in pairs.items()
    }
    overall = against_others(evidence.gradients, evidence.weights, task)
    rival = max(opposed, key=lambda name: len(opposed[name]), default=None)
    if overall is None or not conflicting(overall) or rival is None or not opposed[rival]:
        return []
    worst, spread = min(opposed[rival].items(), key=lambda one: one[1].mean)
    return [
        Cause(
            CONFLICTING,
            -overall.mean,
            f"its gradient opposes the rest of a step: cosine {cosine(overall)} over all shared layers; most "
            f"often against {rival} (at {len(opposed[rival])} of the {len(pairs[rival])} layers that both reach, worst "
            f"{cosine(spread)} at {worst})",
            rival=rival,
        )
    ]


def conflicting(spread: Spread) -> bool:
    """Whether cosines are negative for certain and by enough."""
    error = (spread.std or 0.0) / math.sqrt(spread.count)
    return spread.mean <= CONFLICT and spread.mean + 2 * error < 0


def cosine(spread: Spread) -> str:
    """Mean ± standard deviation in two decimals."""
    deviation = "" if spread.std is None else f" ± {number(spread.std, 2)}"
    return f"{number(spread.mean, 2, signed=True)}{deviation}"


def _imbalance(evidence: Evidence) -> list[Cause]:
    task = evidence.standing.task
    share = relative_share(evidence.gradients, evidence.weights, task)
    if share is None or share >= DROWNED:
        return []
    by_layer = [by_task for by_task in shares(evidence.gradients, evidence.weights).values() if task in by_task]
    means = {
        name: statistics.fmean(by_task[name] for by_task in by_layer if name in by_task)
        for name in evidence.gradients.tasks
        if any(name in by_task for by_task in by_layer)
    }
    loudest = max(means, key=lambda name: means[name])
    return [
        Cause(
            IMBALANCED,
            1 - share / DROWNED,
            f"its weighted gradient is {_percent(means[task])} of the sum of norms at the layers it shares, "
            f"{number(share, 2)} of a fair share; {loudest} has {_percent(means[loudest])}. Its loss of "
            f"{number(evidence.standing.training.together)} counts {number(evidence.weights[task])} times",
        )
    ]


def _percent(share: float) -> str:
    return f"{number(100 * share, 1)} %" if share >= 0.0005 else "less than 0.1 %"


def _tap(evidence: Evidence) -> list[Cause]:
    """Too deep where an earlier place reads better, too shallow where a later one does.

    Where both networks can say it, the better tap is that of the single-task network, which others don't disturb.
    """
    found = []
    for curve, whose in (
        (evidence.alone, "its single-task network's"),
        (evidence.shared, "the multi-task network's own"),
    ):
        if evidence.tap not in curve.taps:
            continue
        here, best = curve.taps.index(evidence.tap), best_tap(curve)
        kind = SHALLOW if best > here else DEEP
        least = SLOPE if kind == SHALLOW else BETTER_TAP
        if best == here or not clearly_lower(curve, best, here, least):
            continue
        at, there = statistics.fmean(curve.losses[here]), statistics.fmean(curve.losses[best])
        blank = statistics.fmean(curve.blank)
        found.append(
            Cause(
                kind,
                min(1.0, (at - there) / max(blank - there, at - there)),
                f"probes on {whose} features read {_percent(1 - there / at)} less loss at {curve.taps[best]} than at "
                f"its tap {evidence.tap} ({number(there)} against {number(at)}; {number(blank)} knowing nothing)",
                tap=curve.taps[best],
            )
        )
    return found[:1] if len({cause.kind for cause in found}) < 2 else [max(found, key=lambda cause: cause.weight)]


def best_tap(curve: ProbeCurve) -> int:
    """The place with the lowest mean loss; of those that can't be told apart from it, the first."""
    lowest = min(range(len(curve.taps)), key=lambda index: statistics.fmean(curve.losses[index]))
    return next(
        index for index in range(len(curve.taps)) if index == lowest or not clearly_lower(curve, lowest, index, 0.0)
    )


def clearly_lower(curve: ProbeCurve, one: int, other: int, least: float) -> bool:
    """Whether a place's loss is lower than another's by the share ``least``, and by more than the seeds' spread."""
    differences = [b - a for a, b in zip(curve.losses[one], curve.losses[other], strict=True)]
    mean = statistics.fmean(differences)
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    return mean > least * statistics.fmean(curve.losses[other]) and mean > 2 * spread


def _fit(evidence: Evidence, measured: Sequence[Cause]) -> list[Cause]:
    """Under-fitting that nothing measured explains is for want of capacity; the rest is a matter of generalization."""
    training, validation = evidence.standing.training, evidence.standing.validation
    both = (
        f"training loss {number(training.together)} against {number(training.alone)} alone "
        f"({number(training.change, 1, signed=True)} %), validation loss {number(validation.change, 1, signed=True)} %"
    )
    if training.change > UNDERFIT:
        weight = RESIDUAL * (1 - training.alone / training.together)
        reason = (
            "the above may be all of it" if measured else "and neither conflict nor imbalance nor a tap explains it"
        )
        return [Cause(CAPACITY, weight, f"it fits the training images less well than alone, {reason}: {both}")]
    if validation.change > max(training.change, 0.0) and not measured:
        weight = RESIDUAL * (1 - validation.alone / validation.together)
        return [Cause(GENERALIZATION, weight, f"it fits the training images but not the validation images: {both}")]
    return []
