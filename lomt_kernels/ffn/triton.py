"""The block-sparse feed-forward network in Triton: three launches, for all blocks, of which inactive ones read nothing.

Hidden values of each block's neurons; then tiles of outputs, summed over parts of the blocks; then the parts, in order.
Nothing depends on masks but what is loaded, so a CUDA graph replays with others. Rows are a side of the products of
tensor cores, filled up to ``ROWS``: the same code for each row, whatever others there are. Between the layers values
have the weights' dtype, as in a dense network. More rows go through torch's products.
"""

import torch
from torch import Tensor

from lomt_kernels.ffn.dense import dense_ffn
from lomt_kernels.ffn.reference import ACTIVATIONS
from lomt_kernels.shrink.triton import refusal as _refusal

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError("triton is not installed: pip install 'lomt-kernels[triton]'") from error

ROWS = 16
"""Rows up to which blocks are read one by one: the least that a product of tensor cores takes."""
PROGRAMS = 1024
"""Of the second launch, about: enough for every GPU's processors."""
NEURONS = 16
"""Of a program of the first launch."""
BYTES = 256
"""Of a neuron's weights, what a program reads at a time."""
OPTIONS = {"num_warps": 4, "num_stages": 4, "enable_fp_fusion": True}
NUMBERS = ["rows", "blocks", "splits"]
SILU, GELU, GELU_TANH = (tl.constexpr(list(ACTIVATIONS).index(name)) for name in ("silu", "gelu", "gelu_tanh"))


def refusal(device: str, dtype: torch.dtype) -> str | None:
    """Why Triton can't be used on tensors like these; None where it can."""
    return "the Triton kernels have no torch.float64" if dtype == torch.float64 else _refusal(device, dtype)


