"""The rules on made-up evidence: what applies, what does not, and in which order."""

import pytest
import torch

from lomt.diagnosis import (
    Evidence,
    Gradients,
    LayerGradients,
    Pair,
    ProbeCurve,
    Standing,
    causes,
    command,
    remedies,
    standings,
)
from lomt.diagnosis.causes import best_tap
from lomt.diagnosis.remedies import Remedy, Setting
from lomt.evaluation import Spread
from lomt.tasks import Edges, Segmentation

TAPS = ("a", "b", "c")
SETTING = Setting(("seg", "edges"), {"seg": "c", "edges": "c"}, "uncertainty", "resnetd18", 16, 32, 0.01, (0,))


def products(cosine, ratio=1.0, batches=4):
    """Two tasks at one layer: the first one's gradient is ``ratio`` times the other's."""
    one = torch.tensor([[ratio**2, cosine * ratio], [cosine * ratio, 1.0]], dtype=torch.float64)
    return one.repeat(batches, 1, 1)


def curve(*losses, blank=1.0, spread=0.001):
    seeds = tuple((loss - spread, loss, loss + spread) for loss in losses)
    return ProbeCurve("seg", TAPS[: len(losses)], seeds, (blank,) * 3)


FLAT = curve(0.5, 0.5, 0.5)


def evidence(cosine=0.2, ratio=1.0, alone=FLAT, shared=FLAT, training=(0.5, 0.5), validation=(0.5, 0.5), tap="c"):
    layer = LayerGradients("layer1.0.conv1", 1000, products(cosine, ratio))
    standing = Standing("seg", Spread(-5.0, None, 1), {}, Pair(*training), Pair(*validation))
    measured = Gradients(("seg", "edges"), (layer,), 4, 32)
    return Evidence(standing, measured, {"seg": 1.0, "edges": 1.0}, tap, shared, alone)


def kinds(**planted):
    return [cause.kind for cause in causes(evidence(**planted))]


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ({}, ["unknown"]),
        ({"cosine": -0.05}, ["unknown"]),
        ({"cosine": -0.6}, ["conflict"]),
        ({"ratio": 0.4}, ["unknown"]),
        ({"ratio": 0.3}, ["imbalance"]),
        ({"ratio": 0.01}, ["imbalance"]),
        ({"alone": curve(0.4, 0.5, 0.5)}, ["too deep"]),
        ({"shared": curve(0.4, 0.5, 0.5)}, ["too deep"]),
        ({"alone": curve(0.495, 0.5, 0.5)}, ["unknown"]),
        ({"alone": curve(0.4, 0.5, 0.5, spread=0.2)}, ["too deep"]),
        ({"alone": curve(0.9, 0.6, 0.4), "tap": "a"}, ["too shallow"]),
        ({"alone": curve(0.5, 0.45, 0.4), "tap": "a"}, ["unknown"]),
        ({"training": (0.5, 0.6)}, ["capacity"]),
        ({"training": (0.5, 0.5), "validation": (0.5, 0.6)}, ["generalization"]),
        ({"cosine": -0.6, "training": (0.5, 0.6)}, ["conflict", "capacity"]),
        ({"cosine": -0.6, "ratio": 0.01}, ["imbalance", "conflict"]),
    ],
)
def test_each_rule_applies_where_it_should(planted, expected):
    assert kinds(**planted) == expected


def test_differences_that_seeds_explain_are_none():
    wide = ProbeCurve("seg", TAPS, ((0.1, 0.5, 0.6), (0.5, 0.5, 0.5), (0.5, 0.4, 0.6)), (1.0,) * 3)
    assert kinds(alone=wide) == ["unknown"]
    assert best_tap(wide) == 0


def test_of_places_that_can_not_be_told_apart_the_first_is_best():
    assert best_tap(ProbeCurve("seg", TAPS, ((0.9, 0.9), (0.5, 0.42), (0.45, 0.45)), (1.0, 1.0))) == 1


def test_every_cause_has_its_figures():
    for planted in ({"cosine": -0.6}, {"ratio": 0.01}, {"alone": curve(0.4, 0.5, 0.5)}, {"training": (0.5, 0.6)}):
        (cause,) = causes(evidence(**planted))
        assert any(sign.isdigit() for sign in cause.evidence)
        assert 0 < cause.weight <= 1


@pytest.mark.parametrize("kind", ["conflict", "imbalance", "too deep", "capacity", "generalization", "unknown"])
def test_every_cause_has_something_to_try(kind):
    planted = {
        "conflict": {"cosine": -0.6},
        "imbalance": {"ratio": 0.01},
        "too deep": {"alone": curve(0.4, 0.5, 0.5)},
        "capacity": {"training": (0.5, 0.6)},
        "generalization": {"validation": (0.5, 0.6)},
        "unknown": {},
    }[kind]
    (cause,) = causes(evidence(**planted))
    assert cause.kind == kind
    found = remedies("seg", cause, SETTING)
    assert found
    assert all(remedy.options for remedy in found)


def test_a_command_is_quoted(tmp_path):
    said = command(tmp_path / "my run", Remedy("", {"study.taps": "{seg: a}"}, "x"))
    assert said.startswith(f"lomt run -c '{tmp_path}/my run/config.yaml' --study.taps '{{seg: a}}' --out ")


def result(method, seed, **figures):
    return {"method": method, "seed": seed, "taps": {"seg": "c"}, "validation": figures}


def figures(miou, training=0.5, validation=0.5):
    return {"seg/mIoU": miou, "train_loss/seg": training, "val_loss/seg": validation}


def test_seeds_are_compared_pair_by_pair():
    alone = [result("single_task", seed, **figures(miou)) for seed, miou in ((0, 0.4), (1, 0.5))]
    together = [result("multi_task", seed, **figures(miou)) for seed, miou in ((1, 0.45), (0, 0.38))]
    (standing,) = standings([Segmentation("seg", 2)], together, alone)
    assert standing.gain.mean == pytest.approx(-7.5)
    assert standing.gain.count == 2
    assert standing.metrics["mIoU"].alone == pytest.approx(0.45)
    assert standing.loses


@pytest.mark.parametrize(("mious", "loses"), [((0.398, 0.397), False), ((0.30, 0.45), False), ((0.36, 0.37), True)])
def test_a_loss_counts_beyond_a_percent_and_beyond_its_spread(mious, loses):
    alone = [result("single_task", seed, **figures(0.4)) for seed in (0, 1)]
    together = [result("multi_task", seed, **figures(miou)) for seed, miou in enumerate(mious)]
    (standing,) = standings([Segmentation("seg", 2)], together, alone)
    assert standing.loses == loses


def test_where_the_baseline_has_learned_nothing_the_loss_decides():
    alone, together = result("single_task", 0, **figures(0.0)), result("multi_task", 0, **figures(0.1, validation=0.6))
    (standing,) = standings([Segmentation("seg", 2)], [together], [alone])
    assert standing.gain is None
    assert standing.loses


def test_a_task_that_was_not_trained_alone_is_named():
    with pytest.raises(ValueError, match="'edges' was not trained alone – add the method single_task"):
        standings([Edges("edges")], [], [result("single_task", 0, **figures(0.4))])
