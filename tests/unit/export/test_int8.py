"""8 bits: smaller, and what it costs is measured."""

import pytest
import torch
from torch import nn

from lomt.evaluation import evaluate
from lomt.export import OnnxModel, int8, onnx
from lomt.export.facts import Facts


class Squares(nn.Module):
    """Tells the bright squares of the tests' own source apart, with layers enough to quantize."""

    def __init__(self, tasks):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(3 if k == 0 else 16, 16, 3, padding=1), nn.ReLU()) for k in range(3))
        )
        self.seg, self.depth = nn.Conv2d(16, 2, 1), nn.Conv2d(16, 1, 1)
        Facts(tasks, normalization=([0.5] * 3, [0.25] * 3)).put_on(self)

    def forward(self, image):
        features = self.body(image)
        return {"seg": self.seg(features), "depth": self.depth(features)}


@pytest.fixture(scope="module")
def made(tmp_path_factory, shapes_once):
    network = Squares(shapes_once.tasks[:2])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(20):
        for batch in shapes_once.train_dataloader():
            outputs = network(batch["image"])
            loss = sum(task.loss(outputs[task.name], batch[task.name]) for task in network.tasks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    path = tmp_path_factory.mktemp("int8") / "net.onnx"
    onnx(network.eval(), path, torch.zeros(1, 3, 32, 32), network.normalization, delta_m=5.0)
    return path


def test_small_and_measured(made, shapes_once):
    path = made.with_name("int8.onnx")
    found = int8(made, path, shapes_once.train_dataloader(), shapes_once.val_dataloader(), samples=12)
    assert found.images == 12
    assert found.gains.keys() == {"seg", "depth"}
    assert found.before["seg"]["mIoU"] > 0.8
    assert max(map(abs, found.gains.values())) < 5
    assert all(f"{task} " in str(found) for task in found.gains)
    model = OnnxModel(path)
    assert [task.name for task in model.tasks] == ["seg", "depth"]
    assert (OnnxModel(made).delta_m, model.delta_m) == (5.0, None)  # what it was worth before, it need not be now
    assert evaluate(model, shapes_once.val_dataloader(), model.tasks) == found.after
    batch = next(iter(shapes_once.val_dataloader()))["image"]
    apart = (model(batch)["depth"] - OnnxModel(made)(batch)["depth"]).abs()
    assert 0 < apart.max() < 0.5  # 8 bits were used, and used well
    import onnx as files

    stored = {tensor.name: tensor for tensor in files.load(path).graph.initializer}
    assert sum(tensor.data_type == files.TensorProto.INT8 and len(tensor.dims) == 4 for tensor in stored.values()) == 3


def test_a_metric_that_was_zero_has_no_relative_change(made, shapes_once):
    def worthless(batches):
        for batch in batches:
            yield batch | {"seg": torch.full_like(batch["seg"], 255)}  # no label at all: mIoU is undefined

    loader = list(worthless(shapes_once.val_dataloader()))
    found = int8(made, made.with_name("worthless.onnx"), loader, loader, samples=2)
    assert found.gains["seg"] is None
    assert found.gains["depth"] is not None
    assert "seg can't be told" in str(found)


def test_without_data_nothing_is_claimed(made, shapes_once):
    found = int8(made, made.with_name("unmeasured.onnx"), shapes_once.train_dataloader(), samples=2)
    assert found.gains is None
    assert "was not measured" in str(found)


def test_nothing_to_calibrate_on(made):
    with pytest.raises(ValueError, match="no images to calibrate on"):
        int8(made, made.with_name("none.onnx"), [])
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx"):
        int8(made.with_name("nowhere.onnx"), made.with_name("none.onnx"), [])
    assert not made.with_name("none.onnx").exists()
