import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lomt.tasks import Normals
from lomt.tasks.vectors import angle


def turned(degrees):
    """Raw outputs ``(N, 3, 1, 1)`` at given angles to (0, 0, 1)."""
    radians = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float64))
    return torch.stack([radians.sin(), torch.zeros_like(radians), radians.cos()], 1)[..., None, None].float()


def measured(degrees):
    output = turned(degrees)
    metrics = Normals("normals").metrics()
    metrics.update(5 * output, turned([0.0]).expand_as(output))
    return {key: float(value) for key, value in metrics.compute().items()}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 180), min_size=1, max_size=40))
def test_metrics_agree_with_numpy(degrees):
    found = measured(degrees)
    assert found["mean_angle"] == pytest.approx(np.mean(degrees), abs=1e-3)
    assert found["median_angle"] == pytest.approx(np.median(degrees), abs=0.0051)
    for limit in (11.25, 22.5, 30):
        clear = [d for d in degrees if abs(d - limit) > 1e-4]
        if len(clear) == len(degrees):
            assert found[f"within_{limit:g}"] == pytest.approx(100 * np.mean(np.array(degrees) < limit), abs=1e-3)


@given(st.floats(0, 180))
def test_angles_are_precise_also_near_zero(degrees):
    found = angle(turned([degrees])[:, :, 0, 0], turned([0.0])[:, :, 0, 0])
    assert found.item() == pytest.approx(degrees, rel=1e-5, abs=1e-5)


def test_loss_is_one_minus_the_cosine():
    degrees = [0.0, 60.0, 90.0, 180.0]
    output = turned(degrees)
    truth = turned([0.0]).expand_as(output).clone()
    loss = Normals("normals").loss(7 * output, truth)
    assert loss.item() == pytest.approx((0 + 0.5 + 1 + 2) / 4, abs=1e-6)
    truth[1:, 1] = torch.nan
    assert Normals("normals").loss(output, truth).item() == pytest.approx(0, abs=1e-6)


def test_a_decoder_of_zeros_still_learns():
    output = torch.zeros(1, 3, 2, 2, requires_grad=True)
    Normals("normals").loss(output, turned([20.0]).expand(1, 3, 2, 2)).backward()
    assert output.grad.isfinite().all()
    assert 0 < output.grad.abs().max() < 1e4


def test_a_vector_of_no_length_is_no_good_guess():
    assert angle(torch.zeros(1, 3), turned([0.0])[:, :, 0, 0]).item() == 90


def test_predictions_are_unit_vectors():
    vectors = Normals("normals").prediction(torch.randn(2, 3, 4, 5))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2, 4, 5))


@pytest.mark.parametrize("length", [0.0, 0.9, 2.0, math.inf])
def test_lengths_are_checked(length):
    target = F.normalize(torch.randn(3, 4, 5), dim=0)
    target[:, 2, 3] = torch.tensor([0.0, 0.0, length])
    with pytest.raises(ValueError, match=rf"n\.npy: normal of length {length:g} at row 2, column 3 .*NaN"):
        Normals("normals").check(target, "n.npy")


def test_storage_noise_is_no_error():
    target = F.normalize(torch.randn(3, 40, 50), dim=0)
    Normals("normals").check(target.half().float(), "n.npy")
