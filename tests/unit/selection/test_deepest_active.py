"""The deepest active layer: with blocks that look alive and aren't, trials that disagree, and the extreme answers."""

import json
from itertools import combinations
from math import comb

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lomt.selection import RULES, DeepestActive, Selection, SelectionRule, rule
from lomt.sparsity import LayerPattern, Pattern, pattern

CHANNELS = 200


def layer(name, density, ranked=True, **place):
    alive = round(density * CHANNELS)
    return LayerPattern(name, (True,) * alive + (False,) * (CHANNELS - alive), ranked, **place)


def blocks(*densities):
    """A stem, and blocks of two layers with these densities."""
    layers = [layer("stem", 1.0, ranked=False)]
    for number, (first, second) in enumerate(densities):
        place = {"block": f"layer{number}", "end": f"layer{number}.conv2"}
        layers += [layer(f"layer{number}.conv1", first, **place), layer(f"layer{number}.conv2", second, **place)]
        layers.append(layer(f"layer{number}.downsample", 1.0, ranked=False))
    return Pattern(tuple(layers))


def test_deepest_layer_beyond_which_all_is_dead():
    chosen = DeepestActive().select([blocks((1, 1), (0.5, 0.2), (0, 0))])
    assert chosen.tap == "layer1.conv2"
    assert chosen.stability == 1
    assert "layer2.conv2" in chosen.reason
    assert DeepestActive(at="block").select([blocks((1, 1), (0.5, 0.2), (0, 0))]).tap == "layer1"


def test_one_percent_is_dead_and_more_is_alive():
    assert DeepestActive().select([blocks((1, 1), (1, 0.01))]).tap == "layer0.conv2"
    assert DeepestActive().select([blocks((1, 1), (1, 0.015))]).tap == "layer1.conv2"
    assert DeepestActive(threshold=0.5).select([blocks((1, 1), (1, 0.5))]).tap == "layer0.conv2"


@pytest.mark.parametrize("fooling", [(1.0, 0.0), (0.0, 1.0), (0.92, 0.005)])
def test_a_block_is_dead_if_any_layer_in_series_is(fooling):
    assert DeepestActive().select([blocks((1, 1), (1, 1), fooling)]).tap == "layer1.conv2"


def test_a_dead_block_in_between_does_not_end_the_network():
    assert DeepestActive().select([blocks((1, 1), (1, 0), (1, 1), (0, 0))]).tap == "layer2.conv2"


def test_all_trials_must_agree():
    trials = [blocks((1, 1), (1, 1), (1, 1)), blocks((1, 1), (1, 1), (0, 0)), blocks((1, 1), (1, 1), (1, 0))]
    chosen = DeepestActive().select(trials)
    assert chosen.tap == "layer1.conv2"
    assert chosen.stability == pytest.approx(2 / 3)
    assert chosen.runner_up == "layer2.conv2"
    assert chosen.per_trial == ("layer2.conv2", "layer1.conv2", "layer1.conv2")
    assert chosen.interval == ("layer1.conv2", "layer2.conv2")
    assert chosen.votes == {"layer1.conv2": 2, "layer2.conv2": 1}


def test_how_many_trials_would_have_done():
    deep, middle, flat = (blocks(*[(1, 1)] * alive, *[(0, 0)] * (3 - alive)) for alive in (3, 2, 1))
    one, same = DeepestActive().select([deep]), DeepestActive().select([deep] * 3)
    assert (one.agreement, one.enough) == ((1.0,), None)
    assert (same.agreement, same.enough) == ((1.0, 1.0, 1.0), 1)
    two = DeepestActive().select([middle, deep, middle])
    assert two.agreement == pytest.approx((2 / 3, 1, 1))
    assert two.enough == 2
    last = DeepestActive().select([deep, middle, flat])
    assert last.agreement == pytest.approx((1 / 3, 2 / 3, 1))
    assert last.enough is None


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_agreement_against_a_count_by_hand(depths):
    chosen = DeepestActive().select([blocks(*[(1, 1)] * depth, *[(0, 0)] * (3 - depth)) for depth in depths])
    trials = len(depths)
    shallowest = depths.count(min(depths))  # a choice misses the tap if it is from the others alone
    expected = [1 - comb(trials - shallowest, count) / comb(trials, count) for count in range(1, trials + 1)]
    assert chosen.agreement == pytest.approx(expected)
    assert chosen.agreement[0] == chosen.stability or chosen.tap is None
    sure = [count for count in range(1, trials) if count > trials - shallowest]
    assert chosen.enough == (min(sure) if sure else None)


def test_of_very_many_choices_some_are_drawn():
    deep, flat = (blocks(*[(1, 1)] * alive, *[(0, 0)] * (3 - alive)) for alive in (3, 1))
    chosen = DeepestActive().select([deep] * 15 + [flat] * 5)  # comb(20, 10) is 184756
    expected = [1 - comb(15, count) / comb(20, count) for count in range(1, 21)]
    assert chosen.agreement == pytest.approx(expected, abs=0.1)
    assert chosen == DeepestActive().select([deep] * 15 + [flat] * 5)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=7), st.sampled_from(["conv", "block"]))
