"""The other rules: mass, probe, fixed; and that every rule ranks its candidates."""

import pytest
import torch
from torch import nn

from lomt.selection import RULES, DeepestActive, Fixed, Mass, Probe, rule
from lomt.sparsity import LayerPattern, Pattern, pattern


def blocks(*masses):
    """Blocks of two layers, which share a block's mass."""
    layers = []
    for number, mass in enumerate(masses):
        place = {"block": f"layer{number}", "end": f"layer{number}.conv2", "mass": mass / 2}
        layers += [LayerPattern(f"layer{number}.conv{one}", (mass > 0,) * 4, **place) for one in (1, 2)]
    return Pattern(tuple(layers))


def test_mass_is_the_smallest_depth_that_holds_the_share():
    assert Mass(0.9, at="block").select([blocks(5, 4, 1, 0)]).tap == "layer1"
    assert Mass(0.91, at="block").select([blocks(5, 4, 1, 0)]).tap == "layer2"
    assert Mass(1.0).select([blocks(5, 4, 1, 0)]).tap == "layer2.conv2"
    assert Mass(0.5, at="block").select([blocks(5, 4, 1, 0)]).tap == "layer0"


def test_mass_over_trials_is_the_mean_of_shares():
    found = Mass(0.7, at="block").select([blocks(10, 0, 0), blocks(0, 0, 100)])
    assert found.tap == "layer2"
    assert found.per_trial == ("layer0", "layer2")
    assert found.ranking == (("layer2", 1.0), ("layer1", 0.5), ("layer0", 0.5))


def test_mass_of_a_dead_network_names_no_layer():
    found = Mass().select([blocks(1, 1), blocks(0, 0)])
    assert found.tap is None
    assert "everything died in trial 2" in found.reason


def test_mass_needs_to_have_been_noted():
    with pytest.raises(ValueError, match=r"'a\.conv' ?.*before masses were noted"):
        Mass().select([Pattern((LayerPattern("a.conv", (True,)),))])


def test_a_pattern_notes_what_a_group_lasso_would_cost():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    found = pattern(net, torch.zeros(1, 3, 8, 8))
    weight = net[0].weight.detach()
    by_hand = sum(weight[:, channel].norm() * (4 * 9) ** 0.5 for channel in range(3))
    assert found["0"].mass == pytest.approx(float(by_hand), rel=1e-5)
    assert Pattern.from_dict(found.to_dict()) == found
    old = {"layers": [{key: value for key, value in one.items() if key != "mass"} for one in found.to_dict()["layers"]]}
    assert Pattern.from_dict(old)["0"].mass is None


def test_fixed_is_a_share_of_the_depth_for_every_task():
    pattern = blocks(1, 1, 1, 1, 1)
    taps = {depth: Fixed(depth).select([pattern]).tap for depth in (0.01, 0.2, 0.5, 1.0)}
    assert taps == {0.01: "layer0", 0.2: "layer0", 0.5: "layer2", 1.0: "layer4"}
    assert Fixed(1.0, at="conv").select([pattern]).tap == "layer4.conv2"
    assert Fixed(0.5).select([pattern]).ranking[0] == ("layer2", 1.0)


def test_probe_is_the_shallowest_near_the_best():
    losses = {"a": 2.0, "b": 1.005, "c": 1.0, "d": 1.5}
    found = Probe(0.01).select([losses])
    assert found.tap == "b"
    assert found.ranking == (("b", pytest.approx(-0.005)), ("c", 0.0), ("d", -0.5), ("a", -1.0))
    assert Probe(0.0).select([losses]).tap == "c"
    two = Probe(0.0).select([losses, {"a": 0.1, "b": 1.0, "c": 1.0, "d": 1.0}])
    assert two.tap == "c"
    assert two.per_trial == ("c", "a")


def test_probe_refuses_trials_of_other_layers():
    with pytest.raises(ValueError, match="other layers"):
        Probe().select([{"a": 1.0}, {"b": 1.0}])
    with pytest.raises(ValueError, match="no losses"):
        Probe().select([])


def test_every_rule_goes_by_its_name_and_ranks_all_candidates():
    assert sorted(RULES) == ["deepest-active", "fixed", "mass", "probe"]
    for name in RULES:
        evidence = [{"layer0": 1.0, "layer1": 2.0}] if name == "probe" else [blocks(3, 1)]
        found = rule(name).select(evidence)
        assert found.ranking[0][0] == found.tap, name
        assert len(found.ranking) == 2, name


def test_deepest_active_scores_by_the_share_of_trials():
    ranking = DeepestActive(at="block").select([blocks(1, 1, 0), blocks(1, 0, 0)]).ranking
    assert ranking == (("layer0", 1.0), ("layer1", 0.5), ("layer2", 0.0))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Mass(0.0), "share of the mass"),
        (lambda: Mass(at="layer"), "'conv' or 'block'"),
        (lambda: Fixed(1.5), "share of the layers"),
        (lambda: Probe(-1.0), "share of 0 or more"),
    ],
)
def test_impossible_options(make, said):
    with pytest.raises(ValueError, match=said):
        make()
