"""The loop: it learns, it repeats itself, it goes on where it was broken off, it says when a loss is lost."""

import csv
import math
import signal

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from lomt.interrupts import Terminated
from lomt.models import Network, decoder
from lomt.sparsity import GroupLasso, pattern
from lomt.training import CHECKPOINT, Recipe, TrainingDivergedError, fit, seed_everything
from tests.unit.training.history import timeless

RECIPE = Recipe(epochs=4, lr=5e-3)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        return self.conv2(self.relu(self.conv1(x)))


def network(source, tasks=None):
    seed_everything("test")
    chosen = [task for task in source.tasks if tasks is None or task.name in tasks]
    return Network(Backbone(), chosen, {task.name: "conv2" for task in chosen}, decoder("light", width=8))


def weights(net):
    return torch.cat([value.flatten().float() for value in net.state_dict().values()])


class StoppedError(Exception):
    pass


def interrupt_after(epochs):
    def progress(done, _):
        if done > epochs / RECIPE.epochs:
            raise StoppedError

    return progress


def test_it_learns_every_task(shapes):
    fitted = fit(network(shapes), shapes, RECIPE)
    first, last = fitted.history[0], fitted.history[-1]
    for task in shapes.tasks:
        assert last[f"train_loss/{task.name}"] < first[f"train_loss/{task.name}"]


def test_the_same_seed_gives_the_same_weights_and_another_one_others(shapes):
    first, again, other = network(shapes), network(shapes), network(shapes)
    fit(first, shapes, RECIPE, seed=1)
    torch.rand(7)  # what was drawn before does not matter
    fit(again, shapes, RECIPE, seed=1)
    fit(other, shapes, RECIPE, seed=2)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("epochs", [0.4, 1.0, 2.7])
@pytest.mark.parametrize("balancing", ["uncertainty", "dwa"])
def test_a_broken_training_ends_as_an_unbroken_one(shapes, tmp_path, epochs, balancing):
    recipe, penalty = Recipe(epochs=RECIPE.epochs, lr=5e-3, balancing=balancing), GroupLasso(1e-2)
    whole, broken, resumed = network(shapes), network(shapes), network(shapes)
    expected = fit(whole, shapes, recipe, penalty=penalty, folder=tmp_path / "whole")
    with pytest.raises(StoppedError):
        fit(broken, shapes, recipe, penalty=penalty, folder=tmp_path / "broken", progress=interrupt_after(epochs))
    found = fit(resumed, shapes, recipe, penalty=penalty, folder=tmp_path / "broken")
    assert torch.equal(weights(whole), weights(resumed))
    assert timeless(found.history) == timeless(expected.history)
    files = [csv.DictReader((tmp_path / name / "metrics.csv").read_text().splitlines()) for name in ("whole", "broken")]
    assert timeless(files[0]) == timeless(files[1])


