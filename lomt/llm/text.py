"""Text as tokens: bytes where a model has no tokenizer, blocks of one length to train on and to be measured by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "tokenizer.model")
"""Files of a model's folder that say that it has a tokenizer."""


class ByteTokenizer:
    """Every byte of a text's UTF-8 is a token, 0 to 255."""

    vocabulary = 256

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of bytes; what is no UTF-8 becomes U+FFFD."""
        return bytes(ids).decode(errors="replace")


def tokenizer_of(folder: str | Path) -> Any:
    """The tokenizer in a model's folder, or bytes where it has none."""
    if any((Path(folder) / name).is_file() for name in TOKENIZERS):
        return AutoTokenizer.from_pretrained(folder)
    return ByteTokenizer()


class Blocks(torch.utils.data.Dataset[dict[str, Tensor]]):
    """A text cut into blocks of one length, each to be predicted token by token; what is left at the end is dropped.

    Args:
        ids: the text's tokens.
        length: tokens in a block.

    Raises:
        ValueError: the text is shorter than one block.
    """

    def __init__(self, ids: Sequence[int] | Tensor, length: int) -> None:
        tokens = torch.as_tensor(ids, dtype=torch.long)
        count = len(tokens) // length
        if not count:
            raise ValueError(f"the text has {len(tokens)} tokens, less than one block of {length}: give more of it")
        self.blocks = tokens[: count * length].view(count, length)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.blocks[index], "labels": self.blocks[index]}

    def thinned(self, limit: int) -> Blocks:
        """At most ``limit`` of the blocks, evenly spaced over the text."""
        count, length = self.blocks.shape
        kept = self.blocks if limit >= count else self.blocks[torch.arange(limit) * count // limit]
        return Blocks(kept.flatten(), length)

    def batches(self, size: int, limit: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Batches of ``size`` blocks, in order, of the first ``limit`` blocks."""
        for part in self.blocks[:limit].split(size):
            yield {"input_ids": part}
