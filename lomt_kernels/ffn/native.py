"""The block-sparse feed-forward network in ``_C``, ``csrc/ffn/cpu.cpp``; many rows go through torch's products."""

from torch import Tensor

from lomt_kernels import native
from lomt_kernels.ffn.dense import dense_ffn
from lomt_kernels.ffn.reference import ACTIVATIONS
from lomt_kernels.shrink.native import refusal

__all__ = ["MANY", "refusal", "sparse_ffn"]

MANY = 16
"""Rows up to which weights are read block by block; of more, dense products are the faster."""


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
    if x.shape[0] <= MANY:
        return _by_blocks(x, gate_up, down_t, active, bias, down_bias, activation)
    y = dense_ffn(x, gate_up, down_t, active, bias, down_bias, activation)
    for rows in y.isfinite().all(1).logical_not_().nonzero().flatten().split(MANY):
        y[rows] = _by_blocks(x[rows], gate_up, down_t, active[rows], bias, down_bias, activation)
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
