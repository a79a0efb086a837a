"""Batches of tokens: keyword arguments of a language model, and how to show them to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

Batch = Mapping[str, Any]
"""``input_ids`` ``[batch, length]``, ``attention_mask`` (0 where padding is) and whatever else the model takes."""

NO_TOKENS = "the batches hold no tokens: give at least one with a token that is not padding"


def on_device(batch: Batch, model: nn.Module) -> dict[str, Any]:
    """The batch where the model is."""
    device = next(model.parameters()).device
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


def count_tokens(batch: Batch) -> int:
    """How many tokens of a batch are not padding."""
    mask = batch.get("attention_mask")
    if mask is not None:
        return int(mask.sum())
    batch_size, length = (batch["input_ids"] if "input_ids" in batch else batch["inputs_embeds"]).shape[:2]
    return int(batch_size * length)


def without_padding(values: Tensor, batch: Batch, where: str) -> Tensor:
    """``[batch * length, n]`` without the rows of padding tokens.

    Raises:
        ValueError: there are not as many rows as tokens in the batch's mask; names ``where``.
    """
    mask = batch.get("attention_mask")
    if mask is None:
        return values
    if len(values) != mask.numel():
        raise ValueError(
            f"{where} has seen {len(values)} tokens, the attention mask has {mask.numel()} {tuple(mask.shape)}: "
            "give the mask [batch, length] of this very pass"
        )
    return values[mask.flatten().bool()]
