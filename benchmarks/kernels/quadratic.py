"""A problem whose groups live and die: what an optimizer's step is measured on."""

from collections.abc import Sequence

import torch
from torch import Tensor

PRICE = 1e-2
NOISE = 1e-2


class Quadratic:
    """½ ‖W − target‖² with noisy gradients, where the channels of the target span two decades around λ.

    Half of the groups end up dead, and the weights of the others go on moving.

    Args:
        shapes: of the weights.
        axis: of which channels some matter more than others.
        memory_format: of the weights, where they have four dimensions.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], axis: str = "in", memory_format: torch.memory_format | None = None
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weights: list[Tensor] = []
        self.targets: list[Tensor] = []
        for shape in shapes:
            sizes = [1] * len(shape)
            sizes[1 if axis == "in" else 0] = shape[1 if axis == "in" else 0]
            scale = 10 ** (2 * torch.rand(sizes, generator=generator) - 3)
            target = torch.randn(shape, generator=generator) * scale
            # Start near the solution, where a training spends most of its time.
            weight = target * (1 - PRICE / scale).clamp(min=0)
            if memory_format is not None and len(shape) == 4:
                target, weight = (t.contiguous(memory_format=memory_format) for t in (target, weight))
            self.targets.append(target)
            self.weights.append(weight.requires_grad_())
        longest = max(weight.numel() for weight in self.weights)
        self.noise = torch.randn(2 * longest, generator=generator) * NOISE
        self.offsets = generator

    def backward(self) -> None:
        """New gradients."""
        for weight, target in zip(self.weights, self.targets, strict=True):
            first = int(torch.randint(weight.numel(), (), generator=self.offsets))
            noise = self.noise[first : first + weight.numel()].as_strided(weight.shape, weight.stride())
            weight.grad = (weight.detach() - target).add_(noise)
