"""How well a model predicts a text."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from lomt.llm.batches import NO_TOKENS, Batch, on_device
from lomt.modes import evaluating


def perplexity(model: nn.Module, batches: Iterable[Batch]) -> float:
    """``exp`` of the mean negative log-likelihood of each token given those before it, in its own row.

    Args:
        model: causal; dense, gated or sparse.
        batches: keyword arguments of the model; padding (``attention_mask`` 0) neither counts nor is counted on.

    Raises:
        ValueError: no token of the batches has one before it.
    """
    total, count = 0.0, 0
    for given in batches:
        batch = {name: value for name, value in on_device(given, model).items() if name != "labels"}
        with torch.no_grad(), evaluating(model):
            logits = model(**batch).logits[:, :-1].float()
        ids = batch["input_ids"]
        mask = batch.get("attention_mask", torch.ones_like(ids)).bool()
        counted = mask[:, 1:] & mask[:, :-1]
        total += float(nn.functional.cross_entropy(logits[counted], ids[:, 1:][counted], reduction="sum"))
        count += int(counted.sum())
    if not count:
        raise ValueError(NO_TOKENS)
    return math.exp(total / count)
