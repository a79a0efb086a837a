"""Networks whose tasks still choose their taps, and what they become."""

import pytest
import torch
from torch import nn

import lomt
from lomt.models import SelectingNetwork, backbone, decoder
from lomt.tasks import Classification, Depth, Segmentation

TAPS = ["layer1.1", "layer2.1", "layer3.0", "layer4.1"]
EXAMPLE = torch.zeros(1, 3, 64, 64)


def made(size_of=None, tasks=None):
    torch.manual_seed(0)
    tasks = tasks or [Segmentation("seg", 5), Depth("depth"), Classification("room", 3)]
    root = backbone("resnetd18", 8, 16)
    net = SelectingNetwork(root, tasks, TAPS, decoder("light", width=8), 8, EXAMPLE, size_of)
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 64, 64))  # so that norms have statistics
    return net.eval(), root


@pytest.mark.parametrize("size_of", [None, "layer4.1", "layer2.1"])
def test_hardened_it_computes_the_same_and_has_no_more_than_that(size_of):
    net, root = made(size_of)
    chosen = {"seg": "layer1.1", "depth": "layer3.0", "room": "layer2.1"}
    for task, tap in chosen.items():
        net.selector.keep(task, [tap])
    with torch.no_grad():
        net.selector.weights["depth"][2][:, 3] = 0
    net.selector.settle()
    hard = net.harden(root, EXAMPLE)
    assert hard.taps == {task: (tap,) for task, tap in chosen.items()}
    assert not any("layer4" in name for name in hard.state_dict())
    image = torch.randn(2, 3, 64, 96)
    expected, found = net(image), hard(image)
    for task in chosen:
        assert torch.allclose(found[task], expected[task], atol=1e-6), task
    small = lomt.compact(hard, EXAMPLE)
    assert not small.record.nothing, "a dead channel of a projection can go"
    for task, output in small.eval()(image).items():
        assert torch.allclose(output, expected[task], atol=1e-5), task


def test_several_taps_that_are_alike_in_stride_harden_exactly():
    net, root = made()
    for task in net.selector.tasks:
        net.selector.keep(task, ["layer3.0", "layer4.1"])
    image = torch.randn(2, 3, 64, 64)
    expected, found = net(image), net.harden(root, EXAMPLE)(image)
    for task in net.selector.tasks:
        assert torch.allclose(found[task], expected[task], atol=1e-6), task


def test_some_tasks_alone():
    net, _ = made()
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(net(image, ["depth"])["depth"], net(image)["depth"])
    with pytest.raises(ValueError, match="unknown task 'dept'"):
        net(image, ["dept"])


def test_a_dense_task_must_not_be_left_with_a_point():
    root = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1))
    with pytest.raises(ValueError, match=r"tap '1' has no spatial extent.*'depth' is dense"):
        SelectingNetwork(root, [Depth("depth")], ["0", "1"], decoder("light"), 4, EXAMPLE)
    SelectingNetwork(root, [Classification("room", 3)], ["0", "1"], decoder(), 4, EXAMPLE)
