"""The outcome of a run in a sentence or two that claim no more than its numbers carry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lomt.evaluation import Spread, over_seeds
from lomt.evaluation.formatting import number
from lomt.report import remarks
from lomt.report.comparison import Comparison
from lomt.report.names import CONVENTIONAL, SINGLE, in_order, listing, method_name, network_name, plural
from lomt.report.read import Run


@dataclass(frozen=True)
class Verdict:
    """What the report says first.

    Attributes:
        sentence: the outcome.
        remarks: what must be known to judge it: length of training, tasks that lose, spread, what is missing.
        tone: ``better``, ``worse``, ``even`` or ``open``.
        network: the form of the network that the sentence is about, as :attr:`Comparison.forms` has it; or none.
    """

    sentence: str
    remarks: list[str]
    tone: str
    network: str | None = None


def verdict(run: Run) -> Verdict:
    """Judge a run by the network that a user would take: the best multi-task network by Δm, compacted.

    A difference counts as one only where it exceeds its standard deviation over seeds and does not round to 0.0;
    networks of one seed are compared with each other. The remarks say where it was trained longer than what it is
    compared with, give the 95 % interval and say where that does not exclude chance; with one seed they say that no
    spread is known.
    """
    found = run.comparison
    if found is None or not found.outcomes:
        return _unfinished(run)
    compared = [method for method in in_order(outcome.method for outcome in found.outcomes) if method != SINGLE]
    if not compared:
        return Verdict(
            f"Only {listing([f'{method_name(method)} networks' for method in found.methods])} were compared, so there "
            "is no multi-task network to judge.",
            ["Add the methods multi_task and lomt to the study."],
            "open",
        )
    judged = {method: delta.mean for method in compared if (delta := found.delta_m(method))}
    if not judged:
        return _without_baseline(found, compared)
    best = max(judged, key=lambda method: (judged[method], -remarks.size(found, method)))
    own = found.delta_m(best)
    assert own is not None, "it was chosen by that"
    rival = CONVENTIONAL if best != CONVENTIONAL else _runner_up(judged)
    ahead = found.differences(best, rival) if rival else []
    claims = [_claim(own, " %", "single-task networks")]
    if ahead:
        claims.append(
            _claim(
                over_seeds(ahead),
                " points",
                "the conventional one" if rival == CONVENTIONAL else f"the {network_name(rival)}",
            )
        )
    several = len(judged) > 1
    kind = "networks" if len(found.tasks) == 1 else "multi-task networks"
    among = f"the best of {len(judged)} {kind}: " if several else ""
    return Verdict(
        f"The {network_name(best)} is {among}{' and '.join(claims)}.{_costs(found, best)}",
        [
            *remarks.length(run, best),
            *remarks.nothing_died(run, best),
            *remarks.smaller(found, best, judged),
            *remarks.by_task(found, best),
            *remarks.certainty(found, best, rival, ahead, several),
            *remarks.one_task(found),
            *remarks.missing(found),
        ],
        _tone(own),
        found.smallest_form(best),
    )


def _runner_up(judged: Mapping[str, float]) -> str:
    """The best network beside the conventional one; an empty name where there is no other."""
    return max((method for method in judged if method != CONVENTIONAL), key=lambda method: judged[method], default="")


def _claim(difference: Spread, unit: str, rival: str) -> str:
    tone = _tone(difference)
    if tone == "even":
        return f"on a par with {rival} ({number(difference.mean, 1, signed=True)}{unit})"
    return f"{number(abs(difference.mean), 1)}{unit} {tone} than {rival}"


def _tone(difference: Spread) -> str:
    if abs(difference.mean) < 0.05 or (difference.std is not None and abs(difference.mean) <= difference.std):
        return "even"
    return "better" if difference.mean > 0 else "worse"


def _costs(found: Comparison, best: str) -> str:
    """A sentence: cost beside that of the conventional network, or else of the single-task networks together."""
    form = found.smallest_form(best)
    alone = best == CONVENTIONAL or CONVENTIONAL not in found.methods
    rival, owner, its = (
        (SINGLE, "all single-task networks'", "their") if alone else (CONVENTIONAL, "the conventional one's", "its")
    )
    shares: list[str] = []
    for what, noun in (("parameters", "parameters"), ("macs", "multiply-accumulates")):
        own, theirs = found.cost(form, what), found.cost(rival, what)
        if own is not None and theirs:
            shares.append(f"{remarks.percent(own / theirs)} of {its if shares else owner} {noun}")
    return f" {'It' if form == best else 'Compacted, it'} has {' and '.join(shares)}." if shares else ""


def _without_baseline(found: Comparison, compared: Sequence[str]) -> Verdict:
    """Δm is relative to single-task networks; without them, count the figures that one network wins."""
    needs = ["Δm needs the dense single-task networks, with the same seeds: add the method single_task to the study."]
    others = [method for method in compared if method != CONVENTIONAL]
    if not others or CONVENTIONAL not in compared:
        return Verdict(
            f"The {network_name(compared[0])} was measured, but there is no baseline to judge it by.", needs, "open"
        )
    counted = {method: _wins(found, method) for method in others}
    best = max(others, key=lambda method: (counted[method][0], -remarks.size(found, method)))
    wins, total = counted[best]
    sentence = (
        f"The {network_name(best)} is better than the conventional multi-task network in {wins} of "
        f"{plural(total, 'figure')}; without single-task networks, Δm can't be told.{_costs(found, best)}"
    )
    return Verdict(sentence, needs, "open", found.smallest_form(best))


def _wins(found: Comparison, method: str) -> tuple[int, int]:
    """In how many figures a network is better than the conventional one, and of how many."""
    wins = total = 0
    for task in found.tasks:
        for metric in task.headline:
            own, rival = (found.figure(one, task.name, metric) for one in (method, CONVENTIONAL))
            if own and rival:
                total += 1
                difference = own.mean - rival.mean
                wins += (difference > 0) == task.higher_is_better.get(metric, True) and difference != 0
    return wins, total


def _unfinished(run: Run) -> Verdict:
    ended = sum(bool(training.result) for training in run.trainings)
    if not run.trainings:
        state = "No stage of this run has begun yet"
    else:
        state = f"This run has not ended: {plural(ended, 'network')} trained so far, nothing compared yet"
    return Verdict(f"{state}.", ["The command that began it, given again, continues (lomt run …)."], "open")
