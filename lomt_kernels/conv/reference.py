"""The channel-masked convolution in plain PyTorch: live channels are selected, a narrow convolution, results put back.

What the other backends are tested against (in float64), and used where there is none. Counts of live channels are read
by the host. Everything here is differentiable, which is how the second derivative of all backends is had.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lomt_kernels.layout import FLOATS, wide
from lomt_kernels.layout import memory_format as own_format
from lomt_kernels.window import memory_format, new_map, output_size

Live = Sequence[Tensor | None]
"""Four a reader: indices and count of the live input channels, and of the live output channels; None: all live."""


def refusal(device: str, dtype: torch.dtype) -> str | None:  # noqa: ARG001 – it runs wherever torch does
    """Why plain PyTorch can't be used on tensors like these; None where it can."""
    return None if dtype in FLOATS else f"convolutions are of floating-point numbers, not of {dtype}"


def masked_conv2d(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    live: Live,
    scales: Sequence[Tensor | None],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    dead_zero: bool,
) -> list[Tensor]:
    """Each reader's output."""
    found = []
    for i, (weight, bias, scale) in enumerate(zip(weights, biases, scales, strict=True)):
        shape = (x.shape[0], weight.shape[0], *output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation))
        ins, outs = _numbers(live[4 * i : 4 * i + 2]), _numbers(live[4 * i + 2 : 4 * i + 4])
        used = scaled(weight, scale, groups)
        if groups > 1:
            narrow = (_kept(x, ins, 1), _used(used, ins, outs, groups))
        else:
            narrow = (_selected(x, ins, 1), _selected(_selected(used, ins, 1), outs, 0))
        if 0 in narrow[0].shape or 0 in narrow[1].shape:
            y = x.new_zeros(shape[0], narrow[1].shape[0], *shape[2:])
        else:
            y = torch.conv2d(*narrow, None, stride, padding, dilation, groups)
        if groups == 1:
            y = _embedded(y, outs, shape, 1)
        if bias is not None:
            y = y + (_kept(bias, outs, 0) if dead_zero else bias)[None, :, None, None]
        found.append(y.contiguous(memory_format=memory_format(x, weight)))
    return found


