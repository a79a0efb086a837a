"""What is left out of an export for speed changes nothing of the file."""

from collections import Counter

import onnx as onnx_package
import pytest
import torch
from torch import nn

from lomt.compaction import fold_norms
from lomt.compaction.graph import as_graph
from lomt.export import OnnxModel, from_pretrained, lowering, onnx, save_pretrained, serializing
from lomt.export.programs import programs
from lomt.models import Network, backbone
from lomt.models.deeplab import AtrousConv
from lomt.tasks import Depth, Segmentation

pytest.importorskip("onnxruntime")
EXAMPLE = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    tasks = [Segmentation("seg", 3), Depth("depth")]
    net = Network(backbone("resnetd18", width=8), tasks, {"seg": "layer2.0.relu", "depth": "layer1.1"}).eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(0.5, 2)
            layer.bias.data.uniform_(-1, 1)
    return net


def content(path):
    """Operators with their attributes and how often they stand there, weights, inputs and outputs of a file."""
    graph = onnx_package.load(path).graph
    nodes = Counter((node.op_type, str(sorted(map(str, node.attribute)))) for node in graph.node)
    weights = Counter(
        (tuple(one.dims), one.data_type, onnx_package.numpy_helper.to_array(one).tobytes()) for one in graph.initializer
    )
    return nodes, weights, [str(value.type) for value in (*graph.input, *graph.output)]


def test_the_file_is_that_of_a_decomposed_program(network, tmp_path, monkeypatch):
    quick = onnx(network, tmp_path / "quick.onnx", EXAMPLE)
    monkeypatch.setattr(lowering, "_TRANSLATED", frozenset())
    full = onnx(network, tmp_path / "full.onnx", EXAMPLE)
    assert content(quick.path) == content(full.path)


def test_a_deeplab_is_not_decomposed_and_its_file_has_no_norms(network, tmp_path):
    _, exported = next(programs(as_graph(network, EXAMPLE), (EXAMPLE,), for_onnx=True))
    assert "run_decompositions" in vars(lowering.lowered(exported))
    graph = onnx_package.load(onnx(network, tmp_path / "net.onnx", EXAMPLE).path).graph
    assert {node.op_type for node in graph.node}.isdisjoint({"BatchNormalization", "Dropout", "Identity"})


def test_what_the_exporter_does_not_translate_is_decomposed(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.AdaptiveAvgPool2d(2), nn.ReLU(inplace=True)).eval()
    _, exported = next(programs(as_graph(net, EXAMPLE), (EXAMPLE,), for_onnx=True))
    assert "run_decompositions" not in vars(lowering.lowered(exported))
    assert onnx(net, tmp_path / "net.onnx", EXAMPLE).errors["output"] < 1e-5


def test_a_file_written_in_parts_is_the_one_that_protobuf_writes(network, tmp_path, monkeypatch):
    saved = []

    def both(program, path):
        program.save(str(tmp_path / "theirs.onnx"))
        serializing.save(program, path)
        saved.append(len(program.model.graph.initializers))

    monkeypatch.setattr("lomt.export.to_onnx.save", both)
    monkeypatch.setattr(serializing, "_LARGE", 300)
    made = onnx(network, tmp_path / "ours.onnx", EXAMPLE)
    ours, theirs = onnx_package.load(made.path), onnx_package.load(tmp_path / "theirs.onnx")
    assert content(made.path) == content(tmp_path / "theirs.onnx")
    assert len(ours.graph.initializer) == saved[0]
    weights = [{one.name: one.raw_data for one in model.graph.initializer} for model in (ours, theirs)]
    assert weights[0] == weights[1]
    onnx_package.checker.check_model(ours, full_check=True)
    assert ours.metadata_props == theirs.metadata_props
    assert ours.opset_import == theirs.opset_import


def test_weights_too_large_for_one_file_stand_beside_it(network, tmp_path, monkeypatch):
    monkeypatch.setattr(serializing, "_MOST", 1000)
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 1000)
    made = onnx(network, tmp_path / "net.onnx", EXAMPLE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert OnnxModel(made.path)(EXAMPLE)["seg"].shape == (1, 3, 32, 64)


def test_norms_fold_into_dilated_convolutions_that_can_be_saved(network, tmp_path):
    small = fold_norms(network, EXAMPLE)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in small.decoders.modules())
    dilated = [layer for layer in small.modules() if isinstance(layer, AtrousConv)]
    assert len(dilated) == 6
    assert all(layer.bias is not None for layer in dilated)
    save_pretrained(small, tmp_path / "small", EXAMPLE)
    again = from_pretrained(tmp_path / "small")
    image = torch.rand(2, 3, 32, 64)
    with torch.no_grad():
        wanted, first, second = network(image), small(image), again(image)
    for name, value in wanted.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-4)
        assert torch.equal(first[name], second[name])
