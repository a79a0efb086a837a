"""What must be known to judge a run's outcome: length of training, smaller networks, single tasks, chance."""

import math
from collections.abc import Mapping, Sequence

from lomt.evaluation import over_seeds, paired_interval
from lomt.evaluation.formatting import number
from lomt.report.comparison import Comparison
from lomt.report.names import CONVENTIONAL, SINGLE, SPARSE, TAILORED, listing, network_name, plural
from lomt.report.read import Run

OTHER = {CONVENTIONAL: "the conventional network", SINGLE: "the single-task networks"}

NOTICEABLE = 0.8
"""A network is called smaller than another one below this share of its multiply-accumulates."""


def size(found: Comparison, method: str) -> float:
    """Multiply-accumulates of a method's smallest network."""
    return found.cost(found.smallest_form(method), "macs") or math.inf


def percent(share: float) -> str:
    """A share in percent, with a decimal where it is small."""
    return f"{number(100 * share, 1 if share < 0.1 else 0)} %"


def length(run: Run, best: str) -> list[str]:
    """Where the network was trained longer than those that it is compared with, by how much."""
    own = trained_epochs(run, best)
    others = {method: trained_epochs(run, method) for method in (CONVENTIONAL, SINGLE) if method != best}
    shorter = {method: epochs for method, epochs in others.items() if own and epochs and epochs < own}
    if not shorter:
        return []
    had = listing([f"{OTHER[method]} for {epochs}" for method, epochs in shorter.items()])
    if len(shorter) > 1 and len(set(shorter.values())) == 1:
        had = f"those that it is compared with for {min(shorter.values())}"
    control = f"To tell, train those as long: --recipe.epochs {own}, with another --out."
    return [f"It was trained longer: for {own} epochs in all, {had}. Any difference may come from that. {control}"]


def trained_epochs(run: Run, method: str) -> int | None:
    """How many epochs the weights of a method's network were trained for, of several seeds at the most.

    A sparse network goes on from a dense one: the epochs of that count, too. None where that is not known.
    """
    results = {training.name: training.result for training in run.trainings}
    total = 0
    for outcome in run.comparison.of(method) if run.comparison else ():
        for stage in outcome.stages:
            result = results.get(stage, {})
            epochs = result.get("epochs")
            if "since_dense" in result:
                dense = results.get(f"{method.removeprefix('sparse_')}/seed-{outcome.seed}", {}).get("epochs")
                epochs = result["since_dense"] + dense if dense else None
            if epochs is None:
                return None
            total = max(total, int(epochs))
    return total or None


def nothing_died(run: Run, best: str) -> list[str]:
    """Where a sparse network has nothing to remove."""
    compaction = (run.compaction or {}).get(best, {"changed": True})
    if compaction["changed"] or not best.startswith(f"{SPARSE}_"):
        return []
    return ["It was to become sparse, but no channel of it has died, so there was nothing to remove."]


def smaller(found: Comparison, best: str, judged: Mapping[str, float]) -> list[str]:
    """Where another network is smaller, by how much, and what that costs."""
    smallest = min(judged, key=lambda method: size(found, method))
    own, least = size(found, best), size(found, smallest)
    if not least < NOTICEABLE * own < math.inf:
        return []
    form = found.smallest_form(smallest)
    lost = found.differences(best, smallest)
    by = f"{number(over_seeds(lost).mean, 1)} points worse in Δm" if lost else "worse in Δm"
    what = f"{network_name(smallest)}{', compacted' if form != smallest else ''}"
    return [f"The smallest is the {what}: {percent(least / own)} of the best one's multiply-accumulates, and {by}."]


def by_task(found: Comparison, best: str) -> list[str]:
    """Which tasks gain and which lose, for a mean hides that."""
    gains = {task.name: found.gain(best, task.name) for task in found.tasks}
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


def certainty(found: Comparison, best: str, rival: str, ahead: Sequence[float], several: bool) -> list[str]:
    """How far seeds disagree, whether chance is excluded, and that the best of several is so by the same figures."""
    picked = " It was picked by these very figures, which flatters it a little." if several else ""
    own = [outcome.delta_m for outcome in found.of(best) if outcome.delta_m is not None]
    if len(own) < 2:
        return ["One seed: no spread is known, so how much of a difference is chance can't be told." + picked]
    said = f"Over {plural(len(own), 'seed')}, Δm is {_interval(own, ' %')}."
    if len(ahead) > 1:
        said += f" Against the {network_name(rival)}, seed by seed, it is {_interval(ahead, ' points')}."
    return [said + picked]


def _interval(values: Sequence[float], unit: str) -> str:
    """``+2.8 ± 0.4 % (95 % interval +1.8 … +3.8)``, and a warning where that holds 0."""
    spread, ends = over_seeds(values), paired_interval(values)
    low, high = (number(end, 1, signed=True) for end in (ends.low, ends.high))
    text = f"{number(spread.mean, 1, signed=True)} ± {number(spread.std or 0.0, 1)}{unit} (95 % interval {low} … {high}"
    chance = f"; {len(values)} seeds don't exclude chance" if ends.low <= 0 <= ends.high else ""
    return f"{text}{chance})"


def one_task(found: Comparison) -> list[str]:
    """Where there is nothing to share."""
    if len(found.tasks) != 1:
        return []
    return [f"There is one task, {found.tasks[0].name}: nothing is shared, and only depth and sparsity can differ."]


def missing(found: Comparison) -> list[str]:
    """Which networks are not there to be compared with."""
    absent = [f"the {network_name(method)}" for method in (CONVENTIONAL, TAILORED) if not found.of(method)]
    if not absent:
        return []
    is_are = "is" if len(absent) == 1 else "are"
    text = f"{listing(absent)} {is_are} missing from the comparison; the study's list of methods leaves it out."
    return [text[0].upper() + text[1:]]
