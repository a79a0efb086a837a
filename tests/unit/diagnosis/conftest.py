"""Runs in which the cause of a task's loss was planted."""

import numpy as np
import pytest
import torch
from torch import nn

from lomt.data import Samples, Source
from lomt.methods import Setup, Train
from lomt.runs import RunFolder
from lomt.tasks import Regression, Segmentation
from lomt.training import Recipe

COUNTS = {"train": 96, "validation": 48, "test": 8}
SHIFT = 3
"""Pixels to the right at which the task "far" sees what is bright here; each convolution of the chain sees one."""


class Chain(nn.Sequential):
    """Four plain convolutions, each with a norm."""

    def __init__(self, width=8):
        layers = []
        for inputs in (3, width, width, width):
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(*layers)


class Mean(nn.Module):
    """A decoder without a will of its own: the mean of the first channels."""

    def __init__(self, _channels, task):
        super().__init__()
        self.outputs = task.channels

    def forward(self, features):
        return features[:, : self.outputs].mean((2, 3)) - 0.5


def read(channels, task):
    """A linear decoder."""
    if task.dense:
        return nn.Conv2d(channels, task.channels, 1)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.channels))


class Patches(Source):
    """Bright patches on dark ground. ``up`` is how bright all is, ``down`` is minus that, ``near`` is where a patch is
    and ``far`` where one would be if all moved to the right, ``texture`` how many patches there are; ``noise`` is drawn
    by chance, so that nothing can be learned of it."""

    def __init__(self, names=("up", "down"), weights=(1.0, 1.0)):
        kinds = {"near": 2, "far": 2}
        tasks = [
            Segmentation(name, kinds[name], weight=weight) if name in kinds else Regression(name, weight=weight)
            for name, weight in zip(names, weights, strict=True)
        ]
        super().__init__(tasks, (16, 16), 16, augment=False)

    def samples(self, split):
        count = COUNTS[split]
        draw = np.random.default_rng(list(COUNTS).index(split))
        bright = draw.random((count, 16, 16)) < draw.uniform(0.05, 0.6, (count, 1, 1))
        image = (200 * bright[:, None] + draw.integers(0, 30, (count, 3, 16, 16))).astype(np.uint8)
        up = (4 * (bright.mean((1, 2)) - 0.3)).astype(np.float32)[:, None]
        edges = np.abs(np.diff(bright.astype(np.float32), axis=2)).mean((1, 2))[:, None]
        arrays = {
            "image": image,
            "near": bright.astype(np.uint8),
            "far": np.roll(bright, SHIFT, 2).astype(np.uint8),
            "up": up,
            "down": -up,
            "texture": (4 * edges).astype(np.float32),
            "noise": draw.normal(size=(count, 1)).astype(np.float32),
        }
        names = {task.name for task in self.tasks} | {"image"}
        return Samples({key: value for key, value in arrays.items() if key in names}, np.arange(count))


@pytest.fixture
def chain():
    return Chain


@pytest.fixture
def patches():
    return Patches


@pytest.fixture
def linear():
    return read


@pytest.fixture
def mean():
    return Mean


@pytest.fixture
def train_run(tmp_path):
    """Trains single-task networks and one multi-task network, as a run does; returns its folder and setup."""

    def train(source, taps, decoder, method="multi_task", balancing="equal", epochs=12):
        folder = RunFolder(tmp_path / "run")
        recipe = Recipe(epochs=epochs, lr=1e-2, balancing=balancing, weight_decay=0.0)
        source.setup()
        setup = Setup(source, source.tasks, Chain, decoder, recipe, folder.stages, accelerator="cpu")
        config = {
            "data": source.describe(),
            "network": {"backbone": "Chain", "width": 64, "decoder_width": 256},
            "study": {"methods": ["single_task", method], "seeds": [0]},
            "recipe": {"balancing": balancing, "weight_decay": 0.0},
        }
        stages = [Train(f"single_task/{name}/seed-0", "single_task", {name: setup.end}, 0) for name in setup.task_names]
        with folder.locked(config):
            for stage in [*stages, Train(f"{method}/seed-0", method, taps, 0)]:
                folder.write_result(stage.name, stage.run(setup, folder.stages / stage.name, lambda *_: None))
        return folder, setup

    return train


@pytest.fixture
def batch():
    """A batch of the source's training images."""

    def make(source, count=16):
        source.setup()
        return source.split("train").__getitems__(range(count))

    return make


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
