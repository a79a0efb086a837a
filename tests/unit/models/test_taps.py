import re

import pytest
import torch
from torch import nn

from lomt.models import Tap, taps
from lomt.models.taps import find


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
