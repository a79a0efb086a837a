"""A network that is no network: its outputs follow from the colours, so that one knows what must come out."""

import pytest
import torch
from torch import nn

from lomt.tasks import Classification, Depth, Edges, Normals, Regression, Segmentation


class Colours(nn.Module):
    """Class 0 where red is strongest, and so on; the rest from the mean of a pixel."""

    def __init__(self, size=(32, 48)):
        super().__init__()
        self.tasks = [
            Segmentation("seg", ["red", "green", "blue"]),
            Depth("depth"),
            Normals("normals"),
            Edges("edges"),
            Classification("room", ["dark", "light"]),
            Classification("labels", ["warm", "cold"], multilabel=True),
            Regression("light", 2),
        ]
        self.normalization = ([0.5] * 3, [0.25] * 3)
        self.shapes = [(1, 3, *size)]
        self.delta_m = None
        self.seen = []

    def forward(self, image):
        self.seen.append(tuple(image.shape))
        colours = image * 0.25 + 0.5
        grey = colours.mean(1, keepdim=True)
        light = grey.mean((2, 3))
        return {
            "seg": colours,
            "depth": grey,
            "normals": colours - 0.5,
            "edges": 8 * (grey - 0.5),
            "room": torch.cat([0.5 - light, light - 0.5], 1),
            "labels": torch.cat([light, -light], 1),
            "light": torch.cat([light, 2 * light], 1),
        }


@pytest.fixture
def colours():
    return Colours()
