"""Layer-optimized multi-task networks (arXiv 2406.03048)."""

from lomt.methods.constrained import constrained
from lomt.methods.layers import layers
from lomt.methods.setup import Setup
from lomt.methods.stage import Method, Parallel, alone
from lomt.methods.study import Study
from lomt.methods.train import Train


def lomt(setup: Setup, study: Study) -> Method:
    """Learn with group sparsity which layer each task needs; build the network that gives it just that; train it."""
    taps = yield from layers(setup, study)
    trainings = [Train(f"lomt/seed-{seed}", "lomt", taps, seed) for seed in study.seeds]
    if study.no_task_worse_than is not None:
        trainings = yield from constrained(setup, study, trainings)
    return (yield Parallel(tuple(map(alone, trainings))))