def test_the_short_way_to_many_taps_is_that_of_one_at_a_time(depths, at):
    patterns = [blocks(*([(1, 1)] * depth + [(0, 0)] * (5 - depth))) for depth in depths]
    parts = [some for count in range(1, len(depths) + 1) for some in combinations(range(len(depths)), count)]
    short = DeepestActive(at=at)
    assert short.taps(patterns, parts) == SelectionRule.taps(short, patterns, parts)


def test_each_of_many_trials_is_looked_at_a_few_times(monkeypatch):
    looks, look = [], DeepestActive._active
    monkeypatch.setattr(DeepestActive, "_active", lambda *of: looks.append(1) or look(*of))
    found = DeepestActive().select([blocks((1, 1), (1, 1), (1, int(trial % 3 > 0))) for trial in range(201)])
    assert len(looks) == 2 * 201
    assert len(found.agreement) == 201
    assert list(found.agreement[134:]) == [1.0] * 67  # whoever takes 135 has one of the 67 that end earlier


def test_the_interval_follows_depth_and_not_the_alphabet():
    ten = [blocks(*[(1, 1)] * alive, *[(0, 0)] * (12 - alive)) for alive in (11, 3, 7)]
    assert DeepestActive().select(ten).interval == ("layer2.conv2", "layer10.conv2")
    assert DeepestActive(at="block").select(ten).interval == ("layer2", "layer10")
    assert DeepestActive().select([blocks((0, 0))]).interval is None


def test_order_of_trials_does_not_matter_for_the_tap():
    trials = [blocks((1, 1), (1, 1)), blocks((1, 1), (0, 0))]
    assert DeepestActive().select(trials).tap == DeepestActive().select(trials[::-1]).tap == "layer0.conv2"


def test_nothing_died():
    chosen = DeepestActive().select([blocks((1, 1), (1, 1))] * 2)
    assert chosen.tap == "layer1.conv2"
    assert "no layer died" in chosen.reason
    assert "raise λ" in chosen.reason


def test_the_last_layer_lives_but_not_all():
    chosen = DeepestActive().select([blocks((1, 1), (1, 0), (1, 1))])
    assert chosen.tap == "layer2.conv2"
    assert "whole depth" in chosen.reason


def test_everything_died_in_one_trial():
    chosen = DeepestActive().select([blocks((1, 1), (1, 1)), blocks((0, 0), (1, 0))])
    assert chosen.tap is None
    assert chosen.stability == 0
    assert chosen.per_trial == ("layer1.conv2", None)
    assert "trial 2" in chosen.reason
    assert "lower λ" in chosen.reason


def test_trials_with_nothing_in_common():
    chosen = DeepestActive().select([blocks((1, 1), (0, 0)), blocks((0, 0), (1, 1))])
    assert chosen.tap is None
    assert "lower λ" in chosen.reason


def test_selection_survives_json():
    chosen = DeepestActive().select([blocks((1, 1), (0, 0))])
    assert Selection.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen
    with pytest.raises(ValueError, match="no selection"):
        Selection.from_dict({"tap": "a"})


def test_different_networks_are_an_error():
    with pytest.raises(ValueError, match=r"trial 2 is another network.*layer1"):
        DeepestActive().select([blocks((1, 1)), blocks((1, 1), (1, 1))])
    with pytest.raises(ValueError, match="no patterns"):
        DeepestActive().select([])
    with pytest.raises(ValueError, match="ranked"):
        DeepestActive().select([Pattern((layer("a", 1, ranked=False),))])


@pytest.mark.parametrize("options", [{"threshold": 1.0}, {"threshold": -0.1}, {"at": "stage"}])
def test_rejects_impossible_options(options):
    with pytest.raises(ValueError, match="use"):
        DeepestActive(**options)


def test_rules_by_name_and_of_ones_own():
    assert isinstance(rule("deepest-active", threshold=0.1), DeepestActive)
    assert RULES["deepest-active"] is DeepestActive
    with pytest.raises(ValueError, match=r"unknown selection rule 'deepest'.*deepest-active"):
        rule("deepest")

    class First(SelectionRule):
        name = "first"

        def choose(self, patterns):
            return Selection.among("layer0.conv1", [one.ranked[0].name for one in patterns], "it is the first")

    chosen = rule(First()).select([blocks((1, 1))])
    assert (chosen.tap, chosen.stability) == ("layer0.conv1", 1.0)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm1, self.conv2 = (
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 3, padding=1),
        )

    def forward(self, x):
        return x + self.conv2(self.norm1(self.conv1(x)).relu())


def test_on_a_real_network_the_tap_is_one_of_its_modules():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(Block(), Block()), nn.Sequential(Block(), Block()))
    with torch.no_grad():
        network[2][1].conv2.weight.zero_()
        network[2][0].conv1.weight.zero_()
    found = pattern(network)
    modules = dict(network.named_modules())
    for at, expected in (("conv", "1.1.conv2"), ("block", "1.1")):
        tap = DeepestActive(at=at).select([found]).tap
        assert tap == expected
        assert tap in modules
    # What the rule calls dead is: the tapped block's output arrives at the end unchanged but for constants.
    network.eval()
    x = torch.randn(2, 3, 12, 12)
    tapped = network[1](network[0](x))
    rest = network[2](tapped) - tapped
    torch.testing.assert_close(rest[0], rest[1])


def test_a_rule_says_what_it_is_and_so_a_run_can_be_recognized():
    assert repr(DeepestActive(threshold=0.05)) == "DeepestActive(threshold=0.05, at='conv')"
