"""Stopping rules are functions of the history."""

from itertools import pairwise
from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lomt.training.stopping import Patience, StableSparsity, TargetSparsity


def rows(losses=None, sparsities=None):
    count = len(losses or sparsities)
    losses, sparsities = losses or [1.0] * count, sparsities or [0.0] * count
    return [
        {"epoch": epoch + 1, "val_loss/seg": loss / 2, "val_loss/depth": loss / 2, "sparsity": sparsity}
        for epoch, (loss, sparsity) in enumerate(zip(losses, sparsities, strict=True))
    ]


@pytest.mark.parametrize(("losses", "stops"), [([3, 2, 2, 2], True), ([3, 2, 2, 1], False), ([3, 2, 1], False)])
def test_patience_counts_epochs_since_the_best(losses, stops):
    assert (Patience(2).reason(rows(losses)) is not None) == stops


@given(units=st.tuples(*[st.floats(1e-6, 1e6)] * 2), losses=st.lists(st.tuples(*[st.floats(0.1, 10)] * 2), min_size=1))
def test_patience_knows_no_units(units, losses):
    def history(scales):
        return [
            {"epoch": epoch, "sparsity": 0.0}
            | {f"val_loss/{task}": loss * scale for task, loss, scale in zip("ab", pair, scales, strict=True)}
            for epoch, pair in enumerate(losses, 1)
        ]

    means = [sum(loss / start for loss, start in zip(pair, losses[0], strict=True)) for pair in losses]
    assume(min(abs(one - other) for one, other in pairwise(sorted([*means, inf]))) > 1e-9)
    waited = len(losses) - 1 - means.index(min(means))
    for epochs in (waited, waited + 1):
        assert (Patience(epochs).reason(history(units)) is not None) == (epochs <= waited)


def test_patience_with_a_loss_below_zero():
    falling, rising = (
        [{"epoch": n, "val_loss/a": loss, "sparsity": 0.0} for n, loss in enumerate(losses, 1)]
        for losses in ((-1.0, -2.0, -3.0), (-3.0, -2.0, -1.0))
    )
    assert Patience(2).reason(falling) is None
    assert "epoch 1 for 2 epochs" in Patience(2).reason(rising)


def test_patience_counts_epochs_that_were_not_validated():
    history = rows([3.0, 2.0])
    assert Patience(2).reason([*history, {"epoch": 3, "sparsity": 0.0}]) is None
    assert Patience(2).reason([*history, {"epoch": 3, "sparsity": 0.0}, {"epoch": 4, "sparsity": 0.0}]) is not None
    assert Patience(2).reason([{"epoch": 9, "sparsity": 0.0}]) is None


def test_stable_sparsity_does_not_count_before_sparsity_has_begun():
    assert StableSparsity(3).reason(rows(sparsities=[0.0] * 30)) is None
    assert StableSparsity(3).reason(rows(sparsities=[0.0, 0.2, 0.4, 0.4004])) is None
    assert StableSparsity(3).reason(rows(sparsities=[0.0, 0.2, 0.4, 0.4004, 0.4, 0.4])) is not None


def test_target_sparsity():
    assert TargetSparsity(0.5).reason(rows(sparsities=[0.2, 0.49])) is None
    assert "target 50.0%" in TargetSparsity(0.5).reason(rows(sparsities=[0.2, 0.5]))
