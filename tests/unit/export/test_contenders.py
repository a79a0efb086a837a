"""Files and networks as contenders of a bench."""

import pytest
import torch
from torch import nn

from lomt.evaluation import bench
from lomt.export import OnnxModel, contenders, from_pretrained, names_of, onnx, open_model, save_pretrained
from lomt.tasks import Depth

EXAMPLE = torch.zeros(1, 3, 16, 16)


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_folders_files_and_networks(tmp_path, caplog):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    folder = save_pretrained(net, tmp_path / "net", EXAMPLE, delta_m=1.5)
    file = onnx(from_pretrained(folder), tmp_path / "net.onnx", EXAMPLE).path
    models = {"folder": folder, "file": file, "untraceable": Branches()}
    found = contenders(models, tmp_path / "work", EXAMPLE)
    assert {name: (one.network is None, one.onnx is None) for name, one in found.items()} == {
        "folder": (False, False),
        "file": (True, False),
        "untraceable": (False, True),
    }
    assert "untraceable: no ONNX file" in caplog.text
    assert (found["folder"].delta_m, found["file"].delta_m) == (1.5, 1.5)
    measured = bench(found, EXAMPLE, batches=[2], threads=[1], repeats=2, warmup=1, progress=False)
    assert measured.models["file"] == measured.models["folder"]
    ran = {(one.model, one.backend) for one in measured.timings}
    assert ran == {
        (name, backend) for name in ("folder", "untraceable") for backend in ("eager", "channels_last", "bf16")
    } | {
        ("folder", "onnxruntime"),
        ("file", "onnxruntime"),
    }


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*net\.onnx"):
        open_model(tmp_path / "net.onnx")
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        open_model(tmp_path)
    with pytest.raises(ValueError, match="net does not say for images of which shape"):
        contenders({"net": nn.Identity()}, tmp_path)


def test_an_onnx_file_of_others_says_nothing_of_itself(tmp_path):
    made = onnx(nn.Conv2d(3, 4, 3), tmp_path / "net.onnx", EXAMPLE)
    import onnx as files

    model = files.load(made.path)
    model.metadata_props[0].value = "{"
    files.save(model, made.path)
    with pytest.raises(ValueError, match=r"metadata .* are damaged"):
        OnnxModel(made.path)
    del model.metadata_props[:]
    files.save(model, made.path)
    found = OnnxModel(made.path)
    assert (found.tasks, found.parameter_count, found.delta_m) == ((), None, None)


def test_names_tell_apart():
    assert list(names_of(["a/net"])) == ["net"]
    with pytest.raises(ValueError, match="named twice"):
        names_of(["a/net", "a/../a/net"])


@pytest.mark.parametrize("shape", [(3, 32), (1, 1, 32, 32)])
def test_a_network_that_does_not_run_on_its_own_shape_is_named(shape, tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 3, 1))
    network.shapes, network.tasks = [shape], [Depth("depth")]
    with pytest.raises(ValueError, match=r"^odd does not run on an example of shape .* reads \(N, 3, H, W\)"):
        contenders({"odd": network}, tmp_path)
