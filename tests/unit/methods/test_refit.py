"""Sparse networks that are trained on without a penalty: what stays dead, and which of them is taken."""

import pytest
import torch

from lomt.compaction import dead_groups
from lomt.methods import Refit, Setup, Sparsify, Train
from lomt.models import Architecture
from lomt.sparsity import GroupLasso, StrengthPath
from lomt.training import Recipe

SEARCH = StrengthPath(steps=2, epochs=1.0, lr=1.0, refit=1.0)


def silent(*_):
    """Hears of progress."""


@pytest.fixture
def made(shapes, tmp_path):
    """A setup, and a sparse network in it."""
    design, stages = Architecture("resnetd18", 4, 8, "light", 8), tmp_path
    shapes.setup()
    make = design.make_backbone, design.make_decoder()
    setup = Setup(shapes, shapes.tasks[:2], *make, Recipe(epochs=3), stages, "cpu")
    taps = dict.fromkeys(setup.task_names, setup.end)
    dense = Train("dense", "multi_task", taps, 0).run(setup, stages / "dense", silent)
    stage = Sparsify("sparse", "thin", taps, 0, dense["stage"], (GroupLasso(0.3),), SEARCH, True)
    return setup, stage.run(setup, stages / "sparse", silent)


def kernels(*networks):
    return zip(*([p.detach() for p in network.parameters() if p.ndim == 4] for network in networks), strict=True)


def run(setup, name, *candidates):
    return Refit(name, "thin", candidates, SEARCH).run(setup, setup.stages / name, silent)


@pytest.mark.parametrize("traced", [True, False])
def test_what_is_dead_stays_dead_and_what_lives_is_trained(made, monkeypatch, traced):
    setup, sparse = made
    name = f"refit-{traced}"
    if not traced:

        def refuse(*_, **__):
            raise ValueError("no graph")

        monkeypatch.setattr("lomt.training.skipping.compact", refuse)
    result = run(setup, name, sparse)
    before, after = (setup.trained(stage, sparse["taps"]) for stage in ("sparse", name))
    dead = dead_groups(before)
    assert any(groups.any() for weight, groups in dead.items() if weight.startswith("decoders"))
    found = dead_groups(after)
    assert all(bool(found[weight][groups].all()) for weight, groups in dead.items())
    alive = [parameter.ne(0) & parameter.ne(old) for parameter, old in kernels(after, before)]
    kept = [old.ne(0) for _, old in kernels(after, before)]
    assert sum(int(moved.sum()) for moved in alive) > 0.9 * sum(int(one.sum()) for one in kept)
    assert result["since_dense"] == sparse["since_dense"] + 3
    assert result["start"] == "sparse"
    assert result["excess"] == 0


def test_the_first_within_the_tolerance_is_taken(made):
    setup, sparse = made
    losses = {task: sparse["validation"][f"val_loss/{task}"] for task in sparse["taps"]}
    hard = sparse | {"reference": {task: loss / 100 for task, loss in losses.items()}}
    easy = sparse | {"reference": {task: loss * 100 for task, loss in losses.items()}, "strengths": [0.1]}
    result = run(setup, "several", hard, easy, sparse)
    assert [one["excess"] > 0.02 for one in result["refits"]] == [True, False]
    assert result["strengths"] == [0.1]
    assert result["excess"] == pytest.approx(
        sum(result["validation"][f"val_loss/{task}"] / loss for task, loss in easy["reference"].items()) / 2 - 1
    )
    # What has ended is not trained again, and the last one is taken in any case.
    files = sorted((setup.stages / "several").glob("*/refit.json"))
    times = [file.stat().st_mtime_ns for file in files]
    assert run(setup, "several", hard, easy, sparse) == result
    assert [file.stat().st_mtime_ns for file in files] == times
    assert run(setup, "last", hard)["excess"] > 0.02
    weights = [setup.trained(stage, sparse["taps"]).state_dict() for stage in ("several", "several/step-1")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
