"""A language model's FFNs into experts with routers, its weights and names kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from lomt.checks import check_whole
from lomt.llm.adapters import FFN, find_ffns, rows
from lomt.llm.batches import NO_TOKENS, Batch, on_device, without_padding
from lomt.llm.experts import balanced_kmeans, random_experts
from lomt.llm.router import Router, Settings
from lomt.modes import evaluating

Grouping = Literal["kmeans", "coactivation", "random"]
"""What the neurons of an expert are alike in: input weights, activations on given batches, or nothing."""

Model = TypeVar("Model", bound=nn.Module)


def moefy(
    model: Model,
    expert_size: int = 32,
    grouping: Grouping = "kmeans",
    seed: int = 0,
    batches: Iterable[Batch] | None = None,
) -> Model:
    """Group the neurons of each FFN into experts, in place, and give each FFN a router.

    Neurons are permuted within the ordinary weights, so that an expert's stand together: outputs stay the same but
    for rounding, every parameter keeps its name and shape, and the checkpoint loads and runs dense without this
    package. The routers' weights are new entries ``….router.weight`` and ``….router.bias`` of the state dict. Gates
    do nothing until :func:`lomt.llm.set_mode` says so, or a trainer.

    Args:
        model: LLaMA, Mistral, Qwen2, Qwen3, GPT-2, OPT, BERT, RoBERTa, or of a family given to
            :func:`lomt.llm.register_adapter`.
        expert_size: neurons in an expert; divides their number. The kernels are made for 32.
        grouping: ``"kmeans"``: by input weights (a gated FFN's: the gate's), as in the paper; ``"coactivation"``: by
            the magnitudes of their activations on ``batches``; ``"random"``: the control.
        seed: of the grouping.
        batches: keyword arguments of the model, for ``"coactivation"``; a few thousand tokens are enough.

    Returns:
        The model.

    Raises:
        ValueError: an unknown family, a quantized model, neurons that ``expert_size`` does not divide, a model that
            has routers already, or no batches where they are needed.
    """
    check_whole("expert_size", expert_size, 1)
    if grouping not in get_args(Grouping):
        raise ValueError(f"grouping is {grouping!r}: there are {', '.join(get_args(Grouping))}")
    if (batches is not None) != (grouping == "coactivation"):
        raise ValueError(f"grouping {grouping!r} {'takes no' if batches is not None else 'needs'} batches")
    if any(isinstance(module, Router) for module in model.modules()):
        raise ValueError(f"{type(model).__name__} has routers already: moefy once")
    found = find_ffns(model)
    check_divisible(found, expert_size)
    magnitudes = _activations(model, found, batches) if batches is not None else {}
    for number, ffn in enumerate(found):
        if grouping == "random":
            order = random_experts(ffn.neurons, seed + number)
        else:
            points = magnitudes[ffn.name] if grouping == "coactivation" else rows(ffn.readers[0])
            order = balanced_kmeans(points, expert_size, seed + number)
        permute(ffn, order)
    return attach(model, Settings(expert_size), found)


def attach(model: Model, settings: Settings, found: list[FFN] | None = None) -> Model:
    """Give each FFN of a model a new router; its neurons must stand in the order of experts already."""
    for ffn in find_ffns(model) if found is None else found:
        ffn.holder.router = Router(ffn, settings)
    return model


def check_divisible(found: list[FFN], expert_size: int) -> None:
    """Raise ``ValueError`` where neurons can't be grouped into experts of one size."""
    for ffn in found:
        if ffn.neurons % expert_size:
            fits = [size for size in (8, 16, 32, 64, 128) if ffn.neurons % size == 0]
            raise ValueError(
                f"{ffn.name} has {ffn.neurons} neurons, which experts of {expert_size} do not divide: "
                f"choose expert_size {' or '.join(map(str, fits)) or f'from the divisors of {ffn.neurons}'}"
            )


@torch.no_grad()
def permute(ffn: FFN, order: Tensor) -> None:
    """Put the neurons of an FFN in another order, in place: what it computes stays the same."""
    order = order.to(rows(ffn.up).device)
    for linear in ffn.readers:
        rows(linear).copy_(rows(linear)[order])
        if linear.bias is not None:
            linear.bias.copy_(linear.bias[order])
    rows(ffn.down).copy_(rows(ffn.down)[:, order])


def _activations(model: nn.Module, found: list[FFN], batches: Iterable[Batch]) -> dict[str, Tensor]:
    """The magnitude of each neuron for each token that is not padding, ``[neurons, tokens]`` an FFN."""
    parts: dict[str, list[Tensor]] = {ffn.name: [] for ffn in found}
    hidden: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Any:
        return lambda _, inputs: hidden.setdefault(name, []).append(inputs[0])

    handles = [ffn.down.register_forward_pre_hook(keep(ffn.name)) for ffn in found]
    try:
        for given in batches:
            batch = on_device(given, model)
            hidden.clear()
            with torch.no_grad(), evaluating(model):
                model(**batch)
            for name, seen in hidden.items():
                values = torch.cat(seen, -2).flatten(0, -2).abs().float()
                parts[name].append(without_padding(values, batch, name))
    finally:
        for handle in handles:
            handle.remove()
    if not any(map(len, parts[found[0].name])):
        raise ValueError(NO_TOKENS)
    return {name: torch.cat(seen).T for name, seen in parts.items()}
