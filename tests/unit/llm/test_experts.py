import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from lomt.llm.assignment import assign_balanced
from lomt.llm.experts import balanced_kmeans


def optimum(similarity):
    slots = np.repeat(similarity, len(similarity) // similarity.shape[1], axis=1)
    rows, columns = linear_sum_assignment(slots, maximize=True)
    return slots[rows, columns].sum()


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6), st.sampled_from([1e-1, 1e-3]))
def test_the_assignment_is_balanced_and_as_near_the_optimum_as_its_tolerance_says(seed, clusters, size, tolerance):
    draw = np.random.default_rng(seed)
    similarity = draw.normal(size=(clusters * size, clusters)).round(int(draw.integers(0, 3)))
    cluster = assign_balanced(similarity, tolerance)
    assert (np.bincount(cluster, minlength=clusters) == size).all()
    total = similarity[np.arange(len(cluster)), cluster].sum()
    best = optimum(similarity)
    assert best - len(cluster) * tolerance - 1e-9 <= total <= best + 1e-9


def test_a_warm_start_keeps_the_promise():
    draw = np.random.default_rng(0)
    prices = np.zeros(8)
    for _ in range(3):
        similarity = draw.normal(size=(64, 8))
        cluster = assign_balanced(similarity, 1e-3, prices)
        assert similarity[np.arange(64), cluster].sum() >= optimum(similarity) - 64e-3
    assert prices.any()


def test_equal_points_are_spread_evenly():
    assert (np.bincount(assign_balanced(np.ones((12, 4)), 0.1)) == 3).all()


def planted(experts=6, size=8, d=40, noise=0.2, seed=0):
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(experts, d, generator=draw)
    points = centres.repeat_interleave(size, 0) + noise * torch.randn(experts * size, d, generator=draw)
    scale = torch.rand(experts * size, 1, generator=draw) * 5 + 0.1
    shuffled = torch.randperm(experts * size, generator=draw)
    return (points * scale)[shuffled], (torch.arange(experts * size) // size)[shuffled]


def test_kmeans_finds_planted_experts_whatever_their_neurons_lengths():
    points, label = planted()
    order = balanced_kmeans(points, 8)
    assert sorted(order.tolist()) == list(range(48))
    found = label[order].view(6, 8)
    assert (found == found[:, :1]).all()
    assert len(found[:, 0].unique()) == 6


def test_within_an_expert_neurons_keep_their_order():
    order = balanced_kmeans(planted()[0], 8).view(6, 8)
    assert (order.diff(dim=1) > 0).all()


def test_the_seed_decides():
    points = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    first, again, other = (balanced_kmeans(points, 8, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("points", [torch.zeros(16, 4), torch.ones(16, 4)], ids=["dead", "equal"])
def test_neurons_that_say_nothing_are_grouped_all_the_same(points):
    assert sorted(balanced_kmeans(points, 4).tolist()) == list(range(16))


def test_one_expert_is_all_neurons():
    assert balanced_kmeans(torch.randn(8, 4), 8).tolist() == list(range(8))
