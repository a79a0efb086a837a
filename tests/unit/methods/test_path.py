"""The path of λ of a shared network: where it begins."""

import pytest

from lomt.methods import Path, Setup, Train
from lomt.models import Architecture
from lomt.selection import DeepestActive
from lomt.sparsity import StrengthPath
from lomt.tasks import Depth, Segmentation
from lomt.training import Recipe

SEARCH = StrengthPath(steps=2, epochs=1.0)


class Millimetres(Depth):
    """Depth whose loss is a thousand times as large."""

    def loss(self, prediction, target):
        return 1000 * super().loss(prediction, target)


def silent(*_):
    """Hears of progress."""


def walked(shapes, folder, depth, balancing):
    """The path of a network for segmentation and depth, after a first training."""
    design = Architecture("resnetd18", 4, 8, "light", 8)
    make = design.make_backbone, design.make_decoder()
    recipe = Recipe(epochs=2, balancing=balancing)
    setup = Setup(shapes, [Segmentation("seg", 2), depth], *make, recipe, folder, "cpu")
    dense = Train("dense", "multi_task", dict.fromkeys(setup.task_names, setup.end), 0)
    result = dense.run(setup, folder / "dense", silent)
    return Path("path", "thin", result, SEARCH, DeepestActive()).run(setup, folder / "path", silent)


@pytest.mark.parametrize("balancing", ["geometric", "equal"])
def test_a_path_begins_at_a_share_of_the_loss_as_training_weighs_it(shapes, tmp_path, balancing):
    shapes.setup()
    path = walked(shapes, tmp_path, Depth("depth"), balancing)
    found = path["points"][0]["strength"] / SEARCH.start
    if balancing == "geometric":  # which divides each loss by its mean over an epoch's training batches
        assert 1 < found < 4
    else:
        assert found == pytest.approx(sum(path["reference"].values()))


def test_a_loss_in_other_units_has_the_same_path(shapes, tmp_path):
    shapes.setup()
    metres, millimetres = (
        walked(shapes, tmp_path / str(number), depth, "geometric")
        for number, depth in enumerate((Depth("depth"), Millimetres("depth")))
    )
    assert millimetres["reference"]["depth"] == pytest.approx(1000 * metres["reference"]["depth"], rel=0.05)
    found = [path["points"][0]["strength"] for path in (metres, millimetres)]
    assert found[0] == pytest.approx(found[1], rel=0.05)
