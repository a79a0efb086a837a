"""Every parameter in just one group, and only the backbone's convolutions penalized."""

import pytest
import torch
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
    groups = parameter_groups(network, penalty, decoders=True)
    penalized = {id(weight) for group in groups for weight in group["params"] if group["penalty"] is penalty}
    assert penalized == {id(weight) for weight in network.parameters() if weight.ndim == 4}


def test_a_module_without_backbone_is_penalized_whole():
    groups = parameter_groups(Network().backbone, GroupLasso(0.1), axis="out")
    assert sum(len(group["params"]) for group in groups if group["penalty"]) == 3
    assert {group["axis"] for group in groups} == {"out"}
