"""The public function: what it takes, what it checks, and what it hands on."""

import math
from typing import Literal

import torch
from torch import Tensor

from lomt_kernels import library, registry
from lomt_kernels.ffn.reference import ACTIVATIONS
from lomt_kernels.layout import FLOATS

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]


def sparse_ffn(
    x: Tensor,
    gate_up: Tensor,
    down_t: Tensor,
    active: Tensor,
    *,
    activation: Activation = "silu",
    bias: Tensor | None = None,
    down_bias: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """A feed-forward network, gated or plain, of which each row uses its active blocks of neurons only.

    ``y = Σ over active blocks e of f(gate_e x + b_e) · (up_e x + b'_e) @ down_e, + down_bias``; in a plain network
    f(up_e x + b_e) @ down_e. Weights of a block that no row uses are not read: of one row, or of few, the time is that
    of the active share. Sums are in float32 (float64 for float64 weights), and a row's result does not depend on what
    other rows there are, bit for bit, up to 32 rows on a processor and 16 on a GPU; more of them (a prompt) may go
    through dense products with the same masks between. Forward only.

    Args:
        x: ``(..., d)``.
        gate_up: ``(blocks, 2, block, d)``, gate first, or ``(blocks, 1, block, d)`` for a plain network, of
            :func:`pack_ffn`; contiguous.
        down_t: ``(blocks, block, d_out)``, contiguous.
        active: ``(..., blocks)`` of bool: a mask a row.
        activation: f: ``"silu"``, ``"gelu"`` (exact), ``"gelu_tanh"`` or ``"relu"``.
        bias: of neurons, ``(blocks, 2, block)`` or ``(blocks, 1, block)``.
        down_bias: ``(d_out,)``, added once.
        backend: ``"reference"``, ``"native"``, ``"triton"``; by default the first that can.

    Returns:
        ``(..., d_out)`` of ``x``'s dtype.

    Raises:
        TypeError: something is no tensor of floating-point numbers (or, the mask, of bool), or dtypes differ.
        ValueError: shapes, devices or layouts do not fit, or the backend can't be taken.
        RuntimeError: a gradient is asked for.

    Example:
        >>> from lomt_kernels import pack_ffn
        >>> gate_up, down_t = pack_ffn(None, torch.eye(4), torch.eye(4), block=2)
        >>> x = torch.tensor([1.0, -2.0, 3.0, 4.0])
        >>> sparse_ffn(x, gate_up, down_t, torch.tensor([False, True]), activation="relu")
        tensor([0., 0., 3., 4.])
    """
    _check(x, gate_up, down_t, active, bias, down_bias, activation)
    chosen = registry.choose("sparse_ffn", gate_up.device, gate_up.dtype, backend)
    rows, masks = x, active
    if x.ndim != 2:
        count = math.prod(x.shape[:-1])
        rows, masks = x.reshape(count, x.shape[-1]), active.reshape(count, active.shape[-1])
    if x.dtype != gate_up.dtype:
        rows = rows.to(gate_up.dtype)
    call = library.direct("sparse_ffn", x, gate_up)
    y: Tensor = call(rows, gate_up, down_t, masks, bias, down_bias, activation, chosen)
    if x.dtype != gate_up.dtype:
        y = y.to(x.dtype)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], y.shape[1])


def _check(
    x: Tensor,
    gate_up: Tensor,
    down_t: Tensor,
    active: Tensor,
    bias: Tensor | None,
    down_bias: Tensor | None,
    activation: str,
) -> None:
    if not isinstance(active, Tensor) or active.dtype != torch.bool:
        raise TypeError(f"active is of {_kind(active)}: give a mask of bool, (..., blocks)")
    _check_one("x", x, None)
    _check_one("gate_up", gate_up, None)
    if gate_up.ndim != 4 or gate_up.shape[1] not in (1, 2):
        raise ValueError(f"gate_up has shape {tuple(gate_up.shape)}: give (blocks, 1 or 2, block, d), see pack_ffn")
    blocks, parts, block, d = gate_up.shape
    _check_one("down_t", down_t, gate_up)
    if down_t.ndim != 3 or down_t.shape[0] != blocks or down_t.shape[1] != block:
        raise ValueError(f"down_t has shape {tuple(down_t.shape)}: give ({blocks}, {block}, d_out), see pack_ffn")
    if x.ndim < 1 or x.shape[-1] != d:
        raise ValueError(f"x has shape {tuple(x.shape)}: give (..., {d})")
    if active.shape != (*x.shape[:-1], blocks):
        raise ValueError(f"active has shape {tuple(active.shape)}: give {(*x.shape[:-1], blocks)}, a mask a row of x")
    for name, tensor, shape in (("bias", bias, (blocks, parts, block)), ("down_bias", down_bias, down_t.shape[2:])):
        if tensor is not None:
            _check_one(name, tensor, gate_up)
            if tensor.shape != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}: give {tuple(shape)}")
    if x.device != gate_up.device or active.device != gate_up.device:
        raise ValueError(f"x is on {x.device}, active on {active.device}, gate_up on {gate_up.device}: give all on one")
    if not gate_up.is_contiguous() or not down_t.is_contiguous():
        name = "down_t" if gate_up.is_contiguous() else "gate_up"
        raise ValueError(f"{name} is not contiguous: call .contiguous() on it once, not at every call")
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}: there are {', '.join(ACTIVATIONS)}")
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, gate_up, down_t, bias, down_bias)
    ):
        raise RuntimeError("sparse_ffn has no gradient: call it under torch.no_grad(), or train the dense network")


def _check_one(name: str, tensor: Tensor, beside: Tensor | None) -> None:
    if not isinstance(tensor, Tensor) or tensor.dtype not in FLOATS:
        raise TypeError(f"{name} is of {_kind(tensor)}: give floating-point numbers, not quantized ones")
    if beside is None:
        return
    if tensor.dtype != beside.dtype:
        raise TypeError(f"{name} is of {tensor.dtype}, and gate_up of {beside.dtype}: give both one dtype")
    if tensor.device != beside.device:
        raise ValueError(f"{name} is on {tensor.device}, and gate_up on {beside.device}: move one of them")


def _kind(given: object) -> object:
    return getattr(given, "dtype", type(given).__name__)