def masked_conv2d_backward(
    grads: Sequence[Tensor],
    x: Tensor,
    weights: Sequence[Tensor],
    live: Live,
    scales: Sequence[Tensor | None],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    dead_zero: bool,
    revive: bool,
    of_x: bool,
    of_weights: bool,
    of_biases: bool,
    of_scales: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """Gradients of the input (summed over readers), and each reader's of weight, bias and scale; empty if unwanted."""
    nothing = x.new_empty(0)
    to_x = torch.zeros_like(x, memory_format=memory_format(x, weights[0])) if of_x else nothing
    to_weights, to_biases, to_scales = [], [], []
    for i, (grad, weight, scale) in enumerate(zip(grads, weights, scales, strict=True)):
        ins, outs = _numbers(live[4 * i : 4 * i + 2]), _numbers(live[4 * i + 2 : 4 * i + 4])
        window = (None, stride, padding, dilation, False, [0, 0], groups)
        if of_x:
            used = scaled(weight, scale, groups)
            if groups > 1:
                narrow = (_kept(grad, outs, 1), x, _used(used, ins, outs, groups))
            else:
                narrow = (_selected(grad, outs, 1), _selected(x, ins, 1), _selected(_selected(used, ins, 1), outs, 0))
            if 0 not in narrow[1].shape and 0 not in narrow[2].shape:
                part = torch.ops.aten.convolution_backward(*narrow, *window, [True, False, False])[0]
                to_x = to_x + (_kept(part, ins, 1) if groups > 1 else _embedded(part, ins, x.shape, 1))
        if of_weights or of_scales:
            # A revived weight has the gradient that it would have if every channel were alive.
            some_in, some_out = (None if revive else ins), (None if revive and not dead_zero else outs)
            if groups > 1:
                narrow = (_kept(grad, some_out, 1), _kept(x, some_in, 1), weight)
            else:
                part = _selected(_selected(weight, some_in, 1), some_out, 0)
                narrow = (_selected(grad, some_out, 1), _selected(x, some_in, 1), part)
            if 0 in narrow[0].shape or 0 in narrow[1].shape or 0 in narrow[2].shape:
                raw = torch.zeros_like(weight)
            else:
                # torch can't make the gradient of some strided weights.
                narrow = (*narrow[:2], narrow[2].clone(memory_format=torch.contiguous_format))
                raw = torch.ops.aten.convolution_backward(*narrow, *window, [False, True, False])[1]
                if groups == 1:
                    raw = _embedded(raw, some_in, (raw.shape[0], *weight.shape[1:]), 1)
                    raw = _embedded(raw, some_out, weight.shape, 0)
                else:
                    raw = _used(raw, some_in, some_out, groups)
            if of_weights:
                # What is dead is not read here either: 0 times a NaN is none.
                to_weight = raw if scale is None else _used(scaled(raw, scale, groups), some_in, some_out, groups)
                to_weights.append(to_weight.contiguous(memory_format=own_format(weight)))
            if of_scales:
                products = raw.to(wide(raw.dtype)) * _used(weight, some_in, some_out, groups)
                to_scales.append(products.reshape(groups, -1, *weight.shape[1:]).sum((1, 3, 4)).reshape(-1))
        if of_biases:
            to_bias = grad.sum((0, 2, 3))
            to_biases.append(_kept(to_bias, outs, 0) if dead_zero else to_bias)
    return to_x, to_weights, to_biases, to_scales


def _numbers(live: Live) -> Tensor | None:
    """Which channels are alive, in ascending order."""
    indices, count = live
    return None if indices is None or count is None else indices[: int(count)].long()


def _selected(tensor: Tensor, numbers: Tensor | None, dim: int) -> Tensor:
    return tensor if numbers is None else tensor.index_select(dim, numbers)


def _embedded(narrow: Tensor, numbers: Tensor | None, shape: Sequence[int], dim: int) -> Tensor:
    """What was selected at its place among zeros."""
    return narrow if numbers is None else narrow.new_zeros(shape).index_copy(dim, numbers, narrow)


def _kept(tensor: Tensor, numbers: Tensor | None, dim: int) -> Tensor:
    """Zeros but for some."""
    return _embedded(_selected(tensor, numbers, dim), numbers, tensor.shape, dim)


def _kept_inputs(weight: Tensor, numbers: Tensor | None, groups: int) -> Tensor:
    """Zeros but for the weights of some global input channels."""
    if numbers is None:
        return weight
    alive = torch.zeros(weight.shape[1] * groups, dtype=torch.bool, device=weight.device).index_fill(0, numbers, True)
    return torch.where(over_inputs(alive, weight, groups), weight, 0)


def _used(weight: Tensor, ins: Tensor | None, outs: Tensor | None, groups: int) -> Tensor:
    """Zeros but for the weights of some input and output channels."""
    return _kept(_kept_inputs(weight, ins, groups), outs, 0)


def scaled(weight: Tensor, scale: Tensor | None, groups: int) -> Tensor:
    """The weight, its input channels multiplied by the scale's numbers."""
    return weight if scale is None else (weight * over_inputs(scale, weight, groups)).to(weight.dtype)


def over_inputs(values: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Values of global input channels, beside the weights that read them: (out, in / groups, 1, 1)."""
    out, inner = weight.shape[:2]
    each = values.reshape(groups, 1, inner).expand(groups, out // groups, inner)
    return each.reshape(out, inner, 1, 1)


def gather_channels(x: Tensor, indices: Tensor, scale: Tensor | None, shift: Tensor | None, rectify: bool) -> Tensor:
    """See :func:`lomt_kernels.gather_channels`."""
    numbers, out = indices.long(), new_map(x, indices.shape[0])
    found = x.index_select(1, numbers).to(wide(x.dtype))
    if scale is not None:
        found = found * scale.index_select(0, numbers)[None, :, None, None]
    if shift is not None:
        found = found + shift.index_select(0, numbers)[None, :, None, None]
    return out.copy_(found.relu() if rectify else found)


def scatter_channels(narrow: Tensor, indices: Tensor, scale: Tensor | None, channels: int) -> Tensor:
    """What a gather becomes backward."""
    numbers = indices.long()
    if scale is not None:
        narrow = (narrow * scale.index_select(0, numbers)[None, :, None, None]).to(narrow.dtype)
    return new_map(narrow, channels).zero_().index_copy_(1, numbers, narrow)
