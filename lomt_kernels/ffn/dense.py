"""Many rows at once: dense products over the packed weights, with each row's mask between them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lomt_kernels.ffn.reference import gated


def dense_ffn(
    x: Tensor,
    gate_up: Tensor,
    down_t: Tensor,
    active: Tensor,
    bias: Tensor | None,
    down_bias: Tensor | None,
    activation: str,
) -> Tensor:
    """What :func:`lomt_kernels.ffn.reference.sparse_ffn` computes; between products, in the weights' dtype.

    The products read every weight: one that is no finite number reaches rows that do not use it, as NaN.
    """
    rows, (blocks, parts, block, d) = x.shape[0], gate_up.shape
    hidden = F.linear(
        x.contiguous(), gate_up.view(blocks * parts * block, d), None if bias is None else bias.reshape(-1)
    )
    hidden = gated(hidden.view(rows, blocks, parts, block).movedim(2, 0), activation)
    hidden = torch.where(active[:, :, None], hidden, 0).reshape(rows, blocks * block)
    down = down_t.view(blocks * block, down_t.shape[2])
    return hidden @ down if down_bias is None else torch.addmm(down_bias, hidden, down)
