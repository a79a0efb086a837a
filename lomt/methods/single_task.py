"""One dense network a task: what every multi-task network is measured against."""

from lomt.methods.setup import Setup
from lomt.methods.stage import Method, Parallel, alone
from lomt.methods.study import Study
from lomt.methods.train import Train


def single_task(setup: Setup, study: Study) -> Method:
    """Train each task alone, its decoder at the end of the backbone."""
    return (yield Parallel(tuple(map(alone, single_trainings(setup, study)))))


def single_trainings(setup: Setup, study: Study) -> list[Train]:
    """All of it; none needs another."""
    return [dense(setup, task, seed) for task in setup.task_names for seed in study.seeds]


def dense(setup: Setup, task: str, seed: int) -> Train:
    """The training of one of them."""
    return Train(f"single_task/{task}/seed-{seed}", "single_task", {task: setup.end}, seed)
