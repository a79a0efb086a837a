"""Compacted networks compute what they were made of: on random networks with random dead groups."""

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from odd_layers import DropPath
from random_network import random_network
from sparse_network import sparse_network

from lomt.compaction import compact, expand

SIZES = {"seed": st.integers(0, 2**32 - 1), "steps": st.integers(1, 8), "odd": st.sampled_from([0.0, 0.8])}


def differences(a, b):
    """The largest difference in each output, relative to the largest number there, at least 1."""
    assert a.keys() == b.keys()
    assert all(a[name].shape == b[name].shape for name in a)
    return [float((a[name] - b[name]).abs().max() / a[name].abs().max().clamp(min=1)) for name in a]


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(**SIZES, round_to=st.sampled_from([1, 1, 4]), for_training=st.booleans(), gather=st.booleans())
def test_outputs_agree(seed, steps, odd, round_to, for_training, gather):
    network = random_network(seed, steps, odd)
    for_training &= not any(isinstance(layer, DropPath) for layer in network.modules())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    example = torch.randn(1, 3, 8, 8).double()
    small = compact(network, example, round_to, for_training=for_training, gather=gather)
    images = torch.randn(2, 3, 8, 8).double()
    with torch.no_grad():
        expected = network(images)
        assert max(differences(expected, small(images))) < 1e-10
        assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
        if round_to == 1:  # dead channels that rounding keeps stay, beside the constants that stand for their layers
            assert sum(p.numel() for p in small.parameters()) <= sum(p.numel() for p in network.parameters())
        # Some of these networks lose more digits by themselves: norms of numbers that hardly differ.
        rounding = max(differences(expected, network.float()(images.float())))
        assert max(differences(expected, small.float()(images.float()))) < 1e-5 + 2 * rounding


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(**SIZES, gather=st.booleans())
def test_what_was_learned_goes_back_into_the_network(seed, steps, odd, gather):
    network = random_network(seed, steps, odd)
    assume(not any(isinstance(layer, DropPath) for layer in network.modules()))
    images = torch.randn(2, 3, 8, 8).double()
    with torch.no_grad():
        small = compact(network, images[:1], for_training=True, gather=gather)
        for parameter in small.parameters():  # it learns, but what is 0 is frozen
            parameter.mul_(1 + 0.1 * torch.rand_like(parameter))
        expand(small, network)
        assert max(differences(small(images), network(images))) < 1e-10


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), round_to=st.sampled_from([1, 8]), for_training=st.booleans())
def test_networks_of_ours_agree_on_images_of_any_size(seed, round_to, for_training):
    network = sparse_network(seed)
    with torch.no_grad():
        small = compact(network, torch.randn(1, 3, 40, 48).double(), round_to, for_training=for_training)
        for images in (torch.randn(2, 3, 40, 48).double(), torch.randn(1, 3, 64, 80).double()):
            assert max(differences(network(images), small(images))) < 1e-10
        if for_training:
            expand(small, network)
            assert max(differences(small(images), network(images))) < 1e-10
