"""Text that every Python has, bytes as tokens: the sources of its standard library, docstrings and all."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

Split = Literal["train", "validation", "test"]
"""Eight files of ten, one, and one; which, a hash of a file's name says."""

_LEFT_OUT = {"encodings", "idle_test", "test", "tests"}
"""Folders of tables and of tests: nothing to learn from, and distributions leave them out."""


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
    """The standard library's sources in a split, one after the other, a token a byte, int64 ``[n]``.

    Raises:
        ValueError, FileNotFoundError: as :func:`library_files`.
    """
    joined = bytearray(b"".join(path.read_bytes() for path in library_files(split, root)))
    return torch.frombuffer(joined, dtype=torch.uint8).long()


def _split_of(key: bytes) -> Split:
    tenth = key[-1] * 10 // 256
    return "test" if tenth == 0 else "validation" if tenth == 1 else "train"
