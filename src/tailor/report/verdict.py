"""The outcome of a run in one sentence that claims no more than its numbers carry."""

import math
from dataclasses import dataclass

from tailor.evaluation import Spread
from tailor.evaluation.wording import number
from tailor.report.comparison import Comparison
from tailor.report.names import CONVENTIONAL, SINGLE, TAILORED, in_order, listing, method_name, plural
from tailor.report.read import Run


@dataclass(frozen=True)
class Verdict:
    """What the report says first.

    Attributes:
        sentence: the outcome.
        remarks: what must be known to judge it: spread, tasks that lose, what is missing.
        tone: ``better``, ``worse``, ``even`` or ``open``.
    """

    sentence: str
    remarks: list[str]
    tone: str


def verdict(run: Run) -> Verdict:
    """Judge a run.

    A difference counts as one only where it is larger than the standard deviation over seeds (of both sides, added
    in quadrature) and does not round to 0.0; with one seed no spread is known, and the remarks say so.
    """
    found = run.comparison
    if found is None or not found.outcomes:
        return _unfinished(run)
    subject = _subject(found)
    if subject is None:
        names = listing([f"the {method_name(method)} networks" for method in found.methods])
        return Verdict(
            f"Only {names} were compared, so there is no multi-task network to judge.",
            ["Add the methods multi_task and lomt to the study, then run the same command again."],
            "open",
        )
    own = found.delta_m(subject)
    if own is None:
        return _without_baseline(found, subject)
    claims = [_against_single(own)]
    rivals = found.delta_m(CONVENTIONAL) if subject != CONVENTIONAL else None
    if rivals is not None:
        claims.append(_against(own, rivals))
    return Verdict(
        f"The {_network(subject)} is {' and '.join(claims)}{_costs(found, subject)}.",
        [*_tasks(found, subject), *_certainty(found, subject, own), *_missing(found, subject)],
        _tone(own.mean, own.std),
    )


def _subject(found: Comparison) -> str | None:
    """The method that the sentence is about: the tailored one, else the first multi-task one."""
    compared = in_order(outcome.method for outcome in found.outcomes)
    if TAILORED in compared:
        return TAILORED
    return next((method for method in compared if method != SINGLE), None)


def _network(method: str) -> str:
    return {TAILORED: "tailored network", CONVENTIONAL: "conventional multi-task network"}.get(
        method, f"{method_name(method)} network"
    )


def _against_single(own: Spread) -> str:
    tone = _tone(own.mean, own.std)
    if tone == "even":
        return f"on a par with single-task networks (Δm {number(own.mean, 1, signed=True)} %)"
    return f"{number(abs(own.mean), 1)} % {tone} than single-task networks"


def _against(own: Spread, rival: Spread) -> str:
    difference = own.mean - rival.mean
    tone = _tone(difference, _together(own.std, rival.std))
    if tone == "even":
        return f"on a par with the conventional multi-task network ({number(difference, 1, signed=True)} points)"
    return f"{number(abs(difference), 1)} points {tone} than the conventional multi-task network"


def _tone(difference: float, std: float | None) -> str:
    if abs(difference) < 0.05 or (std is not None and abs(difference) <= std):
        return "even"
    return "better" if difference > 0 else "worse"


def _together(first: float | None, second: float | None) -> float | None:
    known = [std for std in (first, second) if std is not None]
    return math.hypot(*known) if known else None


def _costs(found: Comparison, subject: str) -> str:
    """``, with 41 % of its parameters and 55 % of its multiply-accumulates`` – of the conventional network."""
    rival = CONVENTIONAL if subject != CONVENTIONAL and CONVENTIONAL in found.methods else SINGLE
    shares = []
    for what, noun in (("parameters", "parameters"), ("macs", "multiply-accumulates")):
        own, theirs = found.cost(subject, what), found.cost(rival, what)
        if own is not None and theirs:
            shares.append((f"{100 * own / theirs:.0f} %", noun))
    if not shares:
        return ""
    whose = "its" if rival == CONVENTIONAL and found.delta_m(CONVENTIONAL) is not None else ""
    of = f"{whose} " if whose else "the "
    text = " and ".join(f"{share} of {of}{noun}" for share, noun in shares)
    if not whose:
        text += f" of {'the conventional one' if rival == CONVENTIONAL else 'the single-task networks together'}"
    return f", with {text}"


def _tasks(found: Comparison, subject: str) -> list[str]:
    """Which tasks gain and which lose, for a mean hides that."""
    gains = {task.name: found.gain(subject, task.name) for task in found.tasks}
    known = {task: spread.mean for task, spread in gains.items() if spread is not None}
    if len(known) < 2:
        return []
    sides = (
        ("better in", [task for task, gain in known.items() if gain >= 0.05]),
        ("no different in", [task for task, gain in known.items() if abs(gain) < 0.05]),
        ("worse in", [task for task, gain in known.items() if gain <= -0.05]),
    )
    parts = [
        f"{side} {listing([f'{task} ({number(known[task], 1, signed=True)} %)' for task in tasks])}"
        for side, tasks in sides
        if tasks
    ]
    return [f"Task by task, against single-task networks: {'; '.join(parts)}."]


def _certainty(found: Comparison, subject: str, own: Spread) -> list[str]:
    if own.std is None:
        return ["One seed: no spread is known, so how much of the difference is chance can't be told."]
    remark = f"Δm is {number(own.mean, 1, signed=True)} ± {number(own.std, 1)} % over {plural(own.count, 'seed')}"
    rival = found.delta_m(CONVENTIONAL) if subject != CONVENTIONAL else None
    if rival is None:
        return [f"{remark} (mean ± standard deviation)."]
    theirs = f"{number(rival.mean, 1, signed=True)}" + (f" ± {number(rival.std, 1)}" if rival.std is not None else "")
    return [f"{remark} (mean ± standard deviation); that of the conventional multi-task network is {theirs} %."]


def _missing(found: Comparison, subject: str) -> list[str]:
    absent = [
        f"the {method_name(method)} network"
        for method in (CONVENTIONAL, TAILORED)
        if method != subject and not found.of(method)
    ]
    if not absent:
        return []
    return [f"{listing(absent).capitalize()} is missing from the comparison; add that method to the study."]


def _without_baseline(found: Comparison, subject: str) -> Verdict:
    """Δm is relative to single-task networks; without them, count the figures that one network wins."""
    remarks = ["Δm needs the single-task networks, dense, with the same seeds: add the method single_task."]
    if subject == CONVENTIONAL or not found.of(CONVENTIONAL):
        return Verdict(f"The {_network(subject)} was measured, but there is no baseline to judge it by.", remarks, "open")
    wins = total = 0
    for task in found.tasks:
        for metric in task.headline:
            own, rival = (found.figure(method, task.name, metric) for method in (subject, CONVENTIONAL))
            if own and rival:
                total += 1
                difference = own.mean - rival.mean
                wins += (difference > 0) == task.higher_is_better.get(metric, True) and difference != 0
    sentence = (
        f"The {_network(subject)} is better than the conventional multi-task network in {wins} of "
        f"{plural(total, 'figure')}{_costs(found, subject)}; without single-task networks, Δm can't be told."
    )
    return Verdict(sentence, remarks, "open")


def _unfinished(run: Run) -> Verdict:
    ended = sum(bool(training.result) for training in run.trainings)
    if not run.trainings:
        state = "No stage of this run has begun yet"
    else:
        state = f"This run has not ended: {plural(ended, 'network')} trained so far, nothing compared yet"
    return Verdict(f"{state}.", ["The command that began it, given again, continues (tailor run …)."], "open")
