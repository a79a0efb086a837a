"""The selecting layer: what it computes, what dies stays dead, and what is dead is not read."""

import pytest
import torch
from torch.nn import functional as F

from lomt.nn import TapSelector

CHANNELS = {"a": 3, "b": 5, "c": 8}


def made(tasks=("x", "y"), **options):
    torch.manual_seed(0)
    return TapSelector(CHANNELS, tasks, width=4, **options).double()


def maps(count=2):
    generator = torch.Generator().manual_seed(1)
    sizes = {"a": (12, 16), "b": (6, 8), "c": (3, 4)}
    return {tap: torch.randn(count, CHANNELS[tap], *sizes[tap], generator=generator).double() for tap in CHANNELS}


def by_hand(selector, features, task, size):
    """The sum of dense projections of normalized maps."""
    total = selector.biases[task][:, None, None]
    for number, tap in enumerate(selector.taps):
        x = features[tap]
        if x.shape[-2] > size[0]:
            x = F.avg_pool2d(x, x.shape[-2] // size[0])
        norm = selector.norms[number]
        x = F.batch_norm(x, norm.running_mean.clone(), norm.running_var.clone(), training=norm.training)
        y = F.conv2d(x, selector.weights[task][number])
        total = total + F.interpolate(y, size, mode="bilinear", align_corners=False)
    return total


@pytest.mark.parametrize(("size_of", "size"), [(None, (12, 16)), ("b", (6, 8)), ("c", (3, 4))])
@pytest.mark.parametrize("training", [True, False])
def test_sum_of_projections_at_the_common_size(size_of, size, training):
    selector, features = made(size_of=size_of).train(training), maps()
    expected = {task: by_hand(selector, features, task, size) for task in selector.tasks}
    found = selector(features)
    for task in selector.tasks:
        assert torch.allclose(found[task], expected[task], atol=1e-12)


def test_only_the_tasks_that_are_asked_for():
    selector, features = made().eval(), maps()
    assert list(selector(features, ["y"])) == ["y"]
    assert torch.equal(selector(features, ["y"])["y"], selector(features)["y"])


def test_dead_channels_and_taps_are_not_read_and_stay_dead():
    selector, features = made().eval(), maps()
    with torch.no_grad():
        selector.weights["x"][0].zero_()
        selector.weights["x"][2][:, 1] = 0
    selector.settle()
    before = selector(features)
    assert selector.surviving("x") == {"b": 5, "c": 7}
    assert selector.surviving("y") == CHANNELS
    features["c"][:, 1] = float("nan")
    assert torch.allclose(selector(features, ["x"])["x"], before["x"])
    assert selector(features, ["y"])["y"].isnan().any()
    with torch.no_grad():
        selector.weights["x"][0].add_(1.0)  # as an optimizer's momentum would
    selector.settle()
    assert not selector.weights["x"][0].any()
    assert selector.surviving("x") == {"b": 5, "c": 7}


def test_gradients_of_what_is_dead_are_exactly_zero_and_others_are_dense_ones():
    selector, features = made(), maps()
    with torch.no_grad():
        selector.weights["x"][1][:, 2] = 0
    selector.settle()
    expected = torch.autograd.grad(by_hand(selector, features, "x", (12, 16)).square().sum(), selector.weights["x"][1])[
        0
    ]
    selector(features)["x"].square().sum().backward()
    found = selector.weights["x"][1].grad
    assert not found[:, 2].any()
    kept = [0, 1, 3, 4]
    assert torch.allclose(found[:, kept], expected[:, kept], rtol=1e-9)


def test_a_task_that_reads_nothing_gets_its_bias():
    selector, features = made().eval(), maps()
    selector.keep("x", [])
    assert selector.surviving("x") == {}
    with torch.no_grad():
        selector.biases["x"].copy_(torch.arange(4.0))
    assert torch.equal(selector(features)["x"], torch.arange(4.0).double()[:, None, None].expand(2, 4, 12, 16))


def test_what_is_alive_travels_with_the_state_dict():
    selector = made()
    selector.keep("x", ["b"])
    other = made()
    other.load_state_dict(selector.state_dict())
    assert other.surviving("x") == {"b": 5}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (({}, ["x"]), "a tap and a task"),
        (({"a": 3}, []), "a tap and a task"),
        (({"a": 0}, ["x"]), "channels of tap 'a'"),
        (({"a": 3}, ["x"], 0), "width of a TapSelector"),
        (({"a": 3}, ["x"], 4, "b"), "'b' is no tap"),
    ],
)
def test_refuses_what_can_not_be(arguments, said):
    with pytest.raises(ValueError, match=said):
        TapSelector(*arguments)
