"""Which channels are alive, as kernels read it."""

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LiveList(NamedTuple):
    """The live ones of some channels, on the device where the kernels are.

    Attributes:
        indices: int32, ``(channels,)``: the live channels in ascending order, then the dead ones.
        count: int32, ``()``: how many are alive.

    Nothing here waits for a GPU: kernels start for all channels, and leave at ``count``.
    """

    indices: Tensor
    count: Tensor  # type: ignore[assignment]  # the field's standard word hides a method of tuples

    @classmethod
    def of(cls, live: "LiveList | Tensor", channels: int) -> "LiveList":
        """A live list from one, from a mask ``(channels,)`` of bool, or from a tensor of indices.

        Args:
            live: which channels are alive.
            channels: how many there are.

        Raises:
            TypeError: it is none of these.
            ValueError: it is of another length; on a CPU also: an index is repeated, negative or too large.

        Example:
            >>> LiveList.of(torch.tensor([True, False, True]), 3)
            LiveList(indices=tensor([0, 2, 1], dtype=torch.int32), count=tensor(2, dtype=torch.int32))
        """
        if isinstance(live, cls):
            if live.indices.shape != (channels,):
                raise ValueError(f"a live list of {live.indices.numel()} channels for {channels}")
            if live.count.shape != () or not live.indices.dtype == live.count.dtype == torch.int32:
                raise TypeError(
                    f"a live list of {live.indices.dtype}, and {live.count.dtype} {tuple(live.count.shape)} for its"
                    " count: give int32 indices and a scalar int32 count, or a bool mask"
                )
            return live
        if not isinstance(live, Tensor):
            raise TypeError(f"{live!r} tells no live channels: give a bool mask, a tensor of indices or a LiveList")
        if live.dtype == torch.bool:
            if live.shape != (channels,):
                raise ValueError(f"a mask of shape {tuple(live.shape)} for {channels} channels: give ({channels},)")
            mask = live
        else:
            mask = _mask_of(live, channels)
        count = mask.sum(dtype=torch.int32)
        if torch.compiler.is_compiling():  # ONNX has no stable sort; where nothing is compiled, sorting is faster
            rank, numbers = mask.cumsum(0), torch.arange(channels, device=mask.device)
            places = torch.where(mask, rank - 1, count + numbers - rank)
            order = torch.zeros_like(numbers).scatter(0, places, numbers)
        else:
            order = torch.argsort(mask.logical_not().to(torch.uint8), stable=True)
        return cls(order.to(torch.int32), count)

    @property
    def mask(self) -> Tensor:
        """Which channels are alive, ``(channels,)`` of bool."""
        rank = torch.arange(self.indices.numel(), device=self.indices.device)
        return torch.zeros_like(rank, dtype=torch.bool).scatter(0, self.indices.long(), rank < self.count)


def numbers_of(live: Any, channels: int) -> list[int]:
    """Live channels that are given as Python's numbers, in ascending order.

    Raises:
        TypeError: something is no whole number.
        ValueError: a number is repeated, negative or too large.
    """
    if isinstance(live, str) or not isinstance(live, Iterable):
        raise TypeError(f"{live!r} tells no live channels: give a bool mask, indices or a LiveList")
    numbers = list(live)
    for number in numbers:
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise TypeError(f"live channels {_some(numbers)} are no whole numbers: a mask is a tensor of bool")
    numbers = sorted(map(operator.index, numbers))
    for number in numbers[:1] + numbers[-1:]:
        if not 0 <= number < channels:
            raise ValueError(f"live channel {number} of {channels}: indices are from 0 to {channels - 1}")
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"live channels {_some(numbers)} name one twice: give each once")
    return numbers


def _some(numbers: list[Any]) -> str:
    """A list for a message, not all of it where it is long."""
    return f"{numbers}" if len(numbers) < 9 else f"[{', '.join(map(str, numbers[:8]))}, …]"


def _mask_of(indices: Tensor, channels: int) -> Tensor:
    if indices.ndim != 1 or indices.is_floating_point() or indices.is_complex():
        raise TypeError(
            f"live channels of shape {tuple(indices.shape)} and {indices.dtype}: give a bool mask or a list of indices"
        )
    if indices.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = indices[(indices < 0) | (indices >= channels)]
        if wrong.numel():
            raise ValueError(f"live channel {int(wrong[0])} of {channels}: indices are from 0 to {channels - 1}")
        if indices.unique().numel() < indices.numel():
            raise ValueError(f"live channels {_some(indices.tolist())} name one twice: give each once")
    mask = torch.zeros(channels, dtype=torch.bool, device=indices.device)
    return mask.index_fill_(0, indices.long(), True)
