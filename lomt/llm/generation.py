"""Texts that continue prompts: batches of any lengths, padded on the left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel


class Tokenizer(Protocol):
    """What is asked of a tokenizer: transformers' have it."""

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""


@torch.no_grad()
def generate(model: PreTrainedModel, tokenizer: Tokenizer, prompts: str | Sequence[str], **options: Any) -> list[str]:
    """Continue prompts by the model's own ``generate``.

    Args:
        model: causal; dense, gated or sparsified.
        tokenizer: of the model.
        prompts: one or several, none of them empty.
        **options: for ``generate``: ``max_new_tokens``, ``do_sample``, ``num_beams``, ….

    Returns:
        What follows each prompt, without it (one text a prompt, or ``num_return_sequences`` in a row).

    Raises:
        ValueError: no prompt, an empty one, or one with a token that the model does not know; names it.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise ValueError("no prompts are given: give at least one")
    vocabulary = model.get_input_embeddings().num_embeddings
    tokens = []
    for number, text in enumerate(texts):
        ids = list(tokenizer.encode(text))
        if not ids:
            raise ValueError(f"prompt {number} is empty ({text!r}): give at least one token")
        if not 0 <= min(ids) <= max(ids) < vocabulary:
            raise ValueError(
                f"prompt {number} has the token {max(ids, key=lambda one: max(one, -one))}, and the model knows 0 to "
                f"{vocabulary - 1}: take the tokenizer of this model"
            )
        tokens.append(ids)
    length = max(map(len, tokens))
    config, device = model.generation_config, model.device
    end = config.eos_token_id
    ends = [] if end is None else end if isinstance(end, list) else [end]
    padding = config.pad_token_id if config.pad_token_id is not None else (*ends, 0)[0]
    padded = torch.tensor([[padding] * (length - len(one)) + one for one in tokens], device=device)
    mask = torch.tensor([[0] * (length - len(one)) + [1] * len(one) for one in tokens], device=device)
    out = model.generate(input_ids=padded, attention_mask=mask, pad_token_id=padding, **options)
    return [tokenizer.decode(_until(ends, one[length:].tolist())) for one in out]


def _until(ends: list[int], ids: list[int]) -> list[int]:
    """Tokens before the first that ends a text."""
    return next((ids[:at] for at, token in enumerate(ids) if token in ends), ids)
