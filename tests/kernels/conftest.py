"""Backends, one at a time: each test runs on all that are here, and the others skip with their reason."""

import contextlib
import os

import pytest
import torch

from lomt_kernels import registry

INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
_empty, _empty_like, _new_empty = torch.empty, torch.empty_like, torch.Tensor.new_empty


def pytest_collection_modifyitems(items):
    """What runs in Triton's interpreter has a process of its own, and nothing else runs there."""
    for item in items:
        if INTERPRETER and item.get_closest_marker("interpreter") is None and "tests/kernels" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="runs in the process without Triton's interpreter"))


def available(backend, device="cpu", dtype=torch.float32, operation="group_shrink"):
    """Skip where a backend can't be used, with its reason."""
    folder = registry.FOLDERS[operation]
    reason = registry._refusal(folder, backend, device, dtype)
    if reason:
        pytest.skip(reason)


@pytest.fixture(
    params=[
        "native",
        pytest.param("triton", marks=pytest.mark.interpreter),
        "reference",
    ]
)
def backend(request):
    """Every backend that works on this machine's processor."""
    available(request.param)
    return request.param


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch):
    """New memory holds NaNs (or all bits set), so that what nobody wrote can't pass for a result."""

    def poison(tensor):
        if tensor.numel() and tensor.device.type != "meta" and type(tensor) is torch.Tensor:
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)
            elif tensor.dtype == torch.bool:
                tensor.fill_(True)
        return tensor

    monkeypatch.setattr(torch, "empty", lambda *a, **k: poison(_empty(*a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: poison(_empty_like(*a, **k)))
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *a, **k: poison(_new_empty(*a, **k)))


@pytest.fixture
def instruction_sets():
    """Every instruction set that this build and this processor have; the best one again afterwards."""
    from lomt_kernels import native

    if native.why_not():
        pytest.skip(native.why_not())
    binary = native.binary()
    best = binary.facts()["instruction_set"]
    names = binary.facts()["instruction_sets"]
    usable = []
    for name in names:
        with contextlib.suppress(ValueError):
            binary.use_instruction_set(name)
            usable.append(name)
    yield binary, usable
    binary.use_instruction_set(best)
