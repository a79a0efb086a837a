"""A network in a folder runs again without the code that made it."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from lomt.compaction import compact
from lomt.evaluation import Row, Table
from lomt.export import from_pretrained, save_pretrained
from lomt.models import Network
from lomt.tasks import Classification, Depth, Segmentation

EXAMPLE = torch.randn(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))


class Unseen(nn.Module):
    """A backbone that only this file knows."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))

    def forward(self, x):
        x = self.first(x)
        return x + self.scale * self.second(x).mean((2, 3), keepdim=True)


def network():
    torch.manual_seed(0)
    tasks = [Segmentation("seg", ["wall", "floor", "chair"]), Depth("depth"), Classification("room", 4)]
    taps = {"seg": ("second", "first"), "depth": "first", "room": "second"}
    net = Network(Unseen(), tasks, taps, {"seg": "deeplab", "depth": "light"}).eval()
    net.backbone.get_submodule("second").weight.data[:, 1] = 0
    net.decoders["seg"].branches[0][0].weight.data[:, 4:9] = 0
    return net


@pytest.mark.parametrize("small", [True, False])
def test_round_trip(tmp_path, small):
    net = network()
    if small:
        net = compact(net, EXAMPLE)
    results = {"tailored": {"mIoU": 0.3123456, "RMSE": 0.85}}
    folder = save_pretrained(net, tmp_path / "a" / "net", EXAMPLE, ([0.5] * 3, [0.25] * 3), results)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["net"]
    again = from_pretrained(folder)
    other = torch.randn(2, 3, 48, 32)
    with torch.no_grad():
        expected = net(other)
        for name, output in again(other).items():
            torch.testing.assert_close(output, expected[name], rtol=1e-5, atol=1e-6)
    assert [task.name for task in again.tasks] == ["seg", "depth", "room"]
    assert list(again.tasks[0].class_names) == ["wall", "floor", "chair"]
    assert again.taps == net.taps
    assert again.normalization == ([0.5] * 3, [0.25] * 3)
    assert again.shapes == [(1, 3, 32, 40)]
    assert again.delta_m is None
    assert "0.3123" in (folder / "README.md").read_text()
    assert again.state_dict().keys() <= net.state_dict().keys()
    save_pretrained(again, tmp_path / "b", EXAMPLE)
    assert sum(p.requires_grad for p in again.parameters()) > 0


def test_loads_where_the_code_is_not(tmp_path):
    folder = save_pretrained(compact(network(), EXAMPLE), tmp_path / "net", EXAMPLE)
    script = (
        "import sys, torch; from lomt.export import from_pretrained; "
        f"print(sorted(from_pretrained({str(folder)!r})(torch.zeros(1, 3, 32, 40)))); "
        "assert not any('test_pretrained' in name for name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['depth', 'room', 'seg']", done.stderr


class OwnCode(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


def test_code_that_no_file_holds_is_named(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 3, 1), OwnCode(3, 3, 1))
    with pytest.raises(TypeError, match="layer '1' is a OwnCode"):
        save_pretrained(net, tmp_path / "net", EXAMPLE)
    assert not list(tmp_path.iterdir())


def test_existing_folder(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 3, 1))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_pretrained(net, tmp_path, EXAMPLE)
    save_pretrained(net, tmp_path, EXAMPLE, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_damage_is_named(tmp_path):
    folder = save_pretrained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), tmp_path / "net", EXAMPLE)
    config, weights = folder / "config.json", folder / "model.safetensors"
    good, data = json.loads(config.read_text()), weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        from_pretrained(folder)
    weights.write_bytes(data)
    config.write_text(json.dumps({**good, "format": 99}))
    with pytest.raises(ValueError, match=r"format 99.*update lomt"):
        from_pretrained(folder)
    config.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        from_pretrained(folder)
    config.unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        from_pretrained(folder)


def test_a_bit_that_flipped_is_noticed(tmp_path):
    folder = save_pretrained(nn.Sequential(nn.Conv2d(3, 3, 1)), tmp_path / "net", EXAMPLE)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged, or belongs to another config\.json"):
        from_pretrained(folder)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_a_stored_deviation_that_is_none(std, tmp_path):
    folder = save_pretrained(nn.Sequential(nn.Conv2d(3, 3, 1)), tmp_path / "net", EXAMPLE)
    config = json.loads((folder / "config.json").read_text())
    said = {"mean": [0.5] * 3, "std": [0.2, std, 0.2]}
    (folder / "config.json").write_text(json.dumps(config | {"normalization": said}))
    with pytest.raises(ValueError, match=r"config\.json .*damaged"):
        from_pretrained(folder)


