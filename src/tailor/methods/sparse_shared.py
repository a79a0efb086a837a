"""Multi-task networks whose shared backbone becomes sparse (after "Less is More", arXiv 2308.12114)."""

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
    """Each seed's dense network, trained on for as long again while groups die.

    A network that begins sparse, as in the paper, has to find its features and to give channels up at the same time; in
    short trainings that costs much more than the tolerance that λ was found with.
    """
    dense = [Train(f"{method}/seed-{seed}", method, taps, seed) for seed in study.seeds]
    penalty = yield from penalty_for(study, dense[0])
    networks: list[Result] = []
    for training in dense:
        result = yield training
        name = f"sparse_{training.name}"
        result = yield Train(name, f"sparse_{method}", taps, training.seed, penalty, start=result["stage"])
        networks.append(result)
    return networks
