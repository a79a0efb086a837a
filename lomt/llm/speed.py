"""How fast a model writes, dense and at several sparsities, side by side."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from lomt.checks import check_whole
from lomt.llm.adapters import find_ffns
from lomt.llm.gates import measure_sparsity
from lomt.llm.moefy import moefy
from lomt.llm.router import routers
from lomt.llm.sparsify import sparsify
from lomt.llm.thresholds import calibrate, set_sparsity

TINYLLAMA: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
"""The shape of TinyLlama, 1.1 billion parameters."""

Side = Callable[[], PreTrainedModel]
"""Gets a model ready, as by setting its sparsity, and returns it."""


def twin(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that shares the memory of all weights, but no parameter: to be sparsified, the other stays dense."""
    memo: dict[int, Any] = {id(one): nn.Parameter(one.data, requires_grad=False) for one in model.parameters()}
    return copy.deepcopy(model, memo)


def random_llama(levels: Sequence[float], seed: int = 0, **changes: Any) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A LLaMA of random weights, dense and sparse: how fast a size is, without a model of that size.

    Routers have random weights, too. Their thresholds are calibrated on random tokens, so that each level's share of
    experts is closed, others for each token.

    Args:
        levels: of sparsity, to calibrate.
        seed: of all weights.
        **changes: to the config :data:`TINYLLAMA`.

    Returns:
        The dense model and the sparse one, which share all weights but those of FFNs.
    """
    torch.manual_seed(seed)
    dense = LlamaForCausalLM(LlamaConfig(**(TINYLLAMA | changes))).eval().requires_grad_(False)
    sparse = moefy(twin(dense), grouping="random", seed=seed)
    for router in routers(sparse).values():
        router.requires_grad_(False).weight.normal_(0, router.weight.shape[1] ** -0.5)
    calibrate(sparse, [{"input_ids": torch.randint(dense.config.vocab_size, (1, 64))}], levels)
    return dense, sparsify(sparse)


def sides_of(dense: PreTrainedModel, sparse: PreTrainedModel, levels: Sequence[float]) -> dict[str, Side]:
    """The dense model, the sparse one with all experts kept, and at some levels: for :func:`decode_times`."""

    def at(level: float) -> PreTrainedModel:
        set_sparsity(sparse, level)
        return sparse

    return {"dense": lambda: dense, **{f"{level:.0%}": partial(at, level) for level in (0, *levels)}}


@torch.no_grad()
def decode_times(sides: Mapping[str, Side], prompt: Tensor, rounds: int = 20) -> dict[str, float]:
    """Seconds for each further token of one text, a median; in each round every side takes its turn.

    Args:
        sides: by name.
        prompt: tokens ``[1, length]``; after it each side goes on with what it takes for likeliest.
        rounds: tokens that are timed; three more come before them.

    Raises:
        ValueError: there are no rounds, or the prompt is not of one text.
    """
    check_whole("rounds", rounds, 1)
    if prompt.ndim != 2 or prompt.shape[0] != 1 or not prompt.shape[1]:
        raise ValueError(f"the prompt has the shape {tuple(prompt.shape)}: give (1, length)")
    caches = {name: DynamicCache() for name in sides}
    last = {name: _step(side(), prompt, caches[name]) for name, side in sides.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(3 + rounds):
        for name, side in sides.items():
            model = side()
            begin = time.perf_counter()
            last[name] = _step(model, last[name], caches[name])
            times[name].append(time.perf_counter() - begin)
    return {name: median(each[3:]) for name, each in times.items()}


def bytes_limit(model: PreTrainedModel, sparsity: float) -> float:
    """How many times faster decoding can be where it is bound by the bytes of weights.

    All are read once a token, but those of FFNs that are skipped, and the input embedding.

    Args:
        model: dense.
        sparsity: share of the FFNs' neurons that are skipped.
    """
    ffns = sum(linear.weight.numel() for ffn in find_ffns(model) for linear in (*ffn.readers, ffn.down))
    embedding = model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is embedding
    read = sum(one.numel() for one in model.parameters()) - (0 if tied else embedding.numel())
    return read / (read - sparsity * ffns)


def closed(model: PreTrainedModel, level: float, ids: Tensor) -> float:
    """The share of experts that a level closes for some tokens, a mean over layers."""
    set_sparsity(model, level)
    shares = measure_sparsity(model, [{"input_ids": ids}])
    return sum(shares.values()) / len(shares)


def _step(model: PreTrainedModel, ids: Tensor, cache: DynamicCache) -> Tensor:
    """The likeliest next token, ``[1, 1]``."""
    logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    return logits[:, -1:].argmax(-1)
