"""Text that every Python has, bytes as tokens: the sources of its standard library, docstrings and all."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lomt.checks import check_whole

Split = Literal["train", "validation", "test"]
"""Eight files of ten, one, and one; which, a hash of a file's name says."""

LENGTH = 128
"""Tokens in a window."""

_LEFT_OUT = {"encodings", "idle_test", "test", "tests"}
"""Folders of tables and of tests: nothing to learn from, and distributions leave them out."""


class Bytes:
    """A tokenizer whose tokens are the 256 bytes of UTF-8."""

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of bytes; what is no UTF-8 becomes a replacement character."""
        return bytes(ids).decode(errors="replace")


class Windows(Dataset[dict[str, Tensor]]):
    """Windows of one length that lie side by side in a row of tokens: ``input_ids``, and ``labels`` that are the same.

    Args:
        tokens: int64, ``[n]``.
        length: of a window; what is left at the end is left out.
        limit: at most so many windows, evenly spaced.

    Raises:
        ValueError: there are fewer tokens than a window has, or a number is out of range.
    """

    def __init__(self, tokens: Tensor, length: int = LENGTH, limit: int | None = None) -> None:
        check_whole("length", length, 2)
        if limit is not None:
            check_whole("limit", limit, 1)
        if len(tokens) < length:
            raise ValueError(f"the text has {len(tokens)} tokens, and a window {length}: give a longer text")
        windows = tokens[: len(tokens) // length * length].view(-1, length)
        if limit is not None and limit < len(windows):
            windows = windows[torch.arange(limit) * len(windows) // limit]
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.windows[index], "labels": self.windows[index]}

    def batches(self, size: int = 32) -> list[dict[str, Tensor]]:
        """All windows in their order, ``size`` at a time, as keyword arguments of a model."""
        return [{"input_ids": ids, "labels": ids} for ids in self.windows.split(size)]


def library_files(split: Split, root: Path | None = None) -> list[Path]:
    """The source files of the standard library in a split, in the order of the hashes of their names.

    Files keep their split whichever others there are, and whatever is in them.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        root: the folder of the standard library, by default this Python's.

    Raises:
        ValueError: there is no such split.
        FileNotFoundError: there are no sources, as in a frozen Python.
    """
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}: there are {', '.join(get_args(Split))}")
    root = Path(sysconfig.get_path("stdlib")) if root is None else root
    found = {}
    for name in sys.stdlib_module_names:
        for path in (root / f"{name}.py", *(root / name).rglob("*.py")):
            inner = path.relative_to(root)
            if path.is_file() and _LEFT_OUT.isdisjoint(inner.parts):
                found[hashlib.sha256(inner.as_posix().encode()).digest()] = path
    chosen = [found[key] for key in sorted(found) if _split_of(key) == split]
    if not chosen:
        raise FileNotFoundError(f"{root} has no sources of the standard library: give a text of your own")
    return chosen


def library_tokens(split: Split, root: Path | None = None) -> Tensor:
    """The standard library's sources in a split as bytes, int64 ``[n]``; see :func:`library_files`."""
    return byte_tokens(path.read_bytes() for path in library_files(split, root))


def byte_tokens(texts: Iterable[bytes]) -> Tensor:
    """Texts one after the other, a token a byte, int64 ``[n]``."""
    joined = bytearray(b"".join(texts))
    return torch.frombuffer(joined, dtype=torch.uint8).long() if joined else torch.empty(0, dtype=torch.long)


def _split_of(key: bytes) -> Split:
    tenth = key[-1] * 10 // 256
    return "test" if tenth == 0 else "validation" if tenth == 1 else "train"
