"""Gradients at shared layers, against a float64 brute force that trains each task by itself."""

import copy
import math

import numpy as np
import pytest
import torch

from lomt.diagnosis import against_others, cosines, gradients, norms, relative_share, shares
from lomt.models import Network

NAMES = ("near", "texture", "up")
TAPS = {"near": "11", "texture": "6", "up": "0"}
WEIGHTS = {"near": 0.5, "texture": 2.0, "up": 1.0}


@pytest.fixture
def network(patches, chain, linear):
    source = patches(NAMES, (1.0,) * 3)
    return Network(chain(), source.tasks, TAPS, linear, torch.zeros(1, 3, 16, 16)).double()


@pytest.fixture
def batches(patches, batch):
    whole = batch(patches(NAMES, (1.0,) * 3), 24)
    pieces = [{key: value[start : start + 8] for key, value in whole.items()} for start in (0, 8, 16)]
    return [
        {key: value.double() if value.is_floating_point() else value for key, value in piece.items()}
        for piece in pieces
    ]


@pytest.fixture
def brute(network, batches):
    """(batch, layer, task) → the gradient, one backward pass of a fresh copy each."""
    found = {}
    for index, one in enumerate(batches):
        for task in network.tasks:
            fresh = copy.deepcopy(network).train()
            task.loss(fresh(one["image"])[task.name], one[task.name]).backward()
            for name, parameter in fresh.backbone.named_parameters():
                if parameter.ndim > 1 and parameter.grad is not None:
                    found[index, name.removesuffix(".weight"), task.name] = parameter.grad.numpy().ravel()
    return found


def mean(values):
    return sum(values) / len(values)


def test_cosines_agree_with_a_brute_force(network, batches, brute):
    found = cosines(gradients(network, batches))
    for (one, other), layers in found.items():
        for layer, spread in layers.items():
            pairs = [(brute[index, layer, one], brute[index, layer, other]) for index in range(3)]
            expected = [float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in pairs]
            assert spread.mean == pytest.approx(mean(expected), abs=1e-10)
            assert spread.std == pytest.approx(np.std(expected, ddof=1), abs=1e-9)
            assert spread.count == 3


def test_norms_and_shares_agree_with_a_brute_force(network, batches, brute):
    measured = gradients(network, batches)
    for layer, by_task in norms(measured, WEIGHTS).items():
        expected = {
            task: mean([WEIGHTS[task] * np.linalg.norm(brute[index, layer, task]) for index in range(3)])
            for task in by_task
        }
        total = sum(expected.values())
        for task, spread in by_task.items():
            assert spread.mean == pytest.approx(expected[task], rel=1e-10)
            assert shares(measured, WEIGHTS)[layer][task] == pytest.approx(expected[task] / total, rel=1e-10)


def test_the_rest_of_a_step_agrees_with_a_brute_force(network, batches, brute):
    expected = []
    for index in range(3):
        own, rest = [], []
        for layer in ("0", "3", "6"):
            own.append(brute[index, layer, "texture"])
            others = [
                WEIGHTS[task] * brute[index, layer, task] for task in ("near", "up") if (index, layer, task) in brute
            ]
            rest.append(sum(others))
        a, b = np.concatenate(own), np.concatenate(rest)
        expected.append(float(a @ b / np.sqrt((a @ a) * (b @ b))))
    found = against_others(gradients(network, batches), WEIGHTS, "texture")
    assert found.mean == pytest.approx(mean(expected), abs=1e-10)


def test_a_layer_beyond_a_tap_is_out_of_reach(network, batches):
    measured = gradients(network, batches)
    assert [layer.name for layer in measured.layers] == ["0", "3", "6"]  # "9" is for one task alone
    found = cosines(measured)
    assert list(found["near", "texture"]) == ["0", "3", "6"]
    assert list(found["near", "up"]) == list(found["texture", "up"]) == ["0"]


def test_equal_gradients_are_fair_shares(patches, chain, mean, batch):
    source = patches(("up", "down"))
    network = Network(chain(), source.tasks, {"up": "11", "down": "11"}, mean, torch.zeros(1, 3, 16, 16))
    with torch.no_grad():
        network.backbone.get_parameter("10.bias").fill_(-100.0)  # all outputs are 0 – 0.5, by no one's doing
    one = batch(source)
    one["down"] = one["up"].clone()
    measured = gradients(network, [one])
    assert relative_share(measured, {"up": 1.0, "down": 1.0}, "up") is None  # no gradient is no share


def test_what_is_opposite_has_cosine_minus_one(patches, chain, batch):
    source = patches(("up", "down"))

    class Flat(torch.nn.Module):
        """0 whatever comes, but with a gradient."""

        def __init__(self, _channels, _task):
            super().__init__()

        def forward(self, features):
            value = features[:, :1].mean((2, 3))
            return value - value.detach()

    network = Network(chain(), source.tasks, {"up": "11", "down": "9"}, Flat, torch.zeros(1, 3, 16, 16))
    network = Network(chain(), source.tasks, {"up": "11", "down": "11"}, Flat, torch.zeros(1, 3, 16, 16))
    for spread in cosines(gradients(network, [batch(source)]))["up", "down"].values():
        assert spread.mean == pytest.approx(-1, abs=1e-9)


def test_nothing_is_changed(network, batches):
    network.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    gradients(network, batches)
    assert torch.equal(torch.get_rng_state(), state)
    assert not network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_task_without_labels_counts_nowhere(network, batches):
    del batches[0]["up"]
    found = cosines(gradients(network, batches))
    assert found["near", "up"]["0"].count == 2
    assert found["near", "texture"]["0"].count == 3


def test_dropout_is_the_same_again(patches, chain, batch):
    source = patches(("up", "down"))

    def dropping(channels, _task):
        parts = (torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(channels, 1))
        return torch.nn.Sequential(*parts)

    network = Network(chain(), source.tasks, {"up": "11", "down": "11"}, dropping, torch.zeros(1, 3, 16, 16))
    one, again, other = (cosines(gradients(network, [batch(source)], seed=seed)) for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_what_can_not_be_measured_is_said(network, patches, chain, linear):
    with pytest.raises(ValueError, match="no batches"):
        gradients(network, [])
    source = patches(("up",), (1.0,))
    alone = Network(chain(), source.tasks, {"up": "11"}, linear, torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="'up' alone shares nothing"):
        gradients(alone, [])


def test_spreads_are_finite(network, batches):
    for layers in cosines(gradients(network, batches)).values():
        assert all(math.isfinite(spread.mean) and -1 <= spread.mean <= 1 for spread in layers.values())
