"""Which layer each task needs: sparse single-task trainings and the rule that reads them."""

from collections.abc import Generator, Mapping

from lomt.methods.path import Path
from lomt.methods.select import Select
from lomt.methods.single_task import dense
from lomt.methods.sparsify import Sparsify, group_lassos
from lomt.methods.stage import Method, Result, Stage
from lomt.methods.study import Study
from lomt.methods.train import Train
from lomt.methods.workshop import Workshop

SPARSE = "sparse"


def layers(workshop: Workshop, study: Study) -> Generator[Stage, Result, Mapping[str, str]]:
    """Train every task alone with group sparsity, several times; returns the tap that each task needs.

    Raises:
        ValueError: a fixed tap of a task that is not learned.
    """
    unknown = [task for task in study.taps if task not in workshop.task_names]
    if unknown:
        raise ValueError(f"study.taps fixes a tap for {unknown[0]!r} – the tasks are {', '.join(workshop.task_names)}")
    searched = [task for task in workshop.task_names if task not in study.taps]
    trials: dict[str, list[Result]] = {}
    for task in searched:
        trials[task] = yield from sparse(workshop, study, task)
    if not searched:
        return study.taps
    selected = yield Select("select", study.rule, trials)
    return {task: {**study.taps, **selected["taps"]}[task] for task in workshop.task_names}


def sparse(workshop: Workshop, study: Study, task: str) -> Method:
    """One task alone, its decoder at the end of a backbone whose groups die: a network a trial.

    With a given λ from scratch, as the paper has it; else from a dense network of the trial's own, while λ grows: the
    first trial's on a path, and the others' by the steps to what it has found bearable. A network that meets the whole
    λ at once, from scratch or not, loses much more.
    """
    names = [f"{SPARSE}/{task}/trial-{trial}" for trial in range(study.trials)]
    penalty, taps = study.penalty_of(task), {task: workshop.end}
    networks: list[Result] = []
    if penalty is not None:
        for trial, name in enumerate(names):
            result = yield Train(name, SPARSE, taps, trial, penalty)
            networks.append(result)
        return networks
    first, *others = study.trial_seeds
    result = yield dense(workshop, task, first)
    found = yield Path(f"path/{task}", SPARSE, result, study.path, study.rule)
    networks.append(found)
    for seed, name in zip(others, names[1:], strict=True):
        result = yield dense(workshop, task, seed)
        penalties = group_lassos(found["strengths"])
        network = yield Sparsify(name, SPARSE, taps, seed, result["stage"], penalties, study.path)
        networks.append(network)
    return networks
