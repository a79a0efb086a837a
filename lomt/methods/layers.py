"""Which layer each task needs: what the study's rule asks for, and the rule that reads it."""

from lomt.methods.path import Path
from lomt.methods.probing import Probing
from lomt.methods.select import Select
from lomt.methods.setup import Setup
from lomt.methods.single_task import dense
from lomt.methods.sparsify import Sparsify, group_lassos
from lomt.methods.stage import Method, Parallel, alone
from lomt.methods.study import Study
from lomt.methods.train import Train
from lomt.sparsity import pattern

SPARSE = "sparse"


def layers(setup: Setup, study: Study) -> Method:
    """Train every task alone as the rule asks, with group sparsity and several times; returns the tap that each needs.

    Raises:
        ValueError: a fixed tap of a task that is not learned.
    """
    unknown = [task for task in study.taps if task not in setup.task_names]
    if unknown:
        raise ValueError(f"study.taps fixes a tap for {unknown[0]!r} – the tasks are {', '.join(setup.task_names)}")
    searched = [task for task in setup.task_names if task not in study.taps]
    if not searched:
        return study.taps
    trials = yield Parallel(tuple(evidence(setup, study, task) for task in searched))
    selected = yield Select("select", study.rule, dict(zip(searched, trials, strict=True)))
    return {task: {**study.taps, **selected["taps"]}[task] for task in setup.task_names}


def evidence(setup: Setup, study: Study, task: str) -> Method:
    """What the study's rule needs to know of a task: results with patterns, or with losses of probes."""
    if study.rule.needs == "sparse trials":
        return (yield from sparse(setup, study, task))
    if study.rule.needs == "nothing":
        return [{"pattern": pattern(setup.backbone(), setup.example).to_dict()}]

    def probed(seed: int) -> Method:
        result = yield dense(setup, task, seed)
        return (yield Probing(f"probe/{task}/seed-{seed}", result))

    return (yield Parallel(tuple(probed(seed) for seed in study.trial_seeds)))


def sparse(setup: Setup, study: Study, task: str) -> Method:
    """One task alone, its decoder at the end of a backbone whose groups die: a network a trial.

    With a given λ from scratch, as the paper has it; else from a dense network of the trial's own, while λ grows: the
    first trial's on a path, and the others' by the steps to what it has found bearable. A network that meets the whole
    λ at once, from scratch or not, loses much more.
    """
    names = [f"{SPARSE}/{task}/trial-{trial}" for trial in range(study.trials)]
    penalty, taps = study.penalty_of(task), {task: setup.end}
    if penalty is not None:
        trainings = [Train(name, SPARSE, taps, trial, penalty) for trial, name in enumerate(names)]
        return (yield Parallel(tuple(map(alone, trainings))))
    first, *others = study.trial_seeds
    result = yield dense(setup, task, first)
    found = yield Path(f"path/{task}", SPARSE, result, study.path, study.rule)
    penalties = group_lassos(found["strengths"])

    def trial(seed: int, name: str) -> Method:
        result = yield dense(setup, task, seed)
        return (yield Sparsify(name, SPARSE, taps, seed, result["stage"], penalties, study.path))

    rest = yield Parallel(tuple(trial(seed, name) for seed, name in zip(others, names[1:], strict=True)))
    return [found, *rest]
