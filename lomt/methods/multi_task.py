"""The conventional multi-task network: one backbone, every decoder at its end."""

from lomt.methods.setup import Setup
from lomt.methods.stage import Method, Parallel, alone
from lomt.methods.study import Study
from lomt.methods.train import Train


def multi_task(setup: Setup, study: Study) -> Method:
    """Train all tasks together, all decoders at the end of the backbone."""
    return (yield Parallel(tuple(map(alone, conventional_trainings(setup, study)))))


def conventional_trainings(setup: Setup, study: Study) -> list[Train]:
    """All of it; none needs another."""
    taps = dict.fromkeys(setup.task_names, setup.end)
    return [Train(f"multi_task/seed-{seed}", "multi_task", taps, seed) for seed in study.seeds]
