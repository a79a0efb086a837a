"""The channel-masked convolution for ONNX, which has no such operator: a narrow convolution, or a dense one with zeros.

Where live channels are known while exporting (a list of numbers, or tensors with data), and half of them at most are
alive, they are gathered; else masks multiply the weight, which the exporter folds into it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lomt_kernels.conv import reference
from lomt_kernels.live import LiveList


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
            weight = weight * reference.over_inputs(_mask(some_in, inner), weight, groups)
        if some_out is not None:
            alive = _mask(some_out, out)
            weight = weight * alive[:, None, None, None]
            bias = bias * alive if bias is not None and dead_zero else bias
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
    places = torch.zeros(out, dtype=torch.int64, device=x.device).index_copy(0, numbers, torch.arange(1, len(outs) + 1))
    y = torch.cat([torch.zeros_like(y[:, :1]), y], 1).index_select(1, places)
    if bias is None:
        return y
    return y + (bias * (places > 0) if dead_zero else bias)[None, :, None, None]


def _known(live: LiveList | Tensor | Sequence[int] | None, channels: int) -> list[int] | None:
    """The live channels' numbers, if they can be seen."""
    if live is None:
        return list(range(channels))
    if not isinstance(live, LiveList | Tensor):
        return sorted(live)
    tensors = live if isinstance(live, LiveList) else (live,)
    if any(type(tensor) is not Tensor or torch.compiler.is_compiling() for tensor in tensors):
        return None
    numbers: list[int] = LiveList.of(live, channels).mask.nonzero().flatten().tolist()
    return numbers


def _mask(live: LiveList | Tensor | Sequence[int], channels: int) -> Tensor:
    if isinstance(live, Tensor) and live.dtype == torch.bool:
        return live
    if not isinstance(live, LiveList | Tensor):
        live = torch.tensor(live)
    return LiveList.of(live, channels).mask
