"""Every parameter in just one group, and only the backbone's convolutions penalized."""

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from lomt.optim import ProxAdamW, parameter_groups
from lomt.sparsity import GroupLasso


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1)
        )
        self.decoders = nn.ModuleDict({"a": nn.Conv2d(4, 2, 1)})
        self.log_variance = nn.Parameter(torch.zeros(()))


@pytest.mark.parametrize("penalty", [GroupLasso(0.1), None])
def test_each_parameter_once(penalty):
    network = Network()
    groups = parameter_groups(network, penalty)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in network.parameters())
    ProxAdamW(groups)


def test_only_the_backbones_convolutions_are_penalized():
    network, penalty = Network(), GroupLasso(0.1)
    groups = parameter_groups(network, penalty)
    found = {id(weight): group for group in groups for weight in group["params"] if group["penalty"] is penalty}
    convs = [network.backbone[0].weight, network.backbone[2].weight, network.backbone[3].weight]
    assert set(found) == {id(weight) for weight in convs}
    assert [found[id(weight)]["conv_groups"] for weight in convs] == [1, 4, 1]
    free = [group for group in groups if group["penalty"] is None]
    assert all(("weight_decay" in group) == all(w.ndim < 2 for w in group["params"]) for group in free)
    assert {group.get("weight_decay") for group in free} == {None, 0.0}


def test_decoders_may_be_penalized_too():
    network, penalty = Network(), GroupLasso(0.1)
    groups = parameter_groups(network, penalty, where=network)
    penalized = {id(weight) for group in groups for weight in group["params"] if group["penalty"] is penalty}
    assert penalized == {id(weight) for weight in network.parameters() if weight.ndim == 4}


def test_a_module_without_backbone_is_penalized_whole():
    groups = parameter_groups(Network().backbone, GroupLasso(0.1), axis="out")
    assert sum(len(group["params"]) for group in groups if group["penalty"]) == 3
    assert {group["axis"] for group in groups} == {"out"}


def penalized(network, **settings):
    """The names of the weights that get the penalty."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = parameter_groups(network, GroupLasso(0.1), **settings)
    return [names[id(weight)] for group in groups for weight in group["params"] if group["penalty"]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_the_backbone_is_found_below_wrappers(wrap, caplog):
    plain = penalized(Network())
    wrapped = wrap(Network())
    assert [name.removeprefix("module.").removeprefix("_orig_mod.") for name in penalized(wrapped)] == plain
    assert not caplog.records


def test_an_encoder_is_a_backbone():
    network = Network()
    network.encoder = network.backbone
    del network.backbone
    assert all(name.startswith("encoder") for name in penalized(network))


def test_a_guess_that_penalizes_heads_is_said(caplog):
    network = Network()
    network.trunk = network.backbone
    del network.backbone
    assert "decoders.a.weight" in penalized(network)
    assert "on 4 of 4 layers of kind Conv2d" in caplog.text
    assert "where= chooses" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "lomt"):
        assert "decoders.a.weight" not in penalized(network, where=network.trunk)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "on 3 of 4 layers" in caplog.text


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (lambda net: net.decoders, ["decoders.a.weight"]),
        (lambda net: [net.backbone[0], net.decoders], ["backbone.0.weight", "decoders.a.weight"]),
        (
            lambda _: lambda name, layer: name.startswith("backbone") and layer.kernel_size == (1, 1),
            ["backbone.3.weight"],
        ),
    ],
    ids=["a module", "several", "a function"],
)
def test_where_chooses(where, expected):
    network = Network()
    assert penalized(network, where=where(network)) == expected


def test_where_that_names_nothing_is_refused():
    with pytest.raises(ValueError, match="where= names no Conv2d of Network"):
        penalized(Network(), where=nn.Conv2d(3, 4, 1))
    assert not [group for group in parameter_groups(nn.Linear(2, 2), GroupLasso(0.1)) if group["penalty"]]


def test_linear_layers_on_demand():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    assert penalized(network) == ["0.weight"]
    assert penalized(network, kinds=(nn.Conv2d, nn.Linear)) == ["0.weight", "2.weight"]
    assert penalized(network, kinds=nn.Linear) == ["2.weight"]


def test_computed_weights_have_no_penalty_and_that_is_said(caplog):
    network = Network()
    torch.nn.utils.parametrizations.weight_norm(network.backbone[0])
    torch.nn.utils.prune.l1_unstructured(network.backbone[3], "weight", 0.5)
    assert penalized(network) == ["backbone.2.weight"]
    assert "no penalty on backbone.0, backbone.3" in caplog.text


def test_a_shared_weight_is_penalized_once():
    network = Network()
    network.decoders["a"] = nn.Conv2d(4, 4, 1)
    network.decoders["a"].weight = network.backbone[3].weight
    assert penalized(network, where=network.decoders) == ["backbone.3.weight"]
