"""A network that is trained on with a penalty: how, and what may die."""

from types import SimpleNamespace

import pytest
import torch

from lomt.methods import Setup, Sparsify, Train
from lomt.methods.sparsify import step_recipe
from lomt.models import Architecture
from lomt.sparsity import GroupLasso, StrengthPath
from lomt.training import Recipe, spent


@pytest.mark.parametrize(("own", "after"), [(None, 4), (2, 2)])
def test_a_step_is_short_and_gentle_and_keeps_dead_what_is_dead_in_its_middle(own, after):
    whole = Recipe(epochs=30, lr=2e-3, freeze_after=own)
    found = step_recipe(SimpleNamespace(recipe=whole), StrengthPath(epochs=0.25, lr=0.25))
    assert (found.epochs, found.lr, found.freeze_after) == (7, 5e-4, after)


@pytest.mark.parametrize(("patience", "last"), [(0, True), (3, False)])
def test_a_step_is_validated_where_somebody_looks(patience, last):
    whole = Recipe(epochs=30, patience=patience)
    assert step_recipe(SimpleNamespace(recipe=whole), StrengthPath()).validate_last_only == last


@pytest.fixture
def setup(shapes, tmp_path):
    design = Architecture("resnetd18", 4, 8, "light", 8)
    shapes.setup()
    make = design.make_backbone, design.make_decoder()
    return Setup(shapes, shapes.tasks[:2], *make, Recipe(epochs=4), tmp_path, "cpu")


def silent(*_):
    """Hears of progress."""


@pytest.mark.parametrize("decoders", [False, True])
def test_decoders_lose_groups_only_where_they_may(setup, tmp_path, decoders):
    taps = dict.fromkeys(setup.task_names, setup.end)
    dense = Train("dense", "multi_task", taps, 0).run(setup, tmp_path / "dense", silent)
    search = StrengthPath(steps=2, epochs=1.0, lr=1.0)
    stage = Sparsify("sparse", "sparse", taps, 0, dense["stage"], (None, GroupLasso(0.3)), search, decoders)
    result = stage.run(setup, tmp_path / "sparse", silent)
    network = setup.trained("sparse", taps)
    inputs = [layer.weight for layer in network.decoders.modules() if isinstance(layer, torch.nn.Conv2d)]
    dead = [bool((weight == 0).all(dim=(0, 2, 3)).any()) for weight in inputs]
    assert any(dead) == decoders
    assert result["validation"]["sparsity"] > 0
    last = spent(tmp_path / "sparse/step-1")
    assert 0 < last < result["seconds"] + 0.1, "of all steps together"
    assert result["seconds"] == pytest.approx(spent(tmp_path / "sparse/step-0") + last, abs=0.06)
    assert result["epochs"] == 8
