"""A backbone's own ``no_grad``, autocast and gradients, after it was cut."""

import copy
import pickle

import pytest
import torch
from torch import nn

from lomt.models import Network, truncate
from lomt.models.traced import Traced
from lomt.tasks import Depth


class Reversed(torch.autograd.Function):
    """The identity, whose gradient is reversed."""

    @staticmethod
    def forward(_, x):
        return x.view_as(x)

    @staticmethod
    def backward(_, gradient):
        return -gradient


class Regions(nn.Module):
    """A frozen stem, a layer in float32, one in bfloat16, and a reversed gradient."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.free, self.exact, self.rough, self.tail = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))

    def forward(self, x):
        with torch.no_grad():
            x = self.stem(x)
            x = x * 2
        x = self.free(x)
        with torch.autocast("cpu", enabled=False):
            x = self.exact(x.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = self.rough(x)
        return self.tail(Reversed.apply(x.float()))


def outcome(module, image, autocast):
    """Output and gradients."""
    module.zero_grad()
    with torch.autocast("cpu", enabled=autocast):
        output = module(image)
    output = output["tail"] if isinstance(output, dict) else output
    output.float().square().sum().backward()
    return output.detach(), {name: parameter.grad for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda cut: pickle.loads(pickle.dumps(cut))])
def test_regions_are_as_in_the_plain_module(autocast, again):
    plain, image = Regions(), torch.randn(2, 3, 16, 16)
    cut = again(truncate(plain, ["tail"]))
    assert type(cut) is Traced
    wanted, gradients = outcome(plain, image, autocast)
    found, others = outcome(cut, image, autocast)
    assert wanted.dtype == found.dtype
    assert torch.equal(wanted, found)
    assert others.keys() == gradients.keys()
    assert others["stem.0.weight"] is None
    for name, gradient in gradients.items():
        assert (gradient is None) == (others[name] is None), name
        assert gradient is None or torch.equal(gradient, others[name]), name


def test_a_region_that_fails_leaves_no_mode_behind():
    cut = truncate(Regions(), ["tail"])
    with pytest.raises(RuntimeError):
        cut(torch.randn(2, 5, 16, 16))
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_tracing_where_gradients_are_off_does_not_freeze():
    with torch.no_grad():
        network = Network(nn.Sequential(nn.Conv2d(3, 4, 3)), [Depth("depth")], {"depth": "0"}, "light")
    network(torch.randn(2, 3, 16, 16))["depth"].sum().backward()
    assert network.backbone.get_parameter("0.weight").grad is not None


class ByMode(Regions):
    """Trains its stem, and freezes it in eval mode."""

    def forward(self, x):
        with torch.set_grad_enabled(self.training):
            x = self.stem(x)
        return self.tail(x)


def test_a_region_that_follows_the_mode_goes_on_doing_so():
    plain, image = ByMode(), torch.randn(2, 3, 16, 16)
    cut = truncate(plain, ["tail"])
    for training in (True, False):
        _, gradients = outcome(cut.train(training), image, autocast=False)
        assert (gradients["stem.0.weight"] is not None) == training
