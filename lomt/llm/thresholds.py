"""The knob at run time: a threshold for each level of sparsity, so that one checkpoint serves several speeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from lomt.llm.batches import NO_TOKENS, Batch
from lomt.llm.gates import logits_of
from lomt.llm.router import settings_of

LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9)
"""Sparsities that are calibrated by default."""

ROUNDS = 3
"""Passes for a level: what an FFN closes changes what the next ones see."""


def calibrate(model: nn.Module, batches: Iterable[Batch], levels: Sequence[float] = LEVELS) -> dict[float, float]:
    """Find the thresholds that close given shares of experts, and store them with the model.

    One τ for the whole model, the quantile of all its gates: layers keep the shares that training gave them.

    Args:
        model: with routers.
        batches: a few thousand tokens like those to come, as keyword arguments of the model.
        levels: shares of experts closed, above 0 and below 1.

    Returns:
        Level → cut, the logit of τ; also in the model's settings, which :func:`lomt.llm.save_pretrained` keeps.
        The model's present threshold and mode stay.

    Raises:
        ValueError: a level out of range, or no tokens.
    """
    for level in levels:
        if not 0 < level < 1:
            raise ValueError(f"level is {level}: use shares of experts above 0 and below 1")
    settings, given = settings_of(model), list(batches)
    before = settings.mode, settings.cut
    settings.mode = "hard"
    try:
        for level in sorted(levels):
            for _ in range(ROUNDS):
                settings.cut = _quantile(model, given, level)
            settings.levels[level] = settings.cut
    finally:
        settings.mode, settings.cut = before
    return {level: settings.levels[level] for level in levels}


def set_sparsity(model: nn.Module, level: float) -> None:
    """Run a model at a calibrated level of sparsity: a number changes, no weight does.

    Args:
        model: with routers, sparsified or not.
        level: one that was calibrated; or 0, which opens every gate.

    Raises:
        ValueError: it was not calibrated; says which were.
    """
    settings = settings_of(model)
    if level != 0 and level not in settings.levels:
        known = ", ".join(map(str, sorted(settings.levels))) or "none yet"
        raise ValueError(
            f"sparsity {level} is not calibrated (there are 0, {known}): calibrate(model, batches, [{level}])"
        )
    settings.cut = settings.levels[level] if level else -math.inf
    settings.mode = "hard"


def _quantile(model: nn.Module, batches: list[Batch], level: float) -> float:
    logits = [one.flatten().cpu() for seen in logits_of(model, batches) for one in seen.values()]
    pooled = torch.cat(logits) if logits else torch.empty(0)
    if not len(pooled):
        raise ValueError(NO_TOKENS)
    closed = min(max(1, round(level * len(pooled))), len(pooled) - 1)
    # halfway to the next, so that no gate of these tokens is at the threshold, where rounding would decide
    return float((pooled.kthvalue(closed).values + pooled.kthvalue(closed + 1).values) / 2)
