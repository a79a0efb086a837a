"""Feed-forward networks of all sizes; what they compute, by brute force in float64, and how far it may be off."""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from lomt_kernels import pack_ffn
from tests.kernels.conftest import INTERPRETER

ACTIVATIONS = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}
STEEPEST = 1.13
"""No activation's slope is larger."""
SIZES = [
    # d, d_out, blocks, block
    (48, 40, 12, 32),
    (130, 67, 5, 9),  # odd: vectors' tails, tiles' tails
    (1, 1, 1, 1),
    (7, 140, 6 if INTERPRETER else 70, 3),  # more blocks than chunks
    (264, 8, 3, 16),
]


class Network(NamedTuple):
    """Weights as ``nn.Linear`` has them, biases of neurons, and masks of neurons, not of blocks."""

    gate: torch.Tensor | None
    up: torch.Tensor
    down: torch.Tensor
    bias: torch.Tensor | None
    down_bias: torch.Tensor | None
    block: int

    @classmethod
    def random(cls, size, dtype, gated=True, biased=True, seed=0):
        d, out, blocks, block = size
        generator = torch.Generator().manual_seed(seed)

        def numbers(*shape, scale=1.0):
            return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)

        n = blocks * block
        gate = numbers(n, d, scale=d**-0.5) if gated else None
        up, down = numbers(n, d, scale=d**-0.5), numbers(out, n, scale=n**-0.5)
        bias, down_bias = (numbers(blocks, 1 + gated, block), numbers(out)) if biased else (None, None)
        return cls(gate, up, down, bias, down_bias, block)

    def packed(self):
        """What the operation takes."""
        return pack_ffn(self.gate, self.up, self.down, self.block)

    def biases(self):
        return {"bias": self.bias, "down_bias": self.down_bias}

    def expected(self, x, active, activation, eps, between=0.0):
        """The network's output in float64, and how far it may be off.

        Sums of n numbers err by √n roundings of ``eps`` / 2 (and some for what is done to one number); between the
        layers, values may be rounded to ``between``.
        """
        x, up, down = (t.double() for t in (x, self.up, self.down))
        rounding = (4 + x.shape[-1] ** 0.5) * eps
        neurons = active.repeat_interleave(self.block, -1)
        layers = [up] if self.gate is None else [self.gate.double(), up]
        biases = [torch.zeros(())] * 2 if self.bias is None else self.bias.double().transpose(0, 1).flatten(1)
        values = [x @ w.T + b for w, b in zip(layers, biases, strict=False)]
        errors = [
            rounding * (x.abs() @ w.abs().T + b.abs()) + between * v.abs()
            for w, b, v in zip(layers, biases, values, strict=False)
        ]
        hidden = ACTIVATIONS[activation](values[0])
        error = STEEPEST * errors[0] + 8 * eps * (hidden.abs() + values[0].abs())
        if self.gate is not None:
            error = error * values[1].abs() + hidden.abs() * errors[1]
            hidden = hidden * values[1]
        error = error + (between + eps) * hidden.abs()
        hidden, error = (torch.where(neurons, t, 0) for t in (hidden, error))
        y = hidden @ down.T
        error = error @ down.abs().T + (4 + down.shape[1] ** 0.5) * eps * (hidden.abs() @ down.abs().T)
        if self.down_bias is not None:
            y = y + self.down_bias.double()
        return y, error + eps * y.abs()
