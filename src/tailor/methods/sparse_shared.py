"""Multi-task networks that become sparse (after "Less is More", arXiv 2308.12114): the backbone and the decoders.

The paper's decoders are dense. But where they are as large as here, half of the network would be left as it is, and
what a tap gives them could never die.
"""

from collections.abc import Mapping

from tailor.methods.layers import layers
from tailor.methods.sparsified import sparsified
from tailor.methods.sparsify import Sparsify
from tailor.methods.stage import Method, Result
from tailor.methods.study import Study
from tailor.methods.train import Train
from tailor.methods.workshop import Workshop


def sparse_multi_task(workshop: Workshop, study: Study) -> Method:
    """Every decoder at the end of the backbone, and groups die."""
    return (yield from _sparse("multi_task", study, dict.fromkeys(workshop.task_names, workshop.end)))


def sparse_lomt(workshop: Workshop, study: Study) -> Method:
    """Each decoder at the layer that its task needs, and groups of what is left die."""
    taps = yield from layers(workshop, study)
    return (yield from _sparse("lomt", study, taps))


def _sparse(start: str, study: Study, taps: Mapping[str, str]) -> Method:
    """Each seed's dense network, trained on: with a given λ as long again, else while λ grows."""
    method = f"sparse_{start}"
    trainings = [Train(f"{start}/seed-{seed}", start, taps, seed) for seed in study.seeds]
    stages = [f"{method}/seed-{seed}" for seed in study.seeds]
    penalty = study.penalty_of(start)
    if penalty is None:
        return (yield from sparsified(study, start, method, trainings, stages[1:], decoders=True))
    networks: list[Result] = []
    for training, stage in zip(trainings, stages, strict=True):
        result = yield training
        one = yield Sparsify(stage, method, taps, training.seed, result["stage"], (penalty,), None, decoders=True)
        networks.append(one)
    return networks
