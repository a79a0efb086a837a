"""A file that can't be written is named, and nothing of it is left."""

import errno
from pathlib import Path

import pytest
import torch
from torch import nn

from lomt.export import int8, onnx, save_pretrained
from lomt.files import NotWrittenError

IMAGE = torch.zeros(1, 3, 8, 8)


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_full_disk_is_named(tmp_path, monkeypatch):
    made = onnx(network(), tmp_path / "made.onnx", IMAGE).path
    before = set(tmp_path.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/some-draft")

    monkeypatch.setattr(Path, "replace", full)
    for name, write in (
        ("net.onnx", lambda path: onnx(network(), path, IMAGE)),
        ("net-int8.onnx", lambda path: int8(made, path, [{"image": torch.zeros(4, 3, 8, 8)}])),
        ("net", lambda path: save_pretrained(network(), path, IMAGE)),
    ):
        with pytest.raises(NotWrittenError, match=rf"/{name} can't be written, its disk is full"):
            write(tmp_path / name)
        for left in set(tmp_path.iterdir()) - before:
            assert left.is_dir()
            assert not list(left.iterdir())