@pytest.mark.parametrize("key", ["tasks", "taps", "normalization", "inputs", "layers", "graph"])
@pytest.mark.parametrize("value", [3, "x", {"a": 1}, [[]]])
def test_a_damaged_entry_is_no_traceback(tmp_path, key, value):
    folder = save_pretrained(nn.Sequential(nn.Conv2d(3, 3, 1)), tmp_path / "net", EXAMPLE)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ValueError, match=r"config\.json .*damaged"):
        from_pretrained(folder)


@pytest.mark.parametrize(
    "inputs",
    [[[1, 3, -4, 4]], [[1, 3, True, 32]], [[1, 3, 32.0, 32]], ["13"], [[1, 3, 10**6, 10**6]], None, {"a": [1]}],
)
def test_shapes_of_inputs_are_shapes_that_can_be_made(tmp_path, inputs):
    folder = save_pretrained(nn.Sequential(nn.Conv2d(3, 3, 1)), tmp_path / "net", EXAMPLE)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"inputs": inputs}))
    with pytest.raises(ValueError, match=r"config\.json .*damaged \(inputs has .*, and a list of shapes is expected"):
        from_pretrained(folder)


def test_an_example_that_does_not_fit(tmp_path):
    net = network()
    for module in (net, compact(net, EXAMPLE)):
        with pytest.raises(ValueError, match=r"does not run on an example of shape .*1, 4, 32, 40"):
            save_pretrained(module, tmp_path / "net", torch.zeros(1, 4, 32, 40))
    assert not list(tmp_path.iterdir())


def test_one_tensor_under_two_names_stays_one(tmp_path):
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    net[2].weight = net[0].weight
    example = torch.rand(1, 4, 5, 5)
    again = from_pretrained(save_pretrained(net, tmp_path / "net", example))
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in net.parameters())
    torch.testing.assert_close(again(example), net(example))


def test_the_card_shows_the_table_that_is_given(tmp_path):
    net = network()
    seeds = [{"seg": {"mIoU": 0.30}, "depth": {"RMSE": 0.8}}, {"seg": {"mIoU": 0.32}, "depth": {"RMSE": 0.9}}]
    table = Table(net.tasks, [Row("tailored", seeds, [4.0, 6.0])])
    folder = save_pretrained(net, tmp_path / "net", EXAMPLE, results=table, delta_m=5.0)
    card = (folder / "README.md").read_text()
    assert "0.310 ± 0.014" in card
    assert "Δm +5.0 %" in card
    assert "wall, floor, chair" in card
    stored = json.loads((folder / "config.json").read_text())["results"]
    assert stored == {"tailored": {"seg mIoU ↑": 0.31, "depth RMSE [m] ↓": pytest.approx(0.85), "Δm [%] ↑": 5.0}}
    again = from_pretrained(folder)
    assert again.delta_m == 5.0
    assert from_pretrained(save_pretrained(again, tmp_path / "b", EXAMPLE)).delta_m == 5.0


def test_others_may_read_the_weights(tmp_path):
    folder = save_pretrained(nn.Sequential(nn.Conv2d(3, 3, 1)), tmp_path / "net", EXAMPLE)
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_a_normalization_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="give mean and standard deviation"):
        save_pretrained(nn.Sequential(nn.Conv2d(3, 3, 1)), tmp_path / "net", EXAMPLE, ([0.5] * 3, [0.0] * 3))


@pytest.mark.parametrize(
    "node",
    [
        {"op": "placeholder", "target": "x=print(1)", "args": []},
        {"op": "call_module", "target": '0"), print(1), ("', "args": []},
        {"op": "get_attr", "target": "__class__", "args": []},
        {"op": "call_function", "target": "torch.relu", "args": [], "kwargs": {"x=print(1),input": 1}},
        {"op": "call_method", "target": "__reduce__", "args": []},
    ],
)
def test_file_hides_no_code_in_names(tmp_path, node):
    folder = save_pretrained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), tmp_path / "net", EXAMPLE)
    config = json.loads((folder / "config.json").read_text())
    config["graph"].insert(1, {"name": "evil"} | node)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"where a name belongs|more than to compute"):
        from_pretrained(folder)


@pytest.mark.parametrize(
    "target", ["torch.load", "torch.from_file", "builtins.eval", "operator.attrgetter", "os.system"]
)
def test_file_runs_nothing_but_computations(tmp_path, target):
    folder = save_pretrained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), tmp_path / "net", EXAMPLE)
    config = json.loads((folder / "config.json").read_text())
    call = {"name": "evil", "op": "call_function", "target": target, "args": ["x"]}
    config["graph"].insert(1, call)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no computation"):
        from_pretrained(folder)
