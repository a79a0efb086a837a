"""Thresholds on the magnitudes of inputs (TEAL, Liu et al., 2024): sparsity of single columns, not of experts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lomt.llm.adapters import find_ffns
from lomt.llm.batches import Batch, on_device
from lomt.modes import evaluating


@torch.no_grad()
def calibrate_inputs(model: nn.Module, batches: Iterable[Batch], sparsity: float) -> dict[str, float]:
    """A threshold for each tensor that the linear maps of FFNs read, below which ``sparsity`` of its numbers are.

    FFN by FFN in the model's order, each behind those that leave numbers out already.

    Args:
        model: of a known family, ordinary.
        batches: keyword arguments of the model, without padding; a few thousand tokens.
        sparsity: from 0 to below 1.

    Returns:
        Thresholds by the names of the linear maps; gate and up read one tensor and have one threshold.

    Raises:
        ValueError: the sparsity is out of range.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is {sparsity}: use a share of 0 or more, below 1")
    given, thresholds = list(batches), dict[str, float]()
    for names in _tensors(model):
        magnitudes: list[Tensor] = []

        def keep(x: Tensor, into: list[Tensor] = magnitudes) -> Tensor:
            into.append(x.abs().float().flatten())
            return x

        with evaluating(model), thresholding(model, thresholds), _reading(model, {names[0]: keep}):
            for batch in given:
                model(**on_device(batch, model))
        pooled = torch.cat(magnitudes)
        place = round(sparsity * len(pooled))
        cut = float(pooled.kthvalue(place).values) if place else 0.0
        thresholds |= dict.fromkeys(names, cut)
    return thresholds


@contextmanager
def thresholding(model: nn.Module, thresholds: Mapping[str, float]) -> Iterator[None]:
    """Zero in the block what linear maps read whose magnitude is not above their threshold.

    Args:
        model: any.
        thresholds: by the names of its linear maps.
    """
    with _reading(model, {name: _above(cut) for name, cut in thresholds.items()}):
        yield


@torch.no_grad()
def input_sparsity(model: nn.Module, batches: Iterable[Batch], thresholds: Mapping[str, float]) -> float:
    """The share of weights that need not be read under thresholds, a mean over tokens and linear maps."""
    zeros: dict[str, list[Tensor]] = {name: [] for name in thresholds}

    def count(name: str) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor) -> Tensor:
            zeros[name].append((x == 0).double().mean())
            return x

        return change

    with evaluating(model), thresholding(model, thresholds), _reading(model, {name: count(name) for name in zeros}):
        for batch in batches:
            model(**on_device(batch, model))
    return float(torch.stack([torch.stack(one).mean() for one in zeros.values()]).mean())


def _tensors(model: nn.Module) -> Iterator[list[str]]:
    """The linear maps of FFNs that read one tensor, in the order in which they do."""
    for ffn in find_ffns(model):
        yield [ffn.paths[role] for role in ("gate", "up") if role in ffn.paths]
        yield [ffn.paths["down"]]


def _above(cut: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x * (x.abs() > cut)


@contextmanager
def _reading(model: nn.Module, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Change what modules read in the block."""

    def hook(change: Callable[[Tensor], Tensor]) -> Any:
        return lambda _, inputs: (change(inputs[0]), *inputs[1:])

    handles = [model.get_submodule(name).register_forward_pre_hook(hook(change)) for name, change in changes.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
