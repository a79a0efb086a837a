import subprocess
import sys

import pytest
import torch
from torch import nn

from lomt.evaluation import cost


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 3)])
def test_convolutions_cost_what_the_formula_says(groups, stride, dilation):
    conv = nn.Conv2d(8, 16, (3, 5), stride, padding=2, dilation=dilation, groups=groups)
    image = torch.zeros(4, 8, 20, 24)
    height, width = conv(image).shape[-2:]
    found = cost(conv, image)
    assert found.macs == height * width * 16 * (8 // groups) * 3 * 5
    assert found.parameters == 16 * (8 // groups) * 15 + 16


@pytest.mark.parametrize("groups", [1, 4])
def test_transposed_convolutions_count_their_inputs(groups):
    conv = nn.ConvTranspose2d(8, 12, 2, stride=2, groups=groups, bias=False)
    assert cost(conv, torch.zeros(1, 8, 5, 6)).macs == 5 * 6 * 8 * (12 // groups) * 4


def test_linear_layers_and_products_of_any_module_count():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6, 10)
            self.extra = nn.Parameter(torch.zeros(10, 7))

        def forward(self, x):
            y = torch.einsum("nd,de->ne", self.linear(x), self.extra)
            return nn.functional.conv1d(y[:, None], self.extra[:3, None, :2])

    assert cost(Odd(), torch.zeros(5, 6)).macs == 6 * 10 + 10 * 7 + 3 * 6 * 2


def test_attention_is_not_hidden_by_its_fast_path():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    tokens, width = 9, 16
    projections = tokens * (3 * width * width + width * width + 2 * 32 * width)
    found = cost(layer, torch.zeros(1, tokens, width)).macs
    assert found >= projections
    assert torch.backends.mha.get_fastpath_enabled()


def test_networks_cost_the_sum_of_what_runs():
    class Tapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.second = nn.Conv2d(8, 8, 1, bias=False)
            self.unused = nn.Conv2d(8, 8, 1, bias=False)

        def forward(self, x):
            x = self.first(x)
            return {"a": x, "b": self.second(x)}

    found = cost(Tapped(), torch.zeros(2, 3, 4, 4))
    assert found.macs == 16 * (27 * 8 + 64)
    assert found.parameters == 27 * 8 + 64 + 64


def test_shared_parameters_count_once():
    layer = nn.Linear(4, 4, bias=False)
    found = cost(nn.Sequential(layer, layer), torch.zeros(1, 4))
    assert (found.parameters, found.macs) == (16, 32)


def test_counting_changes_nothing():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    network[1].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    cost(network, torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert [module.training for module in network.modules()] == [True, True, False, True]
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())
    assert torch.get_rng_state().equal(state)


def test_counting_loads_no_compiler_and_leaves_no_trace():
    code = """
import sys
import torch
from torch import nn
from lomt.evaluation import cost
print(cost(nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.zeros(1, 3, 4, 4)).macs, "torch._dynamo" in sys.modules)
from torch.utils.flop_counter import FlopCounterMode
with FlopCounterMode(display=False) as counter:
    nn.Linear(3, 2, bias=False)(torch.zeros(4, 3))
print(counter.get_total_flops(), "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3456", "False", "48", "True"]
