"""ONNX files give what the network gives, at other sizes too."""

import numpy as np
import onnx as onnx_package
import pytest
import torch
from torch import nn

from lomt.compaction import compact
from lomt.evaluation import cost
from lomt.export import OnnxModel, onnx, program
from lomt.models import Network, backbone
from lomt.tasks import Classification, Depth, Segmentation

onnxruntime = pytest.importorskip("onnxruntime")
EXAMPLE = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    tasks = [Segmentation("seg", 3), Depth("depth"), Classification("room", 4)]
    taps = {"seg": "layer2.0.conv1", "depth": "layer1.0.conv2", "room": "layer2.0.conv1"}
    net = Network(backbone("resnetd18", width=8), tasks, taps, "light").eval()
    for layer in net.backbone.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data[:, 2::3] = 0
    return compact(net, EXAMPLE)


def test_file_agrees_at_other_sizes(network, tmp_path):
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    made = onnx(network, tmp_path / "new" / "net.onnx", EXAMPLE, (mean, std), images=[torch.rand(3, 96, 32)])
    assert made.outputs == ("seg", "depth", "room")
    assert [isinstance(size, str) for size in made.inputs["image"]] == [True, False, True, True]
    assert max(made.errors.values()) < 1e-4
    assert (1, 3, 96, 32) in made.sizes
    assert "relative error" in str(made)
    assert made.inputs["image"] == ("batch", 3, "height", "width")
    assert [path.name for path in made.path.parent.iterdir()] == ["net.onnx"]
    kinds = [node.op_type for node in onnx_package.load(made.path).graph.node]
    assert kinds.count("Resize") == 2  # though the network itself multiplies matrices
    assert kinds.count("BatchNormalization") == 1  # the others are part of the convolution before; this one is tapped
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    image = torch.rand(3, 3, 64, 96)
    found = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        wanted = network((image - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])
    for a, b in zip(wanted.values(), found, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-4)
    model = OnnxModel(made.path, threads=1)  # takes the network's images, though the file takes others
    with torch.no_grad():
        wanted = network(image)
    for name, output in model(image).items():
        torch.testing.assert_close(output, wanted[name], rtol=1e-4, atol=1e-4)
    assert [task.name for task in model.tasks] == ["seg", "depth", "room"]
    assert (model.normalization, model.shapes, model.free) == ((mean, std), [(1, 3, 32, 64)], True)
    assert model.parameter_count == sum(p.numel() for p in network.parameters())
    assert model.macs == cost(network, EXAMPLE).macs


def test_program_agrees(network):
    made = program(network, EXAMPLE)
    image = torch.rand(3, 3, 64, 96)
    with torch.no_grad():
        for name, output in made.module()(image).items():
            torch.testing.assert_close(output, network(image)[name], rtol=1e-4, atol=1e-5)


def test_fixed_sizes_are_said(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 62, 2)).eval()
    made = onnx(net, tmp_path / "net.onnx", EXAMPLE)
    assert [isinstance(size, str) for size in made.inputs["image"]] == [True, False, False, False]
    assert made.outputs == ("output",)
    model = OnnxModel(made.path)
    assert (model.tasks, model.free, model.shapes) == ([], False, [(1, 3, 32, 64)])
    with pytest.raises(RuntimeError, match=r"net\.onnx can't run images of shape \(1, 3, 8, 8\)"):
        model(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"image of shape \(1, 3, 8, 8\).*resize"):
        onnx(net, tmp_path / "net.onnx", EXAMPLE, images=[torch.zeros(3, 8, 8)])


class PadsOdd(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, image):
        return self.conv(nn.functional.pad(image, (0, 1)) if image.shape[-1] % 2 else image)


def test_sizes_that_code_decides_on_are_fixed(tmp_path):
    made = onnx(PadsOdd(), tmp_path / "net.onnx", EXAMPLE)
    assert [isinstance(size, str) for size in made.inputs["image"]] == [True, False, False, False]


def test_deeplab(tmp_path):
    net = Network(backbone("resnetd18", width=8), [Depth("depth")], {"depth": "layer1.0.conv2"}).eval()
    made = onnx(net, tmp_path / "net.onnx", EXAMPLE)
    assert [isinstance(size, str) for size in made.inputs["image"]] == [True, False, False, False]  # dilations
    assert made.errors["depth"] < 1e-4


def test_paths_and_examples_that_do_not_fit(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(IsADirectoryError, match="is a folder"):
        onnx(net, tmp_path, EXAMPLE)
    for make in (lambda: onnx(net, tmp_path / "a.onnx", torch.zeros(1, 5, 8, 8)), lambda: program(net, EXAMPLE[:, :2])):
        with pytest.raises(ValueError, match="does not run on an example of shape"):
            make()
    assert not list(tmp_path.iterdir())


class Wrong(nn.Conv2d):
    """What the exporter is led to believe is not what the layer does."""

    def forward(self, x):
        return super().forward(x) + (0 if torch.compiler.is_exporting() else 1)


def test_a_file_that_does_not_agree_is_not_left(tmp_path):
    with pytest.raises(RuntimeError, match="differs from the network"):
        onnx(nn.Sequential(Wrong(3, 2, 1)), tmp_path / "net.onnx", EXAMPLE)
    assert not list(tmp_path.iterdir())
