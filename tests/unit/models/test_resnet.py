import pytest
import torch
from torch import nn

from lomt.models import BACKBONES, backbone, taps

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


def small(name, output_stride=8):
    return backbone(name, width=4, output_stride=output_stride)


@pytest.mark.parametrize(
    ("output_stride", "strides"), [(8, [2, 4, 8, 8, 8]), (16, [2, 4, 8, 16, 16]), (32, [2, 4, 8, 16, 32])]
)
@pytest.mark.parametrize(("name", "expansion"), [("resnetd18", 1), ("resnetd26", 4)])
def test_stages_have_the_channels_and_strides_of_the_paper(name, expansion, output_stride, strides):
    found = [tap for tap in taps(small(name, output_stride), torch.zeros(1, 3, 64, 96)) if tap.name in STAGES]
    assert [tap.stride for tap in found] == strides
    assert [tap.channels for tap in found] == [4, *(4 * expansion * 2**stage for stage in range(4))]
    assert found[-1].shape == (1, found[-1].channels, 64 // output_stride, 96 // output_stride)


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_are_as_published(name):
    # Millions, of ResNet-D with a classifier of 1000 classes, as timm lists them.
    published = {"resnetd18": 11.71, "resnetd26": 16.01, "resnetd50": 25.58, "resnetd101": 44.57}
    with torch.device("meta"):
        net = backbone(name)
    features = net.layer4[-1].conv1.in_channels
    total = sum(parameter.numel() for parameter in net.parameters()) + 1000 * features + 1000
    assert round(total / 1e6, 2) == published[name]


@pytest.mark.parametrize(("output_stride", "dilations"), [(8, (1, 1, 2, 4)), (16, (1, 1, 1, 2)), (32, (1, 1, 1, 1))])
@pytest.mark.parametrize("name", ["resnetd18", "resnetd26"])
def test_a_stage_that_may_not_reduce_dilates(name, output_stride, dilations):
    net = small(name, output_stride)
    assert tuple(net.get_submodule(f"layer{stage}.1.conv2").dilation[0] for stage in (1, 2, 3, 4)) == dilations
    total = 2 * 2  # stem and pooling
    for module in net.modules():
        if isinstance(module, nn.AvgPool2d):
            total *= module.stride
    assert total == output_stride


def test_a_stride_is_reached_where_the_image_is_odd():
    assert small("resnetd26")(torch.zeros(2, 3, 45, 71)).shape[-2:] == (6, 9)


def test_a_dilated_stage_keeps_the_receptive_field_centred():
    net = small("resnetd18").eval().double()
    for stage in ("layer3", "layer4"):
        x = torch.zeros(1, net.get_submodule(stage)[0].conv1.in_channels, 17, 17, dtype=torch.float64)
        x[..., 8, 8] = 1
        plain = net.get_submodule(stage)
        changed = (plain(x) - plain(0 * x)).abs().sum((0, 1)) > 0
        rows = changed.any(1).nonzero().flatten()
        assert int(rows.min()) + int(rows.max()) == 16


def test_features_of_a_fresh_backbone_neither_vanish_nor_explode():
    torch.manual_seed(0)
    deviation = backbone("resnetd50", width=8)(torch.randn(4, 3, 64, 64)).std()
    assert 0.1 < deviation < 10


@pytest.mark.parametrize("width", [0, 1, 7, -4])
def test_an_impossible_width_is_refused(width):
    with pytest.raises(ValueError, match=f"backbone width {width}"):
        backbone("resnetd18", width=width)


def test_an_impossible_output_stride_is_refused():
    with pytest.raises(ValueError, match="output stride 4: use one of 8, 16, 32"):
        backbone("resnetd18", output_stride=4)


def test_an_unknown_backbone_names_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown backbone 'resnetd81': choose one of resnetd18, .* – did you mean"):
        backbone("resnetd81")
