"""The sparsity pattern: order, what counts, which layers are ranked, which stand in series."""

import json

import pytest
import torch
from torch import nn

from lomt.sparsity import LayerPattern, Pattern, channel_groups, pattern


class Block(nn.Module):
    """A residual block whose attributes are named as a user pleases, registered in another order than they run."""

    def __init__(self, inner, outer, stride=1, gate=False):
        super().__init__()
        self.side = nn.Conv2d(inner, outer, 1, stride) if inner != outer or stride > 1 else nn.Identity()
        self.second = nn.Sequential(nn.Conv2d(outer, outer, 3, padding=1), nn.BatchNorm2d(outer))
        self.first = nn.Sequential(nn.Conv2d(inner, outer, 3, stride, 1), nn.BatchNorm2d(outer), nn.ReLU(inplace=True))
        parts = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(outer, 2, 1), nn.ReLU(), nn.Conv2d(2, outer, 1), nn.Sigmoid()]
        self.gate = nn.Sequential(*parts) if gate else None

    def forward(self, x):
        y = self.first(x)
        if self.gate is not None:
            y = y * self.gate(y)
        return torch.relu_(self.second(y) + self.side(x))


class Residual(nn.Module):
    def __init__(self, gate=False):
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2))
        self.stage1 = nn.Sequential(Block(4, 4, gate=gate), Block(4, 4))
        self.neck = nn.Conv2d(4, 4, 1)
        self.stage2 = nn.Sequential(Block(4, 8, 2, gate=gate), Block(8, 8))
        self.unused = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return {"features": [self.stage2(self.neck(self.stage1(self.early(x))))]}


def names(layers):
    return [layer.name for layer in layers]


@pytest.mark.parametrize("gate", [False, True])
def test_structure_of_a_residual_network_without_any_telling_names(gate):
    found = pattern(Residual(gate))
    main = [
        *["stage1.0.first.0", "stage1.0.second.0", "stage1.1.first.0", "stage1.1.second.0", "neck"],
        *["stage2.0.first.0", "stage2.0.second.0", "stage2.1.first.0", "stage2.1.second.0"],
    ]
    assert names(found.ranked) == main
    assert set(names(found.layers)) - set(main) >= {"early.0", "early.2", "stage2.0.side"}
    assert "unused" not in names(found.layers)
    for name in main:
        if name == "neck":
            assert (found[name].block, found[name].end) == ("neck", "neck")
        else:
            block = ".".join(name.split(".")[:2])
            assert (found[name].block, found[name].end) == (block, f"{block}.second.0")
            assert found[name].block_end == ("second" in name)


def test_execution_order_is_not_definition_order():
    found = names(pattern(Residual()).layers)
    assert found.index("stage2.0.first.0") < found.index("stage2.0.second.0")
    defined = [view.name for view in channel_groups(Residual())]
    assert defined.index("stage2.0.first.0") > defined.index("stage2.0.second.0")


def test_a_plain_chain_has_no_blocks_and_only_its_first_layer_is_the_stem():
    network = nn.ModuleDict(
        {"features": nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 3))}
    )
    network.forward = lambda x: network["features"](x)
    found = pattern(network)
    assert names(found.ranked) == ["features.2", "features.3"]
    assert [layer.end for layer in found.layers] == names(found.layers)
    assert [layer.block for layer in found.layers] == names(found.layers)


def test_names_can_tell_too_and_a_predicate_decides():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.downsample, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            return self.conv2(self.downsample(self.conv1(x)))

    assert names(pattern(Named()).ranked) == ["conv2"]
    assert names(pattern(Named(), ranked=lambda name: name != "conv2").ranked) == ["conv1", "downsample"]


def test_liveness_density_and_sparsity():
    network = Residual()
    with torch.no_grad():
        network.stage2[1].second[0].weight[:, :6] = 0
        network.unused.weight.zero_()
    found = pattern(network)
    assert found["stage2.1.second.0"].alive == (False,) * 6 + (True,) * 2
    assert found.density("stage2.1.second.0") == 0.25
    groups = sum(view.channels for view in channel_groups(network)) - 8
    assert found.sparsity == pytest.approx(6 / groups)
    assert found.density("neck") == 1.0
    with pytest.raises(KeyError, match=r"no layer 'unused'.*neck"):
        found.density("unused")


def test_output_channels():
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1))
    assert [len(layer.alive) for layer in pattern(network, axis="out").layers] == [5, 2]


def test_nothing_of_the_network_changes():
    network = Residual().train()
    network.stage1.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    pattern(network, torch.randn(2, 3, 64, 64))
    assert modes == [module.training for module in network.modules()]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_works_on_the_backbone_of_a_network_and_under_no_grad():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = Residual(), nn.Conv2d(8, 2, 1)

        def forward(self, x):
            return self.head(self.backbone(x)["features"][0])

    with torch.no_grad():
        found = pattern(Whole())
    assert names(found.layers) == names(pattern(Residual()).layers)


def test_json_round_trip():
    found = pattern(Residual())
    again = Pattern.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert again.sparsity == found.sparsity
    for broken in (
        {},
        {"layers": [{"name": "a"}]},
        {"layers": [{"name": "a", "alive": "1", "colour": 1}]},
        {"layers": 3},
    ):
        with pytest.raises(ValueError, match="no pattern"):
            Pattern.from_dict(broken)
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        Pattern.from_dict({"layers": [{"name": "a", "alive": "12"}]})


def test_networks_without_convolutions_are_an_error():
    with pytest.raises(ValueError, match="no convolution"):
        pattern(nn.Linear(2, 2))
    network = nn.ModuleDict({"conv": nn.Conv2d(3, 2, 1)})
    network.forward = lambda x: x
    with pytest.raises(ValueError, match="runs"):
        pattern(network)


def test_a_layer_pattern_is_its_own_block_by_default():
    layer = LayerPattern("a", (True, False, False, False))
    assert (layer.block, layer.end, layer.block_end, layer.density) == ("a", "a", True, 0.25)
