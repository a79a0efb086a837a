"""Evaluation mode for a while: no dropout, no batch statistics, and everything as before afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


@contextmanager
def evaluating(module: M) -> Iterator[M]:
    """``module.eval()``; in the end every submodule gets its own mode back: a norm that was frozen stays so."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield module
    finally:
        for part, training in modes:
            part.training = training
