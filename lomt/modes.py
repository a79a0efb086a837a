"""Evaluation mode for a while: no dropout, no batch statistics, and everything as before afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


@contextmanager
def evaluating(network: M) -> Iterator[M]:
    """``network.eval()``, undone at the end for each module by itself: a norm that was frozen stays so."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield network
    finally:
        for module in training:
            module.training = True
