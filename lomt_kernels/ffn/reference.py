"""The block-sparse feed-forward network in plain PyTorch, in float64, a block at a time for the rows that use it.

What the other backends are tested against, and used where there is none. Masks are read by the host.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lomt_kernels.layout import FLOATS

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}
"""Name → function; native code and Triton have their numbers in this order."""


def refusal(device: str, dtype: torch.dtype) -> str | None:  # noqa: ARG001 – it runs wherever torch does
    """Why plain PyTorch can't be used on tensors like these; None where it can."""
    return None if dtype in FLOATS else f"feed-forward networks are of floating-point numbers, not of {dtype}"


def sparse_ffn(
    x: Tensor,
    gate_up: Tensor,
    down_t: Tensor,
    active: Tensor,
    bias: Tensor | None,
    down_bias: Tensor | None,
    activation: str,
) -> Tensor:
    """``(rows, d_out)`` of ``x`` ``(rows, d)`` and masks ``(rows, blocks)``."""
    wide = x.double()
    y = wide.new_zeros(x.shape[0], down_t.shape[2])
    if down_bias is not None:
        y += down_bias
    for block in active.any(0).nonzero().flatten().tolist():
        rows = active[:, block].nonzero().flatten()
        parts = torch.einsum("rd,pbd->prb", wide[rows], gate_up[block].double())
        if bias is not None:
            parts += bias[block][:, None]
        y[rows] += gated(parts, activation) @ down_t[block].double()
    return y.to(x.dtype)


def gated(parts: Tensor, activation: str) -> Tensor:
    """Neurons' values of ``(1, …)``, what a plain network's first layer yields, or ``(2, …)``, gate and up."""
    hidden = ACTIVATIONS[activation](parts[0])
    return hidden if parts.shape[0] == 1 else hidden * parts[1]
