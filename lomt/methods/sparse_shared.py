"""Multi-task networks that become sparse (after "Less is More", arXiv 2308.12114): the backbone and the decoders.

The paper's decoders are dense. But where they are as large as here, half of the network would be left as it is, and
what a tap gives them could never die.
"""

from collections.abc import Mapping

from lomt.methods.layers import layers
from lomt.methods.path import Path, networks_of
from lomt.methods.refit import Refit
from lomt.methods.setup import Setup
from lomt.methods.sparsify import Sparsify, group_lassos
from lomt.methods.stage import Method, Parallel, Result
from lomt.methods.study import Study
from lomt.methods.train import Train
from lomt.sparsity import Penalty, StrengthPath

SHARED = ("multi_task", "lomt")
"""Methods whose networks have a sparse form, with a λ of its own."""

ON_ITS_WAY = ", penalized"
"""How the method of a network ends that is still to be refitted."""


def sparse_multi_task(setup: Setup, study: Study) -> Method:
    """Every decoder at the end of the backbone, and groups die."""
    return (yield from _sparse("multi_task", study, dict.fromkeys(setup.task_names, setup.end)))


def sparse_lomt(setup: Setup, study: Study) -> Method:
    """Each decoder at the layer that its task needs, and groups of what is left die."""
    taps = yield from layers(setup, study)
    return (yield from _sparse("lomt", study, taps))


def shared_path(start: str, dense: Result, study: Study) -> Path:
    """The stage that makes a shared network sparse while λ grows.

    Args:
        start: the method whose network it is.
        dense: that network's result.
        study: says how λ grows.
    """
    return Path(f"path/{start}", penalized(start), dense, study.path, study.rule, decoders=True)


def penalized(start: str) -> str:
    """What a method's network is called on its way from dense to sparse."""
    return f"sparse_{start}{ON_ITS_WAY}"


def _sparse(start: str, study: Study, taps: Mapping[str, str]) -> Method:
    """Each seed's dense network, trained on while groups die, and then without a penalty.

    With a given λ for one more training; else while λ grows, for the first seed on a path and for the others by the
    steps to the λ that was chosen in the end.
    """
    method = f"sparse_{start}"
    trainings = [Train(f"{start}/seed-{seed}", start, taps, seed) for seed in study.seeds]
    penalty = study.penalty_of(start)
    penalties: tuple[Penalty | None, ...] = (penalty,)
    search: StrengthPath | None = None
    networks: list[Result] = []
    if penalty is None:
        dense = yield trainings[0]
        path = yield shared_path(start, dense, study)
        network = yield Refit(f"{method}/seed-{dense['seed']}", method, networks_of(path), study.path)
        networks.append(network)
        penalties, search = group_lassos(network["strengths"]), study.path

    def sparse(training: Train) -> Method:
        dense = yield training
        name = f"penalized/{start}/seed-{training.seed}"
        sparse = yield Sparsify(
            name, penalized(start), taps, training.seed, dense["stage"], penalties, search, decoders=True
        )
        return (yield Refit(f"{method}/seed-{training.seed}", method, (sparse,), study.path))

    rest = yield Parallel(tuple(sparse(training) for training in trainings[len(networks) :]))
    return [*networks, *rest]
