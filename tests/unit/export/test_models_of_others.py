"""Networks of other people as files: nested outputs, unpooling, loops, NaNs, attributes that only look like ours."""

import logging
import math

import numpy as np
import onnx as onnx_package
import pytest
import torch
from torch import nn

from lomt.compaction import compact
from lomt.export import OnnxModel, from_pretrained, onnx, program, save_pretrained
from lomt.export.contenders import contenders
from lomt.nn import convert, freeze
from lomt_kernels import masked_conv2d

onnxruntime = pytest.importorskip("onnxruntime")
EXAMPLE = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))


class Do(nn.Module):
    """Two convolutions, a pool with indices, and a function of them."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
        self.register_buffer("mask", torch.arange(8) % 2 == 0)

    def forward(self, x):
        return self.function(self, x)


def unpooled(self, x):
    x = self.a(x)
    size = x.size()
    x, first = self.pool(x)
    x, second = self.pool(self.b(x))
    x = self.unpool(x, second)
    return self.unpool(x, first, output_size=size)


def nested(self, x):
    y = self.a(x)
    return {"seg": [y, self.b(y)], "aux": {"mean": (y.mean((2, 3)),)}, "plain": y * 2}


def masked(self, x):
    return masked_conv2d(self.a(x).relu(), self.b.weight, self.b.bias, padding=1, live_in=self.mask)


class Loop(nn.Module):
    """One image after the other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return torch.cat([self.conv(q) for q in x.split(1)])


def plain(self, x):
    return self.b(self.a(x))


def test_unpooling_takes_any_size(tmp_path, capfd, caplog):
    made = onnx(Do(unpooled).eval(), tmp_path / "net.onnx", EXAMPLE)
    assert made.inputs["image"] == ("batch", 3, "height", "width")
    assert (2, 3, 64, 96) in made.sizes
    assert "".join(capfd.readouterr()) == ""  # no words of the exporter's or the runtime's
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_sizes_that_are_not_known_have_no_name(tmp_path):
    onnx(Do(unpooled).eval(), tmp_path / "net.onnx", EXAMPLE)
    graph = onnx_package.load(tmp_path / "net.onnx").graph
    names = {d.dim_param for value in graph.value_info for d in value.type.tensor_type.shape.dim}
    assert "None" not in names


