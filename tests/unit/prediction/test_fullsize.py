"""Enlarging in strips gives what enlarging the whole gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lomt.prediction import fullsize
from lomt.tasks import Depth, Normals, Segmentation

side = st.integers(1, 23)


@given(st.tuples(side, side), st.tuples(side, side), st.integers(1, 400))
def test_as_interpolate_whatever_the_strips(small, large, values):
    output = torch.rand(3, *small, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(output.double()[None], size=large, mode="bilinear", align_corners=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fullsize, "VALUES", values)
        found = fullsize.prediction_at(Normals("normals"), output, large)
    torch.testing.assert_close(found, F.normalize(whole, dim=1)[0].float(), rtol=1e-4, atol=1e-5)


def test_kinds_keep_their_shapes():
    assert fullsize.prediction_at(Segmentation("seg", 4), torch.rand(4, 3, 5), (7, 11)).shape == (7, 11)
    assert fullsize.prediction_at(Depth("depth"), torch.rand(1, 3, 5), (1, 1)).shape == (1, 1, 1)
