import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt.tasks import Depth

KERNEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=np.float64)


def raw_for(task, metres):
    """The raw output that stands for given metres."""
    scaled = (metres.double() - 1e-3) / task.typical
    return scaled.expm1().log() - math.log(math.e - 1)


def reference_loss(depth, truth):
    """The loss as in the paper, pixel by pixel in float64, less its value at 0."""
    logs, gradients, normals = [], [], []
    height, width = truth.shape[-2:]
    for d, g in zip(depth[:, 0], truth[:, 0], strict=True):
        for i in range(height):
            for j in range(width):
                if not np.isnan(g[i, j]):
                    logs.append(np.log(abs(d[i, j] - g[i, j]) + 0.5) - np.log(0.5))
                window = (slice(i - 1, i + 2), slice(j - 1, j + 2))
                if not (0 < i < height - 1 and 0 < j < width - 1) or np.isnan(g[window]).any():
                    continue
                slopes = {
                    name: (np.sum(KERNEL * map_[window]), np.sum(KERNEL.T * map_[window]))
                    for name, map_ in (("d", d), ("g", g), ("e", d - g))
                }
                gradients.append(sum(np.log(abs(s) + 0.5) - np.log(0.5) for s in slopes["e"]))
                a, b = (np.array([-slopes[name][0], -slopes[name][1], 1]) for name in "dg")
                normals.append(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    return sum(np.mean(terms) if terms else 0.0 for terms in (logs, gradients, normals))


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 7), width=st.integers(1, 7), share=st.sampled_from([0, 0.05, 0.4]), seed=st.integers(0, 99)
)
def test_loss_agrees_with_the_paper(height, width, share, seed):
    torch.manual_seed(seed)
    task = Depth("depth")
    output = torch.randn(2, 1, height, width, dtype=torch.float64)
    truth = 0.3 + 5 * torch.rand(2, 1, height, width, dtype=torch.float64)
    truth[torch.rand(truth.shape) < share] = torch.nan
    expected = reference_loss(task.prediction(output).numpy(), truth.numpy())
    assert task.loss(output, truth).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_perfect_depth_costs_nothing():
    task = Depth("depth", typical=2.0)
    truth = (0.5 + 9 * torch.rand(2, 1, 8, 9)).double()
    output = raw_for(task, truth)
    assert task.loss(output, truth).item() == pytest.approx(0, abs=1e-12)
    metrics = task.metrics()
    metrics.update(output.float(), truth.float())
    found = metrics.compute()
    assert all(found[key] < 1e-5 for key in ("MAE", "RMSE", "AbsRel"))
    assert all(found[key] == 1 for key in ("delta1", "delta2", "delta3"))


def test_missing_depth_does_not_leak_through_its_neighbours():
    """What lies under a gap has no influence on the loss, and gets no gradient."""
    task = Depth("depth")
    torch.manual_seed(0)
    output = torch.randn(1, 1, 9, 9).requires_grad_()
    truth = 1 + torch.rand(1, 1, 9, 9)
    truth[..., 4, 4] = torch.nan
    task.loss(output, truth).backward()
    assert output.grad.isfinite().all()
    assert output.grad[..., 4, 4] == 0
    assert (output.grad != 0).sum() == 80


def test_metrics_agree_with_numpy():
    torch.manual_seed(0)
    task = Depth("depth")
    output, truth = torch.randn(4, 1, 6, 8), 0.5 + 6 * torch.rand(4, 1, 6, 8)
    truth[torch.rand(truth.shape) < 0.3] = torch.nan
    metrics = task.metrics()
    metrics.update(output, truth)
    found = metrics.compute()
    valid = ~truth.isnan().numpy()
    d, g = task.prediction(output).double().numpy()[valid], truth.double().numpy()[valid]
    ratio = np.maximum(d / g, g / d)
    expected = {
        "MAE": np.mean(abs(d - g)),
        "RMSE": np.sqrt(np.mean((d - g) ** 2)),
        "AbsRel": np.mean(abs(d - g) / g),
        **{f"delta{k}": np.mean(ratio < 1.25**k) for k in (1, 2, 3)},
    }
    assert {key: float(value) for key, value in found.items()} == pytest.approx(expected, rel=1e-5)


def test_thresholds_that_agree_on_the_first_batch_may_part_later():
    task = Depth("depth")
    metrics = task.metrics()
    for factor in (1.0, 1.5):
        truth = torch.full((1, 1, 2, 2), 2.0)
        metrics.update(raw_for(task, factor * truth).float(), truth)
    found = metrics.compute()
    assert [float(found[f"delta{k}"]) for k in (1, 2, 3)] == [0.5, 1.0, 1.0]


def test_fresh_networks_start_at_a_plausible_depth():
    assert Depth("depth").prediction(torch.zeros(1)).item() == pytest.approx(3, abs=0.01)
    assert Depth("depth", typical=20.0).prediction(torch.zeros(1)).item() == pytest.approx(20, abs=0.01)
    wild = Depth("depth").prediction(torch.tensor([-1e4, 1e4]))
    assert (wild > 0).all()
    assert wild.isfinite().all()


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, -math.inf])
def test_impossible_depths_are_named(value):
    target = torch.ones(1, 3, 4)
    target[0, 1, 2] = value
    with pytest.raises(ValueError, match=rf"d\.npy: depth of {value:g} m at row 1, column 2 .*set missing"):
        Depth("depth").check(target, "d.npy")


@pytest.mark.parametrize("typical", [0.0, -2.0, math.inf, math.nan])
def test_impossible_typical_depths_are_refused(typical):
    with pytest.raises(ValueError, match="typical depth"):
        Depth("depth", typical=typical)
