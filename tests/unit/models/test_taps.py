import re

import pytest
import torch
from torch import nn

from lomt.compaction import compact
from lomt.models import Network, Tap, backbone, taps
from lomt.models.taps import find
from lomt.tasks import Depth


def test_every_submodule_that_gives_a_map_is_listed_in_order_of_completion(make, image):
    ended = []
    backbone = make("resnetd18")
    for name, module in backbone.named_modules():
        if name:
            module.register_forward_hook(lambda *_, name=name: ended.append(name))
    found = taps(backbone, image)
    assert [tap.name for tap in found] == ended[: len(found)]
    assert {tap.name for tap in found} == {name for name, _ in backbone.named_modules() if name}
    assert Tap("layer2.0.downsample.0", 8, 8, (2, 8, 8, 12)) in found


def test_outputs_that_are_no_maps_are_left_out(make, image):
    assert "fc" not in [tap.name for tap in taps(make("functional"), image)]
    assert [tap.name for tap in taps(make("chain"), image)][-1] == "4"


def test_a_shared_module_counts_where_it_ends_last(make, image):
    assert [tap.name for tap in taps(make("twice"), image)] == ["conv1", "again", "tail"]
    found = {tap.name: tap for tap in taps(make("twice"), image)}
    assert find(make("twice"), "alias", found).name == "again"


def test_stride_of_uneven_axes_is_the_larger(image):
    assert taps(nn.Sequential(nn.AdaptiveAvgPool2d((1, 96))), image)[0].stride == 64
    assert taps(nn.Sequential(nn.Upsample(scale_factor=2)), image)[0].stride == 1


def test_listing_leaves_no_trace(make, image):
    backbone = make("resnetd18").train()
    backbone.layer1.eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    modes = [module.training for module in backbone.modules()]
    taps(backbone, image)
    assert [module.training for module in backbone.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert not any(module._forward_hooks for module in backbone.modules())


def test_a_backbone_of_another_type_gets_images_of_its_type(make):
    assert taps(make("resnetd18").double())[0].name == "stem.conv1"


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.zeros(3, 64, 64), "example of shape (3, 64, 64)"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "torch.uint8: give float images"),
        (torch.zeros(0, 3, 64, 64), "example of shape (0, 3, 64, 64)"),
        (torch.zeros(1, 4, 64, 64), "the backbone can't run an example of shape (1, 4, 64, 64)"),
    ],
)
def test_a_bad_example_is_one_clear_error(make, example, message):
    backbone = make("resnetd18")
    with pytest.raises(ValueError, match=re.escape(message)):
        taps(backbone, example)
    assert not any(module._forward_hooks for module in backbone.modules())


class Tokens(torch.nn.Module):
    """As in Swin: maps whose channels are last, a weight that a module computes, scores of each pair of places."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv2d(3, 6, 4, stride=4))
        self.norm, self.mix = torch.nn.LayerNorm(6), torch.nn.Linear(6, 10)
        self.scores = torch.nn.Softmax(-1)
        self.tail = torch.nn.Conv2d(10, 4, 1)

    def forward(self, x):
        x = self.mix(self.norm(self.embed(x).permute(0, 2, 3, 1)))
        y = x.flatten(1, 2)
        y = self.scores((y @ y.transpose(1, 2))[:, None])[:, 0] @ y
        return self.tail(y.view(x.shape).permute(0, 3, 1, 2))


@pytest.mark.parametrize("fixed", [False, True])
def test_maps_with_channels_last_are_told_by_what_grows(fixed):
    net = Tokens()
    if fixed:
        net.register_forward_pre_hook(lambda _, inputs: inputs[0].view(-1, 3, 32, 64))
    found = taps(net, torch.zeros(2, 3, 32, 64))
    shapes = {tap.name: (tap.shape, tap.stride, tap.channels_last) for tap in found if tap.name != "scores"}
    assert shapes == {
        "embed": ((2, 6, 8, 16), 4, False),
        "norm": ((2, 6, 8, 16), 4, True),
        "mix": ((2, 10, 8, 16), 4, True),
        "tail": ((2, 4, 8, 16), 4, False),
    }
    assert fixed or len(found) == 4  # scores grow along every axis but one, and are no map


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_a_network_reads_maps_with_channels_last(size):
    net = Network(Tokens(), [Depth("a"), Depth("b")], {"a": "mix", "b": ["norm", "tail"]}, "light").eval()
    image = torch.randn(2, 3, *size)
    outputs, small = net(image), compact(net, torch.zeros(1, 3, 64, 64))
    assert {name: output.shape for name, output in outputs.items()} == dict.fromkeys("ab", (2, 1, *size))
    assert net.backbone(image)["mix"].shape == (2, 10, size[0] // 4, size[1] // 4)
    for name, output in small(image).items():
        torch.testing.assert_close(output, outputs[name], rtol=1e-4, atol=1e-5)


class TwoEyes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(1, 4, 3)

    def forward(self, image, depth, scale=1):
        return self.left(image) + self.right(depth) * scale


def test_several_inputs_are_given_as_a_tuple():
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32), 2)
    assert [(tap.name, tap.channels) for tap in taps(TwoEyes(), example)] == [("left", 4), ("right", 4)]
    with pytest.raises(ValueError, match=r"no images .* among its values"):
        taps(TwoEyes(), (1, 2))
    with pytest.raises(TypeError, match="the example is a tuple: a network maps one batch of images"):
        Network(TwoEyes(), [Depth("a")], {"a": "left"}, example=example)


@pytest.mark.parametrize("side", range(16, 161, 16))
def test_taps_are_the_same_at_any_size(side):
    net = backbone("resnetd18", 8, 16)
    names = [tap.name for tap in taps(net)]
    assert [tap.name for tap in taps(net, torch.zeros(1, 3, side, side))] == names
