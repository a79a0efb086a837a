"""The path of a selection: it finds the taps that matter, at the pace that was asked for, and goes on exactly."""

import copy
import logging

import pytest
import torch
from torch import nn

from lomt.nn import TapSelector
from lomt.optim import ProxAdamW
from lomt.selection import Selection, TapPath

CHANNELS = {"a": 8, "b": 16, "c": 32, "d": 32}
TRUTH = {"x": "b", "y": "d", "z": "a"}
STEPS = 200


class Toy:
    """Maps of noise, and tasks of which each depends on three channels of one tap."""

    def __init__(self, **options):
        torch.manual_seed(0)
        self.selector = TapSelector(CHANNELS, TRUTH, width=4)
        self.path = TapPath(self.selector, **options)
        self.head = nn.ModuleDict({name: nn.Conv2d(4, 1, 1) for name in TRUTH})
        groups = [*self.path.groups(), {"params": list(self.head.parameters()), "weight_decay": 0.0}]
        self.optimizer = ProxAdamW(groups, lr=5e-3)

    def step(self, number):
        draw = torch.Generator().manual_seed(number)
        # The maps differ in loudness, which must not matter.
        maps = {
            tap: torch.randn(4, count, 6, 6, generator=draw) * 3**place
            for place, (tap, count) in enumerate(CHANNELS.items())
        }
        read = self.selector(maps)
        loss = sum(
            (self.head[name](read[name]) - maps[tap][:, :3].mean(1, keepdim=True) / maps[tap].std()).square().mean()
            for name, tap in TRUTH.items()
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.path.step((number + 1) / STEPS)


def test_each_task_keeps_the_tap_that_it_depends_on():
    toy = Toy()
    for number in range(STEPS):
        toy.step(number)
        for name in TRUTH:
            share = max(0.0, ((number + 1) / STEPS - 0.3) / 0.5)
            assert len(toy.selector.surviving(name)) >= 4 - 3 * min(1.0, share) - 1e-9, "more died than the line allows"
    assert toy.path.decided
    for name, tap in TRUTH.items():
        found = toy.path.selection(name)
        assert list(toy.selector.surviving(name)) == [tap]
        assert found.tap == tap
        assert found.ranking[0][0] == tap
        assert [score for _, score in found.ranking] == sorted((s for _, s in found.ranking), reverse=True)
        assert sorted(one for one, _ in found.ranking) == sorted(CHANNELS)
        assert Selection.from_dict(found.to_dict()) == found
    assert all(strength == 0 for strength in toy.path.strengths.values())
    at = [note["at"] for note in toy.path.notes]
    assert at == sorted(at)
    assert len(at) > 90


def test_goes_on_from_its_state_with_the_same_bits():
    whole, first = Toy(), Toy()
    for number in range(STEPS):
        whole.step(number)
    half = 3 * STEPS // 5
    for number in range(half):
        first.step(number)
    saved = copy.deepcopy(
        (first.path.state_dict(), first.selector.state_dict(), first.head.state_dict(), first.optimizer.state_dict())
    )
    second = Toy()
    second.selector.load_state_dict(saved[1])
    second.head.load_state_dict(saved[2])
    second.optimizer.load_state_dict(saved[3])
    second.path.load_state_dict(saved[0])
    for number in range(half, STEPS):
        second.step(number)
    assert second.path.notes == whole.path.notes
    for name, weights in whole.selector.weights.items():
        for ours, theirs in zip(weights, second.selector.weights[name], strict=True):
            assert torch.equal(ours, theirs)


def test_several_taps_may_be_kept():
    toy = Toy(keep=2)
    for number in range(STEPS):
        toy.step(number)
    for name, tap in TRUTH.items():
        assert len(toy.selector.surviving(name)) == 2
        assert tap in toy.selector.surviving(name)


def test_a_penalty_that_kills_all_at_once_leaves_the_strongest():
    toy = Toy()
    for number in range(STEPS):
        if number == 120:
            for group in toy.optimizer.param_groups:
                if group["penalty"] is not None:
                    group["penalty"].weight = 1e6
        toy.step(number)
        assert all(toy.selector.surviving(name) for name in TRUTH)


def test_what_is_left_undecided_is_decided_by_norms(caplog):
    toy = Toy(begin=0.0, end=0.01)
    with caplog.at_level(logging.INFO, logger="lomt"):
        toy.step(0)
        toy.step(1)
    assert toy.path.decided
    assert "of the largest norm stay" in caplog.text


def test_a_price_for_depth_makes_a_tap_die_earlier():
    plain, dear = Toy(), Toy(prices={"a": 1.0, "b": 30.0, "c": 1.0, "d": 1.0})
    for number in range(STEPS):
        plain.step(number)
        dear.step(number)

    def lived(toy):
        return max(note["at"] for note in toy.path.notes if note["tasks"]["y"]["channels"][1])

    assert lived(dear) < lived(plain)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": 0}, "taps to keep"),
        ({"begin": 0.8, "end": 0.3}, "two shares"),
        ({"prices": {"e": 1.0}}, "no tap"),
        ({"prices": {"a": 0.0}}, "price of tap 'a'"),
        ({"mix": 2.0}, "share from 0 to 1"),
    ],
)
def test_refuses_what_can_not_be(options, said):
    with pytest.raises(ValueError, match=said):
        TapPath(TapSelector({"a": 3, "b": 4}, ["x"], 2), **options)


def test_a_dead_tap_that_momentum_has_moved_is_dead_all_the_same():
    """On a GPU a dead tap is read, without a look, and has a gradient of zeros: the optimizer moves it on."""
    plain, moved = Toy(), Toy()
    for number in range(STEPS):
        plain.step(number)
        moved.step(number)
        with torch.no_grad():
            for row, name in enumerate(TRUTH):
                for tap, weight in enumerate(moved.selector.weights[name]):
                    if not moved.selector.live(tap)[row].any():
                        weight.fill_(0.1)
    assert moved.path.notes == plain.path.notes
    for name in TRUTH:
        assert moved.selector.surviving(name) == plain.selector.surviving(name)


def test_a_penalty_chooses_among_taps_and_leaves_the_reading_its_size():
    toy = Toy()
    for number in range(STEPS):
        working = {name for name, strength in toy.path.strengths.items() if strength}
        toy.step(number)
        for name in TRUTH:
            if name in working:
                size = torch.cat([weight.detach().flatten() for weight in toy.selector.weights[name]]).norm()
                assert float(size) == pytest.approx(toy.selector.width**0.5, rel=1e-5)
