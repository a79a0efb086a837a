"""A feed-forward network's weights, block by block: what a block of neurons needs lies in one place."""

import torch
from torch import Tensor

from lomt_kernels.layout import FLOATS


def pack_ffn(gate: Tensor | None, up: Tensor, down: Tensor, block: int = 32) -> tuple[Tensor, Tensor]:
    """Weights as :func:`lomt_kernels.sparse_ffn` reads them, in place of (not beside) the originals.

    Args:
        gate: ``(n, d)``, as ``nn.Linear`` has it; None for a plain network.
        up: ``(n, d)``, the first layer of a plain network.
        down: ``(d_out, n)``.
        block: neurons of a block; number e is neurons ``e * block`` to ``(e + 1) * block``.

    Returns:
        ``gate_up`` of ``(n / block, 2, block, d)``, gate first, or ``(n / block, 1, block, d)`` without one; and
        ``down_t`` of ``(n / block, block, d_out)``: a row a neuron. New tensors.

    Raises:
        TypeError: the weights are no floating-point numbers (quantized ones are not), or of several dtypes.
        ValueError: shapes do not fit each other, or ``block`` does not divide the neurons.

    Example:
        >>> gate_up, down_t = pack_ffn(torch.ones(64, 8), torch.ones(64, 8), torch.ones(8, 64))
        >>> gate_up.shape, down_t.shape
        (torch.Size([2, 2, 32, 8]), torch.Size([2, 32, 8]))
    """
    first = [up] if gate is None else [gate, up]
    for weight, name in ((gate, "gate"), (up, "up"), (down, "down")):
        if weight is None and name == "gate":
            continue
        if not isinstance(weight, Tensor) or weight.dtype not in FLOATS or weight.layout != torch.strided:
            kind = getattr(weight, "dtype", type(weight).__name__)
            raise TypeError(f"the weight {name} is of {kind}: give dense floating-point weights, not quantized ones")
        if weight.dtype != up.dtype:
            raise TypeError(f"the weight {name} is of {weight.dtype}, and up of {up.dtype}: give them one dtype")
        if weight.ndim != 2:
            raise ValueError(f"the weight {name} has shape {tuple(weight.shape)}: give a matrix")
    n, d = up.shape
    if gate is not None and gate.shape != up.shape:
        raise ValueError(f"a gate of shape {tuple(gate.shape)} beside an up of {tuple(up.shape)}: give equal shapes")
    if down.shape[1] != n:
        raise ValueError(f"down of shape {tuple(down.shape)} reads {down.shape[1]} neurons, and up makes {n}")
    if block < 1 or n % block:
        raise ValueError(f"block={block} does not divide the {n} neurons: choose a divisor")
    count = n // block
    gate_up = torch.stack([weight.reshape(count, block, d) for weight in first], 1)
    return gate_up, down.t().reshape(count, block, down.shape[0]).clone(memory_format=torch.contiguous_format)


def unpack_ffn(gate_up: Tensor, down_t: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """What :func:`pack_ffn` was given: gate (None for a plain network), up and down, bit for bit, in new tensors."""
    count, parts, block, d = gate_up.shape
    gate, up = (
        gate_up[:, part].reshape(count * block, d).clone(memory_format=torch.contiguous_format)
        for part in (0, parts - 1)
    )
    down = down_t.reshape(count * block, down_t.shape[2]).t().clone(memory_format=torch.contiguous_format)
    return (gate if parts == 2 else None), up, down
