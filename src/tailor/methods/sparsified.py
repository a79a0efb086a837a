"""Sparse networks out of dense ones: λ is found on the first, and grows by the same steps for the others."""

from collections.abc import Sequence

from tailor.methods.path import Path
from tailor.methods.sparsify import Sparsify
from tailor.methods.stage import Method, Result
from tailor.methods.study import Study
from tailor.methods.train import Train
from tailor.sparsity import GroupLasso


def sparsified(
    study: Study, name: str, method: str, dense: Sequence[Train], stages: Sequence[str], decoders: bool = False
) -> Method:
    """One sparse network for each dense training, all within about the tolerance that λ was found with.

    A network that meets the whole λ at once, from scratch or not, loses much more than that.

    Args:
        study: says how λ is found.
        name: of the path.
        method: the method that the sparse networks belong to.
        dense: trainings of the same network with several seeds.
        stages: names of the stages that make the others sparse, one for each of them but the first, whose sparse
            network the path itself leaves.
        decoders: whether groups of the decoders may die as well.

    Yields:
        The dense trainings, and what makes their networks sparse.
    """
    result = yield dense[0]
    found = yield Path(f"path/{name}", method, result, study.path, study.rule, decoders)
    penalties = tuple(GroupLasso(strength) if strength else None for strength in found["strengths"])
    networks: list[Result] = [found]
    for training, stage in zip(dense[1:], stages, strict=True):
        result = yield training
        one = yield Sparsify(
            stage, method, training.taps, training.seed, result["stage"], penalties, study.path, decoders
        )
        networks.append(one)
    return networks