@triton.jit
def _activated(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == SILU:
        return x / (1 + tl.exp(-x))
    if ACTIVATION == GELU:
        return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    if ACTIVATION == GELU_TANH:
        # 1 + tanh(z) = 2 - 2 / (exp(2z) + 1)
        return x * (1 - 1 / (tl.exp(1.5957691216057308 * (x + 0.044715 * x * x * x)) + 1))
    return tl.where(x < 0, 0.0, x)


@triton.jit
def _users(active, row, rows, block, blocks):
    """Which rows use a block."""
    return (row < rows) & (tl.load(active + (row * blocks + block), row < rows, 0) != 0)


@triton.jit(do_not_specialize=NUMBERS)
def _hidden_kernel(
    x, gate_up, active, bias, hidden, rows, blocks,
    ACTIVATION: tl.constexpr, PARTS: tl.constexpr, SIZE: tl.constexpr, IN: tl.constexpr, ROWS: tl.constexpr,
    BN: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    tiles: tl.constexpr = (SIZE + BN - 1) // BN
    block = program // tiles
    neuron = program % tiles * BN + tl.arange(0, BN)
    row = tl.arange(0, ROWS).to(tl.int64)
    users = _users(active, row, rows, block, blocks)
    if tl.sum(users.to(tl.int32), 0) > 0:
        there = neuron < SIZE
        first = block * PARTS * SIZE + neuron
        gate = tl.zeros((ROWS, BN), tl.float32)
        up = tl.zeros((ROWS, BN), tl.float32)
        for begin in range(0, IN, BD):
            column = begin + tl.arange(0, BD).to(tl.int64)
            inside = column < IN
            value = tl.load(x + (row[:, None] * IN + column[None, :]), users[:, None] & inside[None, :], 0.0)
            at = gate_up + (first[None, :] * IN + column[:, None])
            mask = there[None, :] & inside[:, None]
            gate = tl.dot(value, tl.load(at, mask, 0.0), gate, input_precision="ieee")
            if PARTS == 2:
                at = gate_up + ((first + SIZE)[None, :] * IN + column[:, None])
                up = tl.dot(value, tl.load(at, mask, 0.0), up, input_precision="ieee")
        if bias is not None:
            gate += tl.load(bias + first, there, 0.0).to(tl.float32)[None, :]
            if PARTS == 2:
                up += tl.load(bias + (first + SIZE), there, 0.0).to(tl.float32)[None, :]
        found = _activated(gate, ACTIVATION)
        if PARTS == 2:
            found *= up
        at = hidden + ((row * blocks + block)[:, None] * SIZE + neuron[None, :])
        tl.store(at, found.to(hidden.dtype.element_ty), users[:, None] & there[None, :])


@triton.jit(do_not_specialize=NUMBERS)
def _down_kernel(
    hidden, down, active, partial, rows, blocks, splits,
    SIZE: tl.constexpr, OUT: tl.constexpr, ROWS: tl.constexpr, BN: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    tiles: tl.constexpr = (OUT + BO - 1) // BO
    split = program // tiles
    column = program % tiles * BO + tl.arange(0, BO)
    inside = column < OUT
    row = tl.arange(0, ROWS).to(tl.int64)
    total = tl.zeros((ROWS, BO), tl.float32)
    for block in range(split * blocks // splits, (split + 1) * blocks // splits):
        users = _users(active, row, rows, block, blocks)
        used = tl.where(tl.sum(users.to(tl.int32), 0) > 0, SIZE, 0)  # neurons that are read
        share = tl.zeros((ROWS, BO), tl.float32)
        for begin in range(0, SIZE, BN):
            neuron = begin + tl.arange(0, BN).to(tl.int64)
            at = hidden + ((row * blocks + block)[:, None] * SIZE + neuron[None, :])
            value = tl.load(at, users[:, None] & (neuron < SIZE)[None, :], 0.0)
            at = down + ((block * SIZE + neuron)[:, None] * OUT + column[None, :])
            weights = tl.load(at, (neuron < used)[:, None] & inside[None, :], 0.0)
            share = tl.dot(value, weights, share, input_precision="ieee")
        # Of rows that do not use a block, 0 times a NaN is none.
        total += tl.where(users[:, None], share, 0.0)
    at = partial + ((split * rows + row)[:, None] * OUT + column[None, :])
    tl.store(at, total, (row < rows)[:, None] & inside[None, :])


@triton.jit(do_not_specialize=NUMBERS)
def _sum_kernel(partial, bias, y, rows, splits, OUT: tl.constexpr, BO: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    tiles: tl.constexpr = (OUT + BO - 1) // BO
    row = program // tiles
    column = program % tiles * BO + tl.arange(0, BO)
    inside = column < OUT
    total = tl.zeros((BO,), tl.float32)
    at = partial + (row * OUT + column)
    for _ in range(splits):
        total += tl.load(at, inside, 0.0)
        at += tl.full((), OUT, tl.int64) * rows
    if bias is not None:
        total += tl.load(bias + column, inside, 0.0).to(tl.float32)
    tl.store(y + (row * OUT + column), total.to(y.dtype.element_ty), inside)


def neurons(size: int) -> int:
    """Of a block of so many, those that the second launch takes at a time."""
    return int(min(64, max(16, triton.next_power_of_2(size))))


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
    rows, (blocks, parts, size, d), out = x.shape[0], gate_up.shape, down_t.shape[2]
    if rows > ROWS:
        return dense_ffn(x, gate_up, down_t, active, bias, down_bias, activation)
    y = x.new_empty(rows, out)
    if y.numel() == 0:
        return y
    columns = BYTES // x.element_size()
    tiles = triton.cdiv(out, columns)
    splits = max(1, min(blocks, PROGRAMS // tiles))
    hidden = x.new_empty(rows, blocks, size)
    partial = x.new_empty(splits, rows, out, dtype=torch.float32)
    x, masks = x.contiguous(), active.contiguous().view(torch.uint8)
    bias, down_bias = (None if b is None else b.contiguous() for b in (bias, down_bias))
    how = {"SIZE": size, "ROWS": ROWS, **OPTIONS}
    with torch.cuda.device_of(x):
        if hidden.numel():
            _hidden_kernel[(blocks * triton.cdiv(size, NEURONS),)](
                *(x, gate_up, masks, bias, hidden, rows, blocks),
                **{"ACTIVATION": list(ACTIVATIONS).index(activation), "PARTS": parts, "IN": d, **how},
                BN=NEURONS,
                BD=columns,
            )
        _down_kernel[(splits * tiles,)](
            *(hidden, down_t, masks, partial, rows, blocks, splits), OUT=out, BN=neurons(size), BO=columns, **how
        )
        _sum_kernel[(rows * tiles,)](*(partial, down_bias, y, rows, splits), OUT=out, BO=columns, **OPTIONS)
    return y
