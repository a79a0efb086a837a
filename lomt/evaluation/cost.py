"""What a network costs: parameters and multiply-accumulates."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import flop_counter

from lomt.modes import evaluating

MARK = "__dynamo_disable"
"""Where torch keeps a function that is not to be compiled."""


@dataclass(frozen=True)
class Cost:
    """Size of a network and price of one forward pass.

    Attributes:
        parameters: scalars in ``parameters()``, shared ones once.
        macs: multiply-accumulates of convolutions and matrix products for one image.
    """

    parameters: int
    macs: int


def cost(network: nn.Module, example: Tensor) -> Cost:
    """Count parameters, and multiply-accumulates of a forward pass that really runs.

    PyTorch's own counter sees every operation that the dispatcher runs, whatever modules it comes from.
    Norms, activations, resizing and biases are not counted, as is usual. A product with padding counts, as
    everywhere.

    Args:
        network: any module that takes one tensor; it is neither trained nor changed.
        example: an input ``(N, …)``; its first sample is used.

    Example:
        >>> cost(nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.zeros(1, 3, 4, 4))
        Cost(parameters=216, macs=3456)
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fused encoder layer is one opaque operation, which the counter would take for nothing.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(network), torch.no_grad(), _counter() as counter:
            network(example[:1])
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)


@contextmanager
def _counter() -> Iterator[flop_counter.FlopCounterMode]:
    """PyTorch's counter, without loading the compiler.

    Its mode is marked as nothing to compile, for which torch loads all of ``torch._dynamo`` at the first operation:
    a second, half of what a plan takes. Where the compiler is not there yet, nothing is being compiled, and the mode
    can go without the mark meanwhile.
    """
    dispatch = getattr(getattr(flop_counter, "_FlopCounterMode", None), "__torch_dispatch__", None)
    plain = getattr(dispatch, "__wrapped__", None)
    mark = plain is not None and "torch._dynamo" not in sys.modules
    try:
        if mark:
            setattr(plain, MARK, plain)
        with flop_counter.FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        if mark:
            delattr(plain, MARK)
