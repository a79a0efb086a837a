import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lomt.evaluation import evaluate
from lomt.tasks import Classification, Depth, Edges, Normals, Segmentation

TASKS = [Segmentation("seg", 3), Depth("depth"), Normals("normals"), Edges("edges"), Classification("room", 2)]


class Heads(nn.Module):
    """A small network with what evaluation must silence: dropout and batch statistics."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5))
        self.heads = nn.ModuleDict({task.name: nn.Conv2d(8, task.channels, 1) for task in TASKS})

    def forward(self, x):
        features = self.body(x)
        maps = {name: head(features) for name, head in self.heads.items()}
        return maps | {"room": maps["room"].mean((2, 3))}


def split(count):
    generator = torch.Generator().manual_seed(0)
    shape = (count, 8, 9)
    batch = {
        "image": torch.randn(count, 3, 8, 9, generator=generator),
        "seg": torch.randint(3, shape, generator=generator),
        "depth": 1 + 3 * torch.rand(count, 1, 8, 9, generator=generator),
        "normals": F.normalize(torch.randn(count, 3, 8, 9, generator=generator), dim=1),
        "edges": (torch.rand(count, 1, 8, 9, generator=generator) < 0.2).float(),
        "room": torch.randint(2, (count,), generator=generator),
    }
    batch["seg"][0] = 255
    return batch


def batches(data, sizes):
    pieces = {key: value.split(sizes) for key, value in data.items()}
    return [{key: value[i] for key, value in pieces.items()} for i in range(len(sizes))]


def test_the_split_counts_not_its_batches():
    torch.manual_seed(0)
    network, data = Heads(), split(7)
    whole = evaluate(network, [data], TASKS)
    pieces = evaluate(network, batches(data, [3, 3, 1]), TASKS)
    assert list(whole) == [task.name for task in TASKS]
    for task in TASKS:
        assert pieces[task.name] == pytest.approx(whole[task.name], rel=1e-5), task


def test_no_dropout_no_batch_statistics_and_all_as_before():
    torch.manual_seed(0)
    network, data = Heads(), split(4)
    network.body[1].eval()
    modes = [module.training for module in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    first, second = evaluate(network, [data], TASKS), evaluate(network, [data], TASKS)
    assert first == second
    assert [module.training for module in network.modules()] == modes
    assert all(value.equal(state[key]) for key, value in network.state_dict().items())


def test_modes_are_restored_after_an_error():
    network = Heads()
    with pytest.raises(ValueError, match=r"no output 'other' – it gives seg, depth, normals, edges, room"):
        evaluate(network, [split(2) | {"other": torch.zeros(2, 1)}], [Classification("other", 2)])
    assert network.training


def test_labels_that_batches_lack_count_nowhere():
    torch.manual_seed(0)
    network, data = Heads(), split(6)
    first, second = batches(data, [2, 4])
    del first["depth"], first["room"], second["room"]
    found = evaluate(network, [first, second], TASKS)
    assert "room" not in found
    assert found["depth"] == pytest.approx(evaluate(network, [second], TASKS)["depth"])


def test_autocast_reaches_the_network_but_not_the_metrics():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
            return {"depth": F.conv2d(x, torch.ones(1, 3, 1, 1))}

    data = split(3)
    plain = evaluate(Spy(), [data], TASKS[1:2])
    rough = evaluate(Spy(), [data], TASKS[1:2], autocast=torch.bfloat16)
    assert seen == [None, torch.bfloat16]
    assert rough != plain
    assert rough["depth"] == pytest.approx(plain["depth"], rel=0.05)


def test_an_empty_split_is_an_error():
    with pytest.raises(ValueError, match="empty split"):
        evaluate(Heads(), [], TASKS)
