"""Layer-optimized multi-task networks (arXiv 2406.03048)."""

from tailor.methods.select import Select
from tailor.methods.stage import Method, Result
from tailor.methods.study import Study
from tailor.methods.train import Train
from tailor.methods.workshop import Workshop


def lomt(workshop: Workshop, study: Study) -> Method:
    """Learn with group sparsity which layer each task needs; build the network that gives it just that; train it."""
    sparse: dict[str, list[Result]] = {}
    for task in workshop.task_names:
        sparse[task] = []
        for trial in range(study.trials):
            name = f"sparse/{task}/trial-{trial}"
            result = yield Train(name, "sparse", {task: workshop.end}, trial, study.penalty_of(task))
            sparse[task].append(result)

    selected = yield Select("select", study.rule, sparse)

    networks = []
    for seed in study.seeds:
        result = yield Train(f"lomt/seed-{seed}", "lomt", selected["taps"], seed)
        networks.append(result)
    return networks