def test_nested_outputs_have_names_of_their_own(tmp_path):
    net = Do(nested).eval()
    made = onnx(net, tmp_path / "net.onnx", EXAMPLE)
    assert made.outputs == ("seg.0", "seg.1", "aux.mean.0", "plain")
    image = torch.rand(2, 3, 64, 32)
    found = OnnxModel(made.path)(image)
    torch.testing.assert_close(found["aux.mean.0"], net(image)["aux"]["mean"][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("inside", [True, False])
def test_a_loop_over_images_fixes_the_batch_and_says_so(tmp_path, count, inside):
    net = nn.Sequential(nn.Conv2d(3, 8, 1), Loop(), nn.ReLU()) if inside else Do(lambda s, x: Loop.forward(s, x))
    if not inside:
        net.conv = nn.Conv2d(3, 2, 1)
    example = EXAMPLE.repeat(count, 1, 1, 1)
    made = onnx(net.eval(), tmp_path / "net.onnx", example)
    assert made.inputs["image"][:2] == (count, 3)
    assert made.errors["output"] < 1e-4
    with torch.no_grad():
        torch.testing.assert_close(program(net, example).module()(example), net(example), rtol=1e-4, atol=1e-5)


def test_fixed_sizes_pass_with_one_image(tmp_path):
    net = Do(lambda self, x: self.b(self.a(x)).reshape(8, -1) * len(x)).eval()  # joins images and channels
    assert onnx(net, tmp_path / "net.onnx", EXAMPLE).errors["output"] < 1e-4


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_network_of_nans_passes_no_check(tmp_path, broken):
    net = Do(plain).eval()
    net.b.weight.data.fill_(broken)
    with pytest.raises(ValueError, match=r"gives NaNs in 'output' for inputs of shape \(1, 3, 32, 64\).*its weights"):
        onnx(net, tmp_path / "net.onnx", EXAMPLE)
    assert not list(tmp_path.iterdir())


def test_masked_convolutions_become_operators_of_onnx(tmp_path):
    net = Do(masked).eval()
    made = onnx(net, tmp_path / "net.onnx", EXAMPLE)
    with torch.no_grad():
        found = OnnxModel(made.path)(EXAMPLE)["output"]
        np.testing.assert_allclose(net(EXAMPLE), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [lambda net: net, freeze])
def test_converted_layers_are_saved_and_compacted_as_plain_ones(tmp_path, change):
    net = Do(plain).eval()
    net.a.weight.data[::2], net.a.bias.data[::2] = 0, 0
    with torch.no_grad():
        wanted = net(EXAMPLE)
    change(convert(net))
    if net.a.frozen:
        net.a.weight.data[0] = 1  # which is dead, and stays so
    with torch.no_grad():
        save_pretrained(net, tmp_path / "net", EXAMPLE)
        torch.testing.assert_close(from_pretrained(tmp_path / "net")(EXAMPLE), wanted, rtol=1e-4, atol=1e-5)
        small = compact(net, EXAMPLE)
        torch.testing.assert_close(small(EXAMPLE), wanted, rtol=1e-4, atol=1e-5)
    assert small.record.after["a"] == (3, 4)


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        return -gradient


def regions(self, x):
    with torch.no_grad():
        x = self.a(x)
    with torch.autocast("cpu", enabled=False):
        x = self.b(x.float())
    return Reversed.apply(x)


def test_regions_are_saved(tmp_path):
    net = Do(regions).eval()
    for number, one in enumerate((net, compact(net, EXAMPLE))):
        loaded = from_pretrained(save_pretrained(one, tmp_path / str(number), EXAMPLE))
        with torch.autocast("cpu"):
            found, wanted = loaded(EXAMPLE), net(EXAMPLE)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted)
        found.sum().backward()
        assert loaded.get_parameter("a.weight").grad is None
        assert loaded.get_parameter("b.weight").grad is not None


def test_a_region_at_lower_precision_is_exported_at_float32(tmp_path):
    def rough(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = self.a(x)
        return self.b(x.float())

    assert 1e-4 < onnx(Do(rough).eval(), tmp_path / "net.onnx", EXAMPLE).errors["output"] < 5e-2


FOREIGN = {
    "tasks": ["seg", "depth"],
    "taps": ["layer1"],
    "normalization": "batch",
    "shapes": {"stem": 3},
    "delta_m": "none",
}


def test_attributes_that_only_look_like_ours_are_left_alone(tmp_path):
    net = Do(plain).eval()
    for name, value in FOREIGN.items():
        setattr(net, name, value)
    small = compact(net, EXAMPLE)
    assert not hasattr(small, "tasks")
    for one in (net, small):
        folder = save_pretrained(one, tmp_path / type(one).__name__, EXAMPLE)
        loaded = from_pretrained(folder)
        assert (list(loaded.tasks), loaded.taps, loaded.normalization, loaded.delta_m) == ([], {}, None, None)
        assert OnnxModel(onnx(one, folder / "net.onnx", EXAMPLE).path).tasks == []
    found = contenders({"net": net}, tmp_path, EXAMPLE, export=False)["net"]
    assert (found.delta_m, found.example) == (None, (1, 3, 32, 64))


@pytest.mark.parametrize(
    ("normalization", "delta_m", "said"),
    [
        (([0.5] * 3, [0.2, math.nan, 0.2]), None, "one of each for a channel"),
        (([0.5, math.inf, 0.5], [0.2] * 3), None, "one of each for a channel"),
        (None, math.nan, "delta_m is nan: give percent, or None"),
    ],
)
def test_facts_that_are_no_numbers_are_refused(tmp_path, normalization, delta_m, said):
    with pytest.raises(ValueError, match=said):
        save_pretrained(Do(plain).eval(), tmp_path / "net", EXAMPLE, normalization, delta_m=delta_m)
    assert not (tmp_path / "net").exists()
