"""Names of devices: what this machine has not is refused."""

import pytest
import torch

from lomt.evaluation import device_of


def test_names_of_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = [str(device_of(name)) for name in ("auto", "cpu", "gpu", "cuda", "cuda:1")]
    assert found == ["cuda", "cpu", "cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(ValueError, match="device 'cuda:2' is asked for, and torch finds only 2 GPUs"):
        device_of("cuda:2")


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert str(device_of("auto")) == "cpu"
    for name in ("gpu", "cuda", "cuda:0"):
        with pytest.raises(ValueError, match=f"device '{name}' is asked for, and torch finds no GPU here: use auto"):
            device_of(name)


@pytest.mark.parametrize("name", ["", "tpu", "cuda:", "cuda:x", "gpu:0"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match=f"unknown device '{name}'"):
        device_of(name)
