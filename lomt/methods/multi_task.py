"""The conventional multi-task network: one backbone, every decoder at its end."""

from lomt.methods.stage import Method, Parallel, alone
from lomt.methods.study import Study
from lomt.methods.train import Train
from lomt.methods.workshop import Workshop


def multi_task(workshop: Workshop, study: Study) -> Method:
    """Train all tasks together, all decoders at the end of the backbone."""
    return (yield Parallel(tuple(map(alone, conventional_trainings(workshop, study)))))


def conventional_trainings(workshop: Workshop, study: Study) -> list[Train]:
    """All of it; none needs another."""
    taps = dict.fromkeys(workshop.task_names, workshop.end)
    return [Train(f"multi_task/seed-{seed}", "multi_task", taps, seed) for seed in study.seeds]