def test_a_checkpoint_of_the_last_epoch_is_the_end(shapes, tmp_path):
    whole, resumed = network(shapes), network(shapes)
    expected = fit(whole, shapes, RECIPE, folder=tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    found = fit(resumed, shapes, RECIPE, folder=tmp_path)
    assert torch.equal(weights(whole), weights(resumed))
    assert timeless(found.history) == timeless(expected.history)


def test_metrics_csv_has_a_row_an_epoch(shapes, tmp_path):
    recipe = Recipe(epochs=3)
    fit(network(shapes), shapes, recipe, folder=tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(0 <= float(row["seg/mIoU"]) <= 1 for row in rows)


def test_a_strong_penalty_kills_groups_and_they_are_exactly_zero(shapes):
    net = network(shapes)
    fitted = fit(net, shapes, RECIPE, penalty=GroupLasso(0.1))
    assert fitted.history[-1]["sparsity"] == pattern(net.backbone).sparsity > 0
    dead = [not alive for alive in pattern(net.backbone).layers[1].alive]
    assert torch.all(net.backbone.get_submodule("conv2").weight[:, dead] == 0)


def test_target_sparsity_stops_at_the_target_and_a_resumed_training_stays_there(shapes, tmp_path):
    recipe = Recipe(epochs=8, lr=2e-2, schedule="constant", target_sparsity=0.3)
    fitted = fit(network(shapes), shapes, recipe, penalty=GroupLasso(0.1), folder=tmp_path)
    assert fitted.stopped is not None
    assert "target" in fitted.stopped
    assert len(fitted.history) < 8
    again = fit(network(shapes), shapes, recipe, penalty=GroupLasso(0.1), folder=tmp_path)
    assert timeless(again.history) == timeless(fitted.history)


def test_a_loss_that_is_lost_is_named_and_the_last_checkpoint_kept(shapes, tmp_path):
    net = network(shapes, ["depth"])
    with torch.no_grad():
        next(net.decoders.parameters()).fill_(math.nan)
    with pytest.raises(TrainingDivergedError, match=r"'depth' became nan in epoch 1, batch 1.*lower learning rate"):
        fit(net, shapes, RECIPE, folder=tmp_path)


def test_a_task_without_labels_in_the_data_trains_the_others(shapes):
    arrays = {split: shapes.samples(split) for split in ("train", "validation", "test")}
    shapes.samples = lambda split: arrays[split]._replace(
        arrays={key: value for key, value in arrays[split].arrays.items() if key != "depth"}
    )
    fitted = fit(network(shapes), shapes, RECIPE)
    assert "train_loss/depth" not in fitted.history[-1]
    assert "train_loss/seg" in fitted.history[-1]


@pytest.mark.parametrize("settings", [{"accumulate": 2}, {"clip": 0.1}, {"precision": "bf16-mixed"}])
def test_groups_die_exactly_under_accumulation_clipping_and_mixed_precision(shapes, settings):
    net = network(shapes, ["seg"])
    fit(net, shapes, Recipe(epochs=4, lr=1e-2, **settings), penalty=GroupLasso(0.3))
    assert pattern(net.backbone).sparsity > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "recipe.epochs is 0"),
        ({"lr": -1.0}, "recipe.lr is -1.0"),
        ({"epochs": 2.5}, "recipe.epochs is 2.5: use a whole number"),
        ({"patience": 0.5}, "recipe.patience is 0.5: use a whole number"),
        ({"lr": math.nan}, "recipe.lr is nan"),
        ({"weight_decay": math.nan}, "recipe.weight_decay is nan"),
        ({"warmup": 1.0}, "recipe.warmup is 1.0"),
        ({"warmup": math.nan}, "recipe.warmup is nan"),
        ({"clip": -1.0}, "recipe.clip is -1.0"),
    ],
)
def test_a_recipe_refuses_what_can_not_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_a_warm_up_of_exactly_one_step_begins_at_the_top(shapes):
    fitted = fit(network(shapes), shapes, Recipe(epochs=1, warmup=1 / 3, lr=1e-3))  # of three steps
    assert fitted.history[0]["lr"] < 1e-3


def test_unknown_balancing_names_what_there_is(shapes):
    with pytest.raises(ValueError, match="unknown balancing 'gradnorm' – there are equal, uncertainty, dwa"):
        fit(network(shapes), shapes, Recipe(balancing="gradnorm"))


class Stumbling(pl.Callback):
    """Raises while the trainer is closed, as Lightning itself does where it is stopped between two batches."""

    def on_exception(self, *_):
        raise RuntimeError("please call iter first")


@pytest.mark.parametrize("callbacks", [(), (Stumbling(),)])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, Terminated])
def test_what_stops_a_training_is_what_is_raised(shapes, stop, callbacks):
    def progress(*_):
        raise stop

    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(stop):
        fit(network(shapes), shapes, RECIPE, progress=progress, callbacks=callbacks)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_error_of_a_training_that_is_retried_after_ctrl_c_is_that_error(shapes):
    def progress(*_):
        raise StoppedError

    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        with pytest.raises(StoppedError):
            fit(network(shapes), shapes, RECIPE, progress=progress)
