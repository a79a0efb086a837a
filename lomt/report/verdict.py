"""The outcome of a run in one sentence that claims no more than its numbers carry."""

from collections.abc import Sequence
from dataclasses import dataclass

from lomt.evaluation import Spread, over_seeds, paired_interval
from lomt.evaluation.wording import number
from lomt.report.comparison import Comparison
from lomt.report.names import CONVENTIONAL, SINGLE, TAILORED, in_order, listing, method_name, plural
from lomt.report.read import Run


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

    A difference counts as one only where it exceeds its standard deviation over seeds and does not round to 0.0;
    networks of one seed are compared with each other. The remarks give the 95 % interval and say where it does not
    exclude chance; with one seed they say that no spread is known.
    """
    found = run.comparison
    if found is None or not found.outcomes:
        return _unfinished(run)
    subject = _subject(found)
    if subject is None:
        return Verdict(
            f"Only {listing([f'{method_name(method)} networks' for method in found.methods])} were compared, so there "
            "is no multi-task network to judge.",
            ["Add the methods multi_task and lomt to the study."],
            "open",
        )
    own = found.delta_m(subject)
    if own is None:
        return _without_baseline(found, subject)
    claims = [_claim(own, " %", "single-task networks")]
    ahead = found.differences(subject, CONVENTIONAL) if subject != CONVENTIONAL else []
    if ahead:
        claims.append(_claim(over_seeds(ahead), " points", "the conventional multi-task network"))
    return Verdict(
        f"The {_network(subject)} is {' and '.join(claims)}{_costs(found, subject)}.",
        [*_tasks(found, subject), *_certainty(found, subject, ahead), *_missing(found, subject)],
        _tone(own),
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


def _claim(difference: Spread, unit: str, rival: str) -> str:
    tone = _tone(difference)
    if tone == "even":
        return f"on a par with {rival} ({number(difference.mean, 1, signed=True)}{unit})"
    return f"{number(abs(difference.mean), 1)}{unit} {tone} than {rival}"


def _tone(difference: Spread) -> str:
    if abs(difference.mean) < 0.05 or (difference.std is not None and abs(difference.mean) <= difference.std):
        return "even"
    return "better" if difference.mean > 0 else "worse"


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
    if {share for share, _ in shares} == {"100 %"}:
        return ", at the same cost"
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


def _certainty(found: Comparison, subject: str, ahead: Sequence[float]) -> list[str]:
    """How far seeds disagree, and whether chance is excluded."""
    own = [outcome.delta_m for outcome in found.of(subject) if outcome.delta_m is not None]
    if len(own) < 2:
        return ["One seed: no spread is known, so how much of a difference is chance can't be told."]
    remarks = [f"Over {plural(len(own), 'seed')}, Δm is {_interval(own, ' %')}."]
    if len(ahead) > 1:
        remarks.append(
            f"Against the conventional multi-task network, seed by seed, it is {_interval(ahead, ' points')}."
        )
    return [" ".join(remarks)]


def _interval(values: Sequence[float], unit: str) -> str:
    """``+2.8 ± 0.4 % (95 % interval +1.8 … +3.8)``, and a warning where that holds 0."""
    spread, ends = over_seeds(values), paired_interval(values)
    low, high = (number(end, 1, signed=True) for end in (ends.low, ends.high))
    text = f"{number(spread.mean, 1, signed=True)} ± {number(spread.std or 0.0, 1)}{unit} (95 % interval {low} … {high}"
    chance = f"; {len(values)} seeds don't exclude chance" if ends.low <= 0 <= ends.high else ""
    return f"{text}{chance})"


def _missing(found: Comparison, subject: str) -> list[str]:
    absent = [
        f"the {method_name(method)} network"
        for method in (CONVENTIONAL, TAILORED)
        if method != subject and not found.of(method)
    ]
    if not absent:
        return []
    is_are = "is" if len(absent) == 1 else "are"
    text = f"{listing(absent)} {is_are} missing from the comparison; the study's list of methods leaves it out."
    return [text[0].upper() + text[1:]]


def _without_baseline(found: Comparison, subject: str) -> Verdict:
    """Δm is relative to single-task networks; without them, count the figures that one network wins."""
    remarks = ["Δm needs the dense single-task networks, with the same seeds: add the method single_task to the study."]
    if subject == CONVENTIONAL or not found.of(CONVENTIONAL):
        return Verdict(
            f"The {_network(subject)} was measured, but there is no baseline to judge it by.", remarks, "open"
        )
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
    return Verdict(f"{state}.", ["The command that began it, given again, continues (lomt run …)."], "open")
