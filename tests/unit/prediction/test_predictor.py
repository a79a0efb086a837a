"""Pictures of any size go in, predictions of their size come out."""

import numpy as np
import pytest
import torch
from torch import nn

from lomt.prediction import Predictor


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (32, 48), (300, 200), (37, 1001), (64, 96)])
def test_any_size(colours, size):
    picture = np.zeros((*size, 3), np.uint8)
    picture[:, : size[1] // 2 + 1, 0] = 255
    picture[:, size[1] // 2 + 1 :, 2] = 255
    found = Predictor(colours)(picture)
    assert found["seg"].shape == size
    assert found["depth"].shape == (1, *size)
    assert found["normals"].shape == (3, *size)
    assert (found["seg"] == torch.from_numpy(picture).argmax(2)).float().mean() > 0.95
    assert found["room"].item() == 0
    assert found["labels"].shape == found["light"].shape == (2,)
    height, width = colours.seen[-1][2:]
    assert min(height, width) >= 32
    if max(size) < 10 * min(size):
        assert height * width == pytest.approx(32 * 48, rel=0.25)


def test_the_network_sees_what_it_was_trained_on(colours):
    seen = []
    colours.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    Predictor(colours)(np.full((32, 48, 3), 255, np.uint8))
    torch.testing.assert_close(seen[0], torch.full((1, 3, 32, 48), 2.0))


class Fixed(nn.Module):
    """Takes one size only, and says so by failing."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.tasks, self.normalization, self.shapes = inner, inner.tasks, inner.normalization, inner.shapes

    def forward(self, image):
        if image.shape[2:] != (32, 48):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return self.inner(image)


def test_a_network_of_one_size_gets_it(colours):
    assert Predictor(Fixed(colours))(np.zeros((50, 20, 3), np.uint8))["seg"].shape == (50, 20)
    assert colours.seen[-1] == (1, 3, 32, 48)


def test_a_network_that_runs_on_nothing_says_why(colours):
    fixed = Fixed(colours)
    fixed.shapes = [(1, 3, 64, 64)]
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Predictor(fixed)(np.zeros((8, 8, 3), np.uint8))


def test_what_is_missing_is_said(colours):
    colours.normalization = None
    with pytest.raises(ValueError, match="does not say its normalization"):
        Predictor(colours)
    with pytest.raises(ValueError, match="does not say its tasks"):
        Predictor(nn.Identity())


@pytest.mark.parametrize("shape", [(3, 32), (32,), (1, 1, 32, 32), (1, 3, 4, 32, 32)])
def test_a_model_that_is_not_for_pictures_is_refused(colours, shape):
    colours.shapes = [shape]
    with pytest.raises(ValueError, match=r"the model is for inputs of shape .*pictures have three, \(N, 3, H, W\)"):
        Predictor(colours)


def test_nonsense_is_refused(colours):
    for picture in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"give \(H, W, 3\), uint8"):
            Predictor(colours)(picture)


def test_outputs_that_are_no_numbers_are_said(colours):
    colours.register_forward_hook(lambda _module, _inputs, outputs: outputs | {"depth": outputs["depth"] / 0})
    with pytest.raises(ValueError, match="'depth' is NaN or infinite"):
        Predictor(colours)(np.full((32, 48, 3), 9, np.uint8))
