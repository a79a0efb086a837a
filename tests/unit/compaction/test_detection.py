"""A detection head as others write it: a list that it changes, a grid that it keeps, slices that it overwrites."""

import copy

import pytest
import torch
from torch import nn

from lomt.compaction import compact

IMAGE = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(3, 3, 32, 16, generator=torch.Generator().manual_seed(1))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(4, 12, 1) for _ in range(2))
        self.grids, self.strides = [torch.zeros(1)] * 2, (8.0, 16.0)
        self.register_buffer("anchors", torch.rand(2, 1, 2, 1, 1, 2) + 1)

    def forward(self, maps):
        boxes = []
        for i, conv in enumerate(self.convs):
            maps[i] = conv(maps[i])
            count, _, height, width = maps[i].shape
            maps[i] = maps[i].view(count, 2, 6, height * width).permute(0, 1, 3, 2)
            maps[i] = maps[i].view(count, 2, height, width, 6).contiguous()
            if not self.training:
                if self.grids[i].shape[2:4] != maps[i].shape[2:4]:
                    self.grids[i] = self.grid(width, height).to(maps[i].device)
                y = maps[i].sigmoid()
                y[..., 0:2] = (y[..., 0:2] * 2.0 - 0.5 + self.grids[i]) * self.strides[i]
                y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * self.anchors[i]
                boxes.append(y.view(count, -1, 6))
        return maps if self.training else (torch.cat(boxes, 1), maps)

    @staticmethod
    def grid(width, height):
        rows, columns = torch.meshgrid([torch.arange(height), torch.arange(width)], indexing="ij")
        return torch.stack((columns, rows), 2).view((1, 1, height, width, 2)).float()


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3, padding=1), Head()
        with torch.no_grad():
            for conv in self.head.convs:
                conv.weight[:, 2] = 0

    def forward(self, image):
        x = self.stem(image)
        return self.head([x, nn.functional.max_pool2d(x, 2)])


@pytest.mark.parametrize("ran", [False, True], ids=["new", "with grids kept for the example"])
def test_it_is_compacted_and_stays_as_it_was(ran):
    torch.manual_seed(0)
    net = Detector().eval()
    if ran:
        net(IMAGE)
    expected, kept = copy.deepcopy(net), [grid.clone() for grid in net.head.grids]
    small = compact(net, IMAGE)
    assert small.get_submodule("stem").out_channels == 3
    for image in (IMAGE,) if ran else (IMAGE, OTHER):  # kept for a size, the graph is for that size
        found, wanted = small(image), expected(image)
        for a, b in zip((found[0], *found[1]), (wanted[0], *wanted[1]), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    for grid, before in zip(net.head.grids, kept, strict=True):
        assert torch.equal(grid, before)
