"""Which layer each task needs: sparse single-task trainings and the rule that reads them."""

from collections.abc import Generator, Mapping

from tailor.methods.select import Select
from tailor.methods.single_task import dense
from tailor.methods.stage import Method, Result, Stage
from tailor.methods.strength import penalty_for
from tailor.methods.study import Study
from tailor.methods.train import Train
from tailor.methods.workshop import Workshop


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
    """One task alone, its decoder at the end of a backbone whose groups die: a network a trial."""
    penalty = yield from penalty_for(study, dense(workshop, task, study.seeds[0]))
    networks = []
    for trial in range(study.trials):
        result = yield Train(f"sparse/{task}/trial-{trial}", "sparse", {task: workshop.end}, trial, penalty)
        networks.append(result)
    return networks
