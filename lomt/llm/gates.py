"""What the routers of a model say about the tokens of a batch; padding is not asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lomt.llm.batches import NO_TOKENS, Batch, on_device, without_padding
from lomt.llm.router import routers, settings_of
from lomt.modes import evaluating


class Watched(dict[str, Tensor]):
    """The logits of a forward pass, ``[tokens, experts]`` in float32, by the name of the module with the router."""

    def of_tokens(self, batch: Batch) -> dict[str, Tensor]:
        """The logits without padding.

        Raises:
            ValueError: the batch's ``attention_mask`` is not that of this pass.
        """
        return {name: without_padding(logits, batch, f"the router of {name}") for name, logits in self.items()}


@contextmanager
def watching(model: nn.Module) -> Iterator[Watched]:
    """Collect the routers' logits of the forward pass in the block, with their graph where there is one.

    They are there when the block ends. A pass that is done again in the backward, as under gradient checkpointing, is
    not collected again.
    """
    watched, found = Watched(), routers(model)
    for router in found.values():
        router.seen = []
    try:
        yield watched
        for name, router in found.items():
            if router.seen:  # several where the model runs its FFN in chunks of the length
                watched[name] = torch.cat(router.seen, -2).flatten(0, -2)
    finally:
        for router in found.values():
            router.seen = None


def logits_of(model: nn.Module, batches: Iterable[Batch]) -> Iterator[dict[str, Tensor]]:
    """The routers' logits for each of some batches, ``[tokens, experts]`` each, without padding.

    The gates do what the model's mode says; dropout is off meanwhile.
    """
    for given in batches:
        batch = on_device(given, model)
        with torch.no_grad(), evaluating(model), watching(model) as watched:
            model(**batch)
        yield watched.of_tokens(batch)


def measure_sparsity(model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """The share of experts that the gates close, over the tokens of some batches without padding.

    Args:
        model: with routers; its own threshold is what counts.
        batches: keyword arguments of the model.

    Returns:
        One number of 0 to 1 for each FFN, by the name of the module with its router.

    Raises:
        ValueError: there are no tokens in the batches, or no routers in the model.
    """
    cut = settings_of(model).cut
    closed = dict.fromkeys(routers(model), 0)
    seen = dict.fromkeys(closed, 0)
    for logits in logits_of(model, batches):
        for name, one in logits.items():
            closed[name] += int((one <= cut).sum())
            seen[name] += one.numel()
    if not all(seen.values()):
        raise ValueError(NO_TOKENS)
    return {name: closed[name] / seen[name] for name in seen}
