"""Which layer each task needs: sparse single-task trainings and the rule that reads them."""

from collections.abc import Generator, Mapping

from tailor.methods.select import Select
from tailor.methods.single_task import dense
from tailor.methods.sparsified import sparsified
from tailor.methods.stage import Method, Result, Stage
from tailor.methods.study import Study
from tailor.methods.train import Train
from tailor.methods.workshop import Workshop

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

    With a given λ from scratch, as the paper has it; else from a dense network of the trial's own, while λ grows to
    what the first trial has found bearable.
    """
    names = [f"{SPARSE}/{task}/trial-{trial}" for trial in range(study.trials)]
    penalty = study.penalty_of(task)
    if penalty is None:
        trainings = [dense(workshop, task, seed) for seed in study.trial_seeds]
        return (yield from sparsified(study, task, SPARSE, trainings, names[1:]))
    networks = []
    for trial, name in enumerate(names):
        result = yield Train(name, SPARSE, {task: workshop.end}, trial, penalty)
        networks.append(result)
    return networks
