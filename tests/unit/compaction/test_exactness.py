"""Compacted networks compute what they were made of: on random networks with random dead groups."""

import sys
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailor.compaction import compact

sys.path.insert(0, str(Path(__file__).parent))
from random_network import random_network

SIZES = {"seed": st.integers(0, 2**32 - 1), "steps": st.integers(1, 8)}


def differences(a, b):
    assert a.keys() == b.keys()
    assert all(a[name].shape == b[name].shape for name in a)
    return [float((a[name] - b[name]).abs().max() / a[name].abs().max().clamp(min=1)) for name in a]


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(**SIZES, round_to=st.sampled_from([1, 1, 4]), for_training=st.booleans(), gather=st.booleans())
def test_outputs_agree(seed, steps, round_to, for_training, gather):
    network = random_network(seed, steps)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    example = torch.randn(1, 3, 8, 8).double()
    small = compact(network, example, round_to, for_training=for_training, gather=gather)
    images = torch.randn(2, 3, 8, 8).double()
    with torch.no_grad():
        assert max(differences(network(images), small(images))) < 1e-10
        assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
        assert sum(p.numel() for p in small.parameters()) <= sum(p.numel() for p in network.parameters())
        network, small, images = network.float(), small.float(), images.float()
        assert max(differences(network(images), small(images))) < 1e-5
