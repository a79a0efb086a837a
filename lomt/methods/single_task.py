"""One dense network a task: what every multi-task network is measured against."""

from lomt.methods.stage import Method, Parallel, alone
from lomt.methods.study import Study
from lomt.methods.train import Train
from lomt.methods.workshop import Workshop


def single_task(workshop: Workshop, study: Study) -> Method:
    """Train each task alone, its decoder at the end of the backbone."""
    return (yield Parallel(tuple(map(alone, single_trainings(workshop, study)))))


def single_trainings(workshop: Workshop, study: Study) -> list[Train]:
    """All of it; none needs another."""
    return [dense(workshop, task, seed) for task in workshop.task_names for seed in study.seeds]


def dense(workshop: Workshop, task: str, seed: int) -> Train:
    """The training of one of them."""
    return Train(f"single_task/{task}/seed-{seed}", "single_task", {task: workshop.end}, seed)
