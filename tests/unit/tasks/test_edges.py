import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt.tasks import Edges
from lomt.tasks.metrics.edges import TOLERANCE, dilate


def reference_f(probability, truth):
    """Best F-measure: every threshold by itself, every pair of a guess and an edge by its distance."""
    radius = TOLERANCE * math.hypot(*truth.shape[-2:])
    best = 0.0
    for threshold in (torch.arange(1, 100) / 100).numpy():
        right = predicted = found = true = 0
        for p, t in zip(probability[:, 0], truth[:, 0], strict=True):
            edges, guesses = np.argwhere(t == 1), np.argwhere((p >= threshold) & ~np.isnan(t))
            close = np.linalg.norm(guesses[:, None] - edges[None], axis=2) <= radius
            predicted, true = predicted + len(guesses), true + len(edges)
            right, found = right + close.any(1).sum(), found + close.any(0).sum()
        if right and found:
            precision, recall = right / predicted, found / true
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


@settings(max_examples=10, deadline=None)
@given(size=st.sampled_from([(5, 6), (3, 270), (140, 2)]), share=st.sampled_from([0.0, 0.2]), seed=st.integers(0, 99))
def test_ods_agrees_with_brute_force(size, share, seed):
    """Tolerances of less than one pixel, of one (140 × 2) and of two (3 × 270)."""
    torch.manual_seed(seed)
    truth = (torch.rand(2, 1, *size) < 0.05).float()
    truth[0, 0, 0, 0] = 1
    output = 2 * torch.randn_like(truth) + 2 * truth
    truth[torch.rand_like(truth) < share] = torch.nan
    truth[0, 0, 0, 0] = 1
    metrics = Edges("edges").metrics()
    metrics.update(output, truth)
    expected = reference_f(output.sigmoid().numpy(), truth.numpy())
    assert metrics.compute()["ODS_F"].item() == pytest.approx(expected, abs=1e-6)


@given(radius=st.floats(0, 9), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_dilation_is_the_maximum_over_a_disk(radius, seed):
    torch.manual_seed(seed)
    map_ = torch.rand(1, 1, 6, 7)
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    found = dilate(map_, radius)
    for i in range(6):
        for j in range(7):
            disk = (rows - i) ** 2 + (columns - j) ** 2 <= radius**2
            assert found[0, 0, i, j] == map_[0, 0][disk].max()


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (1, 1.0), (2, 0.0)])
def test_edges_match_within_the_tolerance_and_no_farther(shift, expected):
    truth = torch.zeros(1, 1, 96, 128)  # tolerance 1.2 pixels
    truth[..., 60] = 1
    output = 20 * torch.roll(truth, shift, dims=-1) - 10
    metrics = Edges("edges").metrics()
    metrics.update(output, truth)
    assert metrics.compute()["ODS_F"].item() == pytest.approx(expected)


def test_a_probability_equal_to_a_threshold_reaches_it():
    truth = torch.zeros(1, 1, 4, 8)
    truth[..., 3] = 1
    metrics = Edges("edges").metrics()
    metrics.update(torch.where(truth > 0, 0.5, 0.495).logit(), truth)
    assert metrics.compute()["ODS_F"] == 1


def test_one_threshold_serves_the_whole_split():
    """Two images whose best thresholds differ: the best for both together is worse than the mean of the bests."""
    truth = torch.zeros(2, 1, 4, 8)
    truth[:, :, :, 3] = 1
    level = torch.where(truth > 0, torch.tensor([0.3, 0.9]).view(2, 1, 1, 1), torch.tensor([0.1, 0.6]).view(2, 1, 1, 1))
    metrics = Edges("edges").metrics()
    metrics.update(level.logit(), truth)
    # At most .1: all 64 pixels, recall 1. Up to .3: 4 + 32 pixels, recall 1. Up to .6: 32, recall ½. Up to .9: 4, ½.
    choices = [(8 / 64, 1), (8 / 36, 1), (4 / 32, 0.5), (1, 0.5)]
    expected = max(2 * p * r / (p + r) for p, r in choices)
    assert metrics.compute()["ODS_F"].item() == pytest.approx(expected)


def test_no_edge_anywhere_leaves_ods_undefined_and_the_error_defined():
    metrics = Edges("edges").metrics()
    metrics.update(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    found = metrics.compute()
    assert found["ODS_F"].isnan()
    assert found["MAE"] == 0.5


def test_loss_weighs_both_kinds_alike():
    torch.manual_seed(0)
    output, truth = torch.randn(2, 1, 5, 6), (torch.rand(2, 1, 5, 6) < 0.1).float()
    truth[1, 0, 0] = torch.nan
    truth[0, 0, 0, 0] = 1
    p = output.double().sigmoid()
    expected = (-p[truth == 1].log().mean() - (1 - p[truth == 0]).log().mean()) / 2
    assert Edges("edges").loss(output, truth).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_loss_of_one_kind_alone_is_its_mean(value):
    output = torch.randn(1, 1, 3, 3)
    sign = 1 if value else -1
    expected = -torch.nn.functional.logsigmoid(sign * output).mean()
    torch.testing.assert_close(Edges("edges").loss(output, torch.full_like(output, value)), expected)


@pytest.mark.parametrize("value", [0.5, 255.0, -1.0, math.inf])
def test_labels_are_zero_or_one(value):
    target = torch.zeros(1, 3, 4)
    target[0, 2, 1] = value
    with pytest.raises(ValueError, match=rf"e\.png: edge label {value:g} at row 2, column 1"):
        Edges("edges").check(target, "e.png")
