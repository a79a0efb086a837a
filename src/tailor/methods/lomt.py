"""Layer-optimized multi-task networks (arXiv 2406.03048)."""

from tailor.methods.constrained import constrained
from tailor.methods.layers import layers
from tailor.methods.stage import Method
from tailor.methods.study import Study
from tailor.methods.train import Train
from tailor.methods.workshop import Workshop


def lomt(workshop: Workshop, study: Study) -> Method:
    """Learn with group sparsity which layer each task needs; build the network that gives it just that; train it."""
    taps = yield from layers(workshop, study)
    trainings = [Train(f"lomt/seed-{seed}", "lomt", taps, seed) for seed in study.seeds]
    if study.no_task_worse_than is not None:
        trainings = yield from constrained(workshop, study, trainings)
    networks = []
    for training in trainings:
        result = yield training
        networks.append(result)
    return networks
