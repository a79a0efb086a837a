"""A task more for a trained network: what it had stays bit for bit, and few shots are enough to learn something."""

import logging

import pytest
import torch
from torch import nn

import lomt
from lomt.data.shots import shots as drawn
from lomt.evaluation import evaluate
from lomt.models import Network, backbone, decoder
from lomt.selection import TapSearch
from lomt.tasks import Classification, Depth
from lomt.training import Recipe, fit, seed_everything


@pytest.fixture(scope="module")
def trained(shapes_once):
    seed_everything("add")
    tasks = [task for task in shapes_once.tasks if task.name in ("seg", "edges")]
    taps = {"seg": "layer3.1", "edges": "layer2.0"}
    network = Network(backbone("resnetd18", 8, 16), tasks, taps, decoder("light", width=8), torch.zeros(1, 3, 32, 32))
    fit(network, shapes_once, Recipe(epochs=6, lr=5e-3))
    return network.eval()


def task_of(source, name):
    return next(task for task in source.tasks if task.name == name)


@pytest.mark.parametrize("name", ["depth", "many"])
def test_old_outputs_stay_and_the_new_task_is_learned(trained, shapes_once, name):
    task, image = task_of(shapes_once, name), torch.randn(2, 3, 32, 32)
    before = trained(image)
    more = lomt.add_task(trained, task, shapes_once, shots=16, steps=150)
    assert list(trained.taps) == ["seg", "edges"], "the network that was given has changed"
    assert list(more.taps) == ["seg", "edges", name]
    after = more(image)
    for old, output in before.items():
        assert torch.equal(after[old], output)
    test = shapes_once.test_dataloader()
    found = evaluate(more, test, [task], torch.device("cpu"))[name]
    metric = task.headline[0]
    fresh = lomt.add_task(trained, task, shapes_once, shots=16, steps=1)
    worse = evaluate(fresh, test, [task], torch.device("cpu"))[name]
    better = found[metric] >= worse[metric] if task.higher_is_better[metric] else found[metric] < worse[metric]
    assert better
    assert sum(parameter.numel() for parameter in more.backbone.parameters()) == sum(
        parameter.numel() for parameter in trained.backbone.parameters()
    )


@pytest.mark.parametrize(("keep", "kept"), [(1, 1), (3, 3), (99, 7)])
def test_it_keeps_as_many_taps_as_asked(trained, shapes_once, keep, kept):
    more = lomt.add_task(trained, task_of(shapes_once, "depth"), shapes_once, shots=8, keep=keep, steps=40)
    taps = more.taps["depth"]
    assert len(taps) == kept
    assert set(taps) <= {tap.name for tap in lomt.taps(trained.backbone, torch.zeros(1, 3, 32, 32))}
    assert kept < 7 or taps[0] == "maxpool", "what the stem computes is a candidate"


def test_with_its_new_task_it_is_compacted_as_any(trained, shapes_once):
    more = lomt.add_task(trained, task_of(shapes_once, "depth"), shapes_once, shots=8, steps=30)
    image = torch.randn(2, 3, 32, 32)
    small = lomt.compact(more, image[:1])
    for name, output in more(image).items():
        assert torch.allclose(small.eval()(image)[name], output, atol=1e-5)


def test_the_same_seed_gives_the_same_network(trained, shapes_once):
    one, two, other = (
        lomt.add_task(trained, task_of(shapes_once, "depth"), shapes_once, shots=8, steps=20, seed=seed)
        for seed in (0, 0, 1)
    )
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(one(image)["depth"], two(image)["depth"])
    assert not torch.equal(one(image)["depth"], other(image)["depth"])


def test_shots_have_labels_and_classes_alike(shapes_once):
    split = shapes_once.split("train")
    many = task_of(shapes_once, "many")
    chosen = drawn(split, many, 8, seed=0)
    labels = [int(split[index]["many"]) for index in chosen]
    assert len(set(chosen)) == 8
    assert sorted(labels) == [0] * 4 + [1] * 4
    assert drawn(split, many, 8, seed=0) == chosen != drawn(split, many, 8, seed=1)
    assert sorted(drawn(split, many, None, seed=0)) == list(range(len(split)))


def test_shots_without_labels_are_not_drawn(shapes):
    split = shapes.split("train")
    depth = split.samples.arrays["depth"]
    depth[:20] = float("nan")
    assert sorted(drawn(split, task_of(shapes, "depth"), 10, seed=0)) == [20, 21, 22, 23]
    depth[:] = float("nan")
    with pytest.raises(ValueError, match="none of 24 samples has a label of task 'depth'"):
        drawn(split, task_of(shapes, "depth"), 10, seed=0)


def test_a_class_without_a_shot_is_said(shapes, caplog):
    split = shapes.split("train")
    split.samples.arrays["many"][:] = 1
    with caplog.at_level(logging.WARNING, logger="lomt"):
        drawn(split, task_of(shapes, "many"), 4, seed=0)
    assert "no shot is of class 0 of task 'many'" in caplog.text


def test_what_can_not_be_is_refused(trained, shapes_once):
    depth = task_of(shapes_once, "depth")
    with pytest.raises(ValueError, match="2 tasks are called 'seg'"):
        lomt.add_task(trained, task_of(shapes_once, "seg"), shapes_once)
    with pytest.raises(ValueError, match="no labels of task 'far'"):
        lomt.add_task(trained, Depth("far"), shapes_once)
    with pytest.raises(ValueError, match="no candidate 'layer9'"):
        lomt.add_task(trained, depth, shapes_once, 4, search=TapSearch(("layer9",)))
    with pytest.raises(ValueError, match="shots"):
        lomt.add_task(trained, depth, shapes_once, 0)
    with pytest.raises(ValueError, match="keep"):
        lomt.add_task(trained, depth, shapes_once, 4, keep=0)


class Branching(nn.Module):
    """Its way depends on values, so that no graph stands for it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.first(x)
        return self.second(x) if x.sum() < 1e30 else self.second(2 * x)


@pytest.mark.filterwarnings("ignore")
def test_a_backbone_that_can_not_be_traced_is_named(shapes_once):
    net = Network(Branching(), [Classification("many", 2)], {"many": "second"}, example=torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="can't be traced"):
        lomt.add_task(
            net, task_of(shapes_once, "depth"), shapes_once, 4, steps=2, search=TapSearch(("first",), width=4)
        )


class Last(nn.Module):
    """Maps with channels last."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).contiguous()


class First(nn.Module):
    """And back."""

    def forward(self, x):
        return x.permute(0, 3, 1, 2)


class Mixed(nn.Sequential):
    """A rectifier that works in place, and maps with channels last."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), Last(), First(), nn.Conv2d(4, 4, 1))


@pytest.mark.parametrize("tap", ["0", "2"], ids=["changed in place later on", "channels last"])
def test_taps_of_any_layout(shapes_once, tap):
    torch.manual_seed(0)
    image = torch.randn(1, 3, 32, 32)
    root = Mixed().eval()
    net = Network(root, [task_of(shapes_once, "seg")], {"seg": "4"}, decoder("light", width=4), image)
    more = lomt.add_task(
        net.eval(), task_of(shapes_once, "depth"), shapes_once, 4, steps=2, search=TapSearch((tap,), width=4)
    )
    assert torch.equal(more(image)["seg"], net(image)["seg"])
    features = root[0](image) if tap == "0" else root[1](root[0](image))
    assert torch.equal(more.backbone(image, [tap])[tap], features)
