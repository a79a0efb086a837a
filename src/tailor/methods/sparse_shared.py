"""Multi-task networks whose shared backbone becomes sparse (after "Less is More", arXiv 2308.12114)."""

from collections.abc import Mapping

from tailor.methods.layers import layers
from tailor.methods.path import Path
from tailor.methods.sparsify import Sparsify
from tailor.methods.stage import Method, Result
from tailor.methods.study import Study
from tailor.methods.train import Train
from tailor.methods.workshop import Workshop
from tailor.sparsity import GroupLasso, Penalty


def sparse_multi_task(workshop: Workshop, study: Study) -> Method:
    """Every decoder at the end of the backbone, and groups of the backbone die."""
    return (yield from _sparse("multi_task", study, dict.fromkeys(workshop.task_names, workshop.end)))


def sparse_lomt(workshop: Workshop, study: Study) -> Method:
    """Each decoder at the layer that its task needs, and groups of what is left of the backbone die."""
    taps = yield from layers(workshop, study)
    return (yield from _sparse("lomt", study, taps))


def _sparse(method: str, study: Study, taps: Mapping[str, str]) -> Method:
    """Each seed's dense network, trained on while λ grows: the steps that the path of the first seed has found.

    A network that meets the whole λ at once loses much more than the tolerance that λ was found with.
    """
    dense = [Train(f"{method}/seed-{seed}", method, taps, seed) for seed in study.seeds]
    result = yield dense[0]
    given = study.penalty_of(method)
    if given is not None:
        penalties: list[Penalty | None] = [given]
        share = 1.0
    else:
        found = yield Path(f"path/{method}", result, study.path, study.rule)
        share = study.path.epochs
        penalties = [GroupLasso(strength) if strength else None for strength in found["strengths"]]
    networks: list[Result] = []
    for training in dense:
        result = yield training
        stage = f"sparse_{training.name}", f"sparse_{method}", taps, training.seed, result["stage"]
        result = yield Sparsify(*stage, tuple(penalties), share)
        networks.append(result)
    return networks
