"""The block-sparse feed-forward network in ``_C``, ``csrc/ffn/cpu.cpp``; many rows go through torch's products."""

import torch
from torch import Tensor

from lomt_kernels import native
from lomt_kernels.ffn.dense import dense_ffn
from lomt_kernels.ffn.reference import ACTIVATIONS
from lomt_kernels.shrink.native import refusal

__all__ = ["MANY", "refusal", "sparse_ffn"]

MANY = 32
"""Rows that read weights together, block by block."""
DENSE = 0.55
"""Share of the masks that is active, from which on more rows go through dense products: with half active, those take as
long in float32 and three times as long in bfloat16 that the processor does not know; with all, three quarters."""


def sparse_ffn(
    x: Tensor,
    gate_up: Tensor,
    down_t: Tensor,
    active: Tensor,
    bias: Tensor | None,
    down_bias: Tensor | None,
    activation: str,
) -> Tensor:
    """See :func:`lomt_kernels.sparse_ffn`; rows are ``(rows, d)``, masks ``(rows, blocks)``."""
    network = (gate_up, down_t)
    if x.shape[0] <= MANY:
        return _by_blocks(x, *network, active, bias, down_bias, activation)
    if int(active.sum()) < DENSE * active.numel():
        parts = zip(x.split(MANY), active.split(MANY), strict=True)
        return torch.cat([_by_blocks(part, *network, mask, bias, down_bias, activation) for part, mask in parts])
    # Halves that torch is slow in are converted: that costs little beside many rows' products.
    dtype = x.dtype if native.fast_in_torch(x.dtype) else torch.float32
    wide = [None if t is None else t.to(dtype) for t in (bias, down_bias)]
    y = dense_ffn(x.to(dtype), gate_up.to(dtype), down_t.to(dtype), active, wide[0], wide[1], activation).to(x.dtype)
    for rows in y.isfinite().all(1).logical_not_().nonzero().flatten().split(MANY):
        y[rows] = _by_blocks(x[rows], *network, active[rows], bias, down_bias, activation)
    return y


def _by_blocks(
    x: Tensor,
    gate_up: Tensor,
    down_t: Tensor,
    active: Tensor,
    bias: Tensor | None,
    down_bias: Tensor | None,
    activation: str,
) -> Tensor:
    blocks, parts, block, d = gate_up.shape
    rows, out = x.shape[0], down_t.shape[2]
    y = x.new_empty(rows, out)
    # What is copied must live until the call.
    x, active = x.contiguous(), active.contiguous()
    bias = None if bias is None else bias.contiguous()
    down_bias = None if down_bias is None else down_bias.contiguous()
    native.binary().ffn(
        native.DTYPES[x.dtype],
        (rows, blocks, parts, block, d, out),
        list(ACTIVATIONS).index(activation),
        x.data_ptr(),
        gate_up.data_ptr(),
        down_t.data_ptr(),
        active.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        0 if down_bias is None else down_bias.data_ptr(),
        y.data_ptr(),
    )
    return y
