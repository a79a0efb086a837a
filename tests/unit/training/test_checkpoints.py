"""What a broken-off training goes on from, however its last file was hurt."""

import random
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from lomt.files import DamagedFileError, NotWrittenError
from lomt.models import Network, decoder
from lomt.training import CHECKPOINT, Recipe, fit, forget, seed_everything
from lomt.training.checkpoints import PREVIOUS
from lomt.training.stored import load, save
from tests.unit.training.history import timeless

RECIPE = Recipe(epochs=4, lr=5e-3)


class StoppedError(Exception):
    pass


def network(source):
    seed_everything("test")
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
    return Network(backbone, source.tasks[:1], {"seg": "2"}, decoder("light", width=8))


def weights(net):
    return torch.cat([value.flatten().float() for value in net.state_dict().values()])


def stopped(done, _):
    if done > 2.7 / RECIPE.epochs:
        raise StoppedError


@pytest.fixture
def broken(shapes, tmp_path):
    """The folder of a training that was broken off in its third epoch."""
    with pytest.raises(StoppedError):
        fit(network(shapes), shapes, RECIPE, folder=tmp_path, progress=stopped)
    return tmp_path


def flipped(data):
    """One bit of some weight is another."""
    place = max(range(0, len(data), 64), key=lambda start: len(set(data[start : start + 64])))
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


DAMAGES = {
    "empty": lambda _: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "garbage": lambda data: random.Random(0).randbytes(len(data)),
    "a bit": flipped,
}


def test_checkpoints_are_written_where_they_belong(shapes, broken, monkeypatch):
    assert sorted(path.name for path in broken.iterdir()) == [CHECKPOINT, "metrics.csv", PREVIOUS]
    monkeypatch.setattr("tempfile.mkstemp", None)  # no detour by way of TMPDIR
    fit(network(shapes), shapes, RECIPE, folder=broken)
    forget(broken)
    assert [path.name for path in broken.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_epoch_before_takes_its_place(shapes, broken, damage):
    whole, resumed, seen = network(shapes), network(shapes), []
    expected = fit(whole, shapes, RECIPE)
    file = broken / CHECKPOINT
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    words = rf"{file} is damaged \(.+\): it is removed, and the training goes on from the epoch before"
    with pytest.warns(UserWarning, match=words):
        found = fit(resumed, shapes, RECIPE, folder=broken, progress=lambda _, text: seen.append(text))
    assert seen[0] == "epoch 2/4"
    assert torch.equal(weights(whole), weights(resumed))
    assert timeless(found.history) == timeless(expected.history)


def test_where_both_are_damaged_the_training_begins_anew(shapes, broken):
    whole, resumed = network(shapes), network(shapes)
    expected = fit(whole, shapes, RECIPE)
    for name in (CHECKPOINT, PREVIOUS):
        (broken / name).write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged") as said:
        found = fit(resumed, shapes, RECIPE, folder=broken)
    assert [re.search(r"(\w+\.ckpt)", str(one.message))[1] for one in said] == [CHECKPOINT, PREVIOUS]
    assert torch.equal(weights(whole), weights(resumed))
    assert timeless(found.history) == timeless(expected.history)


def test_a_kill_between_the_two_renames_loses_an_epoch_at_most(shapes, broken):
    (broken / CHECKPOINT).unlink()
    seen = []
    fit(network(shapes), shapes, RECIPE, folder=broken, progress=lambda _, text: seen.append(text))
    assert seen[0] == "epoch 2/4"


def test_a_checkpoint_that_can_not_be_written_is_named_and_the_last_one_stays(shapes, broken, monkeypatch):
    before = (broken / CHECKPOINT).read_bytes()

    write = Path.write_bytes

    def full(path, data):
        write(path, data[:100])
        if CHECKPOINT in path.name:
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(NotWrittenError, match=rf"{CHECKPOINT} can't be written, its disk is full"):
        fit(network(shapes), shapes, RECIPE, folder=broken)
    assert (broken / CHECKPOINT).read_bytes() == before
    assert not list(broken.glob(".*"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_named_with_what_to_do(tmp_path, damage):
    file = tmp_path / "weights.pt"
    state = {"weight": torch.arange(1000.0), "bias": torch.zeros(3)}
    save(state, file)
    assert all(torch.equal(state[name], value) for name, value in load(file, "").items())
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.raises(DamagedFileError, match=rf"{file} is damaged \(.+\): remove it") as said:
        load(file, "remove it")
    assert len(str(said.value).splitlines()) == 1


def test_an_archive_of_something_else_is_no_file_of_weights(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "weights.pt")
    with pytest.raises(DamagedFileError, match="none of tensors"):
        load(tmp_path / "weights.pt", "remove it")
