"""The conventional multi-task network: one backbone, every decoder at its end."""

from lomt.methods.stage import Method
from lomt.methods.study import Study
from lomt.methods.train import Train
from lomt.methods.workshop import Workshop


def multi_task(workshop: Workshop, study: Study) -> Method:
    """Train all tasks together, all decoders at the end of the backbone."""
    taps = dict.fromkeys(workshop.task_names, workshop.end)
    networks = []
    for seed in study.seeds:
        result = yield Train(f"multi_task/seed-{seed}", "multi_task", taps, seed)
        networks.append(result)
    return networks
