"""How well a language model knows a text."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from lomt.llm.batches import NO_TOKENS, Batch, on_device
from lomt.modes import evaluating


@torch.no_grad()
def perplexity(model: nn.Module, batches: Iterable[Batch]) -> float:
    """The exponential of the mean negative log-likelihood of each token given those before it in its row.

    Args:
        model: causal, in whatever mode it is; dropout is off meanwhile.
        batches: keyword arguments of the model, with ``input_ids`` ``[batch, length]``; tokens that are padding in
            ``attention_mask`` are neither predicted nor predicted from.

    Returns:
        At least 1; of tokens, so that numbers of different tokenizers can't be compared.

    Raises:
        ValueError: there is nothing to predict.
    """
    total, count = 0.0, 0
    for given in batches:
        batch = on_device({key: value for key, value in given.items() if key != "labels"}, model)
        ids = batch["input_ids"]
        mask = batch.get("attention_mask", torch.ones_like(ids)).bool()
        there = mask[:, 1:] & mask[:, :-1]
        with evaluating(model):
            logits = model(**batch).logits[:, :-1]
        surprise = nn.functional.cross_entropy(logits[there].float(), ids[:, 1:][there], reduction="none")
        total += float(surprise.double().sum())
        count += len(surprise)
    if not count:
        raise ValueError(NO_TOKENS)
    return math.exp(total / count)
