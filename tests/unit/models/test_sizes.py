"""Sizes without numbers are those of the convolutions themselves."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lomt.models import backbone, taps
from lomt.models.sizes import SizesOnly

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Computed(TorchDispatchMode):
    """Counts what is computed."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_stride_padding_dilation_and_group(rank):
    x = torch.randn(2, 4, *(9, 7, 8)[:rank])
    cases = itertools.product((1, 3, 4), (1, 2, (3,)), (0, 1, (2,) * rank), (1, 2), (1, 2, 4))
    for kernel, stride, padding, dilation, groups in cases:
        weight = torch.randn(8, 4 // groups, *[kernel] * rank)
        wanted = CONVOLUTIONS[rank](x, weight, None, stride, padding, dilation, groups)
        with SizesOnly(), Computed() as computed:
            found = CONVOLUTIONS[rank](x, weight, None, stride, padding, dilation, groups)
        assert (found.shape, found.dtype, computed.count) == (wanted.shape, wanted.dtype, 0)


def test_what_does_not_fit_says_so_itself():
    x = torch.randn(1, 3, 4, 4)
    with SizesOnly():
        for layer in (nn.Conv2d(5, 2, 1), nn.Conv2d(3, 2, 7), nn.Conv2d(3, 2, 1).double()):
            with pytest.raises(RuntimeError):
                layer(x)
        assert nn.Conv2d(3, 2, 3, padding="same")(x).shape == (1, 2, 4, 4)


def test_networks_without_numbers_and_under_autocast():
    base = backbone("resnetd18", 8)
    wanted = taps(base)
    with torch.autocast("cpu"):
        assert taps(base) == wanted
        with SizesOnly():
            assert nn.Conv2d(3, 2, 1)(torch.zeros(1, 3, 4, 4)).dtype == torch.bfloat16
    assert taps(base.to("meta")) == wanted


def test_taps_compute_the_example_alone():
    base = backbone("resnetd18", 8)
    with Computed() as computed:
        assert len(taps(base, torch.randn(1, 3, 64, 96))) > 40
    assert computed.count == sum(isinstance(layer, nn.Conv2d) for layer in base.modules())
