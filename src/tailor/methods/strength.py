"""The penalty of a sparse training: as the study says, or found on a path."""

from collections.abc import Generator

from tailor.methods.path import Path
from tailor.methods.stage import Result, Stage
from tailor.methods.study import Study
from tailor.methods.train import Train
from tailor.sparsity import GroupLasso, Penalty


def penalty_for(study: Study, dense: Train) -> Generator[Stage, Result, Penalty]:
    """What makes groups of a network die.

    Args:
        study: gives λ, or says how to find it.
        dense: the dense training of the same task; it is only asked for where λ must be found.

    Yields:
        Nothing for a λ that is given; the dense training and the path for one that is not.
    """
    (name,) = dense.taps
    given = study.penalty_of(name)
    if given is not None:
        return given
    result = yield dense
    found = yield Path(f"path/{name}", result, study.path, study.rule)
    return GroupLasso(found["strength"])
