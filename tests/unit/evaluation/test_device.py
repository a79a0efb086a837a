"""Names of devices: what this machine has not is refused."""

import pytest
import torch

from lomt.evaluation import device_of


def test_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device_of(name).type for name in ("auto", "cpu", "gpu", "cuda")] == ["cuda", "cpu", "cuda", "cuda"]


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [device_of(name).type for name in ("auto", "cpu")] == ["cpu", "cpu"]
    for name in ("gpu", "cuda"):
        with pytest.raises(ValueError, match=f"device '{name}' is asked for, and torch finds no GPU here: use auto"):
            device_of(name)


@pytest.mark.parametrize("name", ["", "tpu", "CPU", "cuda:x"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match=f"unknown device '{name}': use auto, cpu, gpu or cuda"):
        device_of(name)
