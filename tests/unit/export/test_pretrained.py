"""A network in a folder runs again without the code that made it."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from tailor.compaction import compact
from tailor.export import from_pretrained, save_pretrained
from tailor.models import Network
from tailor.tasks import Classification, Depth, Segmentation

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
    assert "0.3123" in (folder / "README.md").read_text()
    assert again.state_dict().keys() <= net.state_dict().keys()
    save_pretrained(again, tmp_path / "b", EXAMPLE)
    assert sum(p.requires_grad for p in again.parameters()) > 0


def test_loads_where_the_code_is_not(tmp_path):
    folder = save_pretrained(compact(network(), EXAMPLE), tmp_path / "net", EXAMPLE)
    script = (
        "import sys, torch; from tailor.export import from_pretrained; "
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
    with pytest.raises(ValueError, match=r"format 99.*update tailor"):
        from_pretrained(folder)
    config.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        from_pretrained(folder)
    config.unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
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
