"""The channel-masked convolution for ONNX, which has no such operator: a narrow convolution, or a dense one with zeros.

Where live channels are known while exporting (they are Python's numbers), and half of the weight at most is alive, they
are gathered; else masks multiply the weight, which the exporter folds into it.

``torch.onnx.export`` of a module comes here by itself; a program of ``torch.export`` holds the operation until
:func:`decomposed` takes it out.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lomt_kernels import library
from lomt_kernels.conv import reference
from lomt_kernels.live import LiveList, numbers_of
from lomt_kernels.shrink import reference as shrink


def masked_conv2d(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    live_in: Sequence[LiveList | Tensor | Sequence[int] | None],
    live_out: Sequence[LiveList | Tensor | Sequence[int] | None],
    scales: Sequence[Tensor | None],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    dead_zero: bool,
) -> list[Tensor]:
    """Each reader's output, in operators that ONNX has."""
    found = []
    for weight, bias, some_in, some_out, scale in zip(weights, biases, live_in, live_out, scales, strict=True):
        window = (list(stride), list(padding), list(dilation), groups)
        weight = reference.scaled(weight, scale, groups)
        inner, out = weight.shape[1] * groups, weight.shape[0]
        ins, outs = _known(some_in, inner), _known(some_out, out)
        if groups == 1 and ins is not None and outs is not None and 0 < 2 * len(ins) * len(outs) <= inner * out:
            found.append(_narrow(x, weight, bias, ins, outs, window, dead_zero))
            continue
        if some_in is not None:
            alive = reference.over_inputs(_mask(some_in, inner, x.device), weight, groups)
            weight = torch.where(alive, weight, 0)
        if some_out is not None:
            alive = _mask(some_out, out, x.device)
            weight = torch.where(alive[:, None, None, None], weight, 0)
            bias = torch.where(alive, bias, 0) if bias is not None and dead_zero else bias
        found.append(torch.conv2d(x, weight, bias, *window))
    return found


def _narrow(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ins: list[int],
    outs: list[int],
    window: tuple[list[int], list[int], list[int], int],
    dead_zero: bool,
) -> Tensor:
    """Gather, a convolution, and where outputs are dead, another gather that puts them back beside what they hold."""
    out, inner = weight.shape[:2]
    if len(ins) < inner:
        numbers = torch.tensor(ins, device=x.device)
        x, weight = x.index_select(1, numbers), weight.index_select(1, numbers)
    if len(outs) == out:
        return torch.conv2d(x, weight, bias, *window)
    numbers = torch.tensor(outs, device=x.device)
    y = torch.conv2d(x, weight.index_select(0, numbers), None, *window)
    # Channel 0 of what is read is a zero.
    places = [0] * out
    for place, number in enumerate(outs, 1):
        places[number] = place
    y = torch.cat([torch.zeros_like(y[:, :1]), y], 1).index_select(1, torch.tensor(places, device=x.device))
    if bias is None:
        return y
    if dead_zero:
        bias = bias * torch.tensor([place > 0 for place in places], device=x.device)
    return y + bias[None, :, None, None]


def decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """A program of ``torch.export`` whose masked convolutions are dense ones with zeros, for ``torch.onnx.export``.

    Masks and thresholds that are made of weights become plain operations, too.
    """
    table = {
        library.OPS.masked_conv2d: _dense,
        library.OPS.group_alive: lambda *arguments: shrink.group_alive(*arguments[:-1]),
        library.OPS.group_norms: lambda *arguments: shrink.group_norms(*arguments[:-1]),
    }
    return program.run_decompositions(table)


def _dense(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    live: Sequence[Tensor | None],
    scales: Sequence[Tensor | None],
    *how: Any,
) -> list[Tensor]:
    """The operation by its own arguments."""
    lists = [
        None if indices is None or count is None else LiveList(indices, count)
        for indices, count in zip(live[::2], live[1::2], strict=True)
    ]
    return masked_conv2d(x, weights, biases, lists[::2], lists[1::2], scales, *how[:-1])


def _known(live: LiveList | Tensor | Sequence[int] | None, channels: int) -> list[int] | None:
    """The live channels' numbers, if they can be seen."""
    if live is None:
        return list(range(channels))
    return None if isinstance(live, LiveList | Tensor) else numbers_of(live, channels)


def _mask(live: LiveList | Tensor | Sequence[int], channels: int, device: torch.device) -> Tensor:
    if isinstance(live, LiveList | Tensor):
        return LiveList.of(live, channels).mask
    numbers = set(numbers_of(live, channels))
    return torch.tensor([number in numbers for number in range(channels)], device=device)
