"""Multi-task networks whose shared backbone is sparse ("Less is More", arXiv 2308.12114)."""

from collections.abc import Mapping

from tailor.methods.layers import layers
from tailor.methods.stage import Method, Result
from tailor.methods.strength import penalty_for
from tailor.methods.study import Study
from tailor.methods.train import Train
from tailor.methods.workshop import Workshop


def sparse_multi_task(workshop: Workshop, study: Study) -> Method:
    """Every decoder at the end of the backbone, and groups of the backbone die."""
    return (yield from _sparse("multi_task", study, dict.fromkeys(workshop.task_names, workshop.end)))


def sparse_lomt(workshop: Workshop, study: Study) -> Method:
    """Each decoder at the layer that its task needs, and groups of what is left of the backbone die."""
    taps = yield from layers(workshop, study)
    return (yield from _sparse("lomt", study, taps))


def _sparse(method: str, study: Study, taps: Mapping[str, str]) -> Method:
    first = Train(f"{method}/seed-{study.seeds[0]}", method, taps, study.seeds[0])
    penalty = yield from penalty_for(study, first)
    networks: list[Result] = []
    for seed in study.seeds:
        result = yield Train(f"sparse_{method}/seed-{seed}", f"sparse_{method}", taps, seed, penalty)
        networks.append(result)
    return networks
