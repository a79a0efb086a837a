"""A layer's groups in pieces of memory that stay in a core's cache from one operation to the next."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

# The last two dimensions of a tensor of groups are the members of one group.
MEMBERS = (-2, -1)
Cut = Callable[[Tensor], Tensor]
# Weights in one piece, for each thread: few enough to stay in cache, many enough to be worth their launches.
PIECE = 1 << 18
ROWS = 2


class Pieces:
    """Groups ``(blocks, channels, rows, columns)`` cut along the dimension that is outermost in memory.

    So each piece is one run of memory, be the groups columns of it (input channels) or rows (output channels). An
    accelerator, which has no such cache and pays for each launch, gets all in one piece.

    Attributes:
        weights: the whole.
        cuts: functions that cut the pieces from a tensor of the weights' shape.
        parts: the pieces of the weights, views.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self.dim = max(range(3), key=lambda dim: (weights.shape[dim] > 1, weights.stride(dim)))
        length = weights.shape[self.dim]
        count = -(-weights.numel() // (PIECE * torch.get_num_threads())) if weights.device.type == "cpu" else 1
        self._each = -(-length // max(1, min(count, length)))
        starts = range(0, length, self._each)
        self.cuts: list[Cut] = [self._cut(start, min(self._each, length - start)) for start in starts]
        self.parts = [cut(weights) for cut in self.cuts]
        self._short_runs = _short_runs(weights)

    def _cut(self, start: int, length: int) -> Cut:
        return lambda whole: whole.narrow(self.dim, start, length)

    def spread(self, numbers: Tensor) -> list[Tensor]:
        """One number a group, ready to broadcast over each of the pieces."""
        ready = numbers[..., None, None]
        if self._short_runs:
            # Kernel windows, nine weights in a row that share their number, would be the innermost loop of every
            # operation; written out for one row they join the loop over channels.
            ready = ready.expand(*numbers.shape, 1, self.weights.shape[-1]).contiguous()
        if self.dim == ROWS:
            return [ready] * len(self.parts)
        return list(ready.split(self._each, self.dim))

    def part_total(self, values: Tensor) -> Tensor:
        """Sums of one piece's groups, as :meth:`join` wants them."""
        return values.sum(-2) if self._short_runs else values.sum(MEMBERS)

    def join(self, sums: Sequence[Tensor]) -> Tensor:
        """Sums of the pieces' groups as sums of the whole's."""
        if len(sums) == 1:
            whole = sums[0]
        else:
            whole = torch.stack(list(sums)).sum(0) if self.dim == ROWS else torch.cat(list(sums), self.dim)
        return whole.sum(-1) if self._short_runs else whole

    def total(self, values: Iterable[Tensor]) -> Tensor:
        """Sums over the members of every group, of values that come in pieces."""
        return self.join([self.part_total(part) for part in values])


def total(values: Tensor) -> Tensor:
    """Sum over the members of every group, along memory where that is cheap."""
    if _short_runs(values):
        return values.sum(-2).sum(-1)
    return values.sum(MEMBERS)


def _short_runs(values: Tensor) -> bool:
    rows, columns = values.shape[-2:]
    return 1 < columns <= 64 and rows > 1 and values.stride(-1) == 1 and values.stride(-2) > columns


def pick(whole: Tensor, channels: Tensor) -> Tensor:
    """Some of the channels, ``whole[:, channels]``, gathered in memory's order: ten times faster than that."""
    order = sorted(range(4), key=whole.stride, reverse=True)
    back = [order.index(dim) for dim in range(4)]
    return whole.permute(order).index_select(order.index(1), channels).permute(back)
