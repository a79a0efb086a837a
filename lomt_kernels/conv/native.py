"""The channel-masked convolution in ``_C``: ``csrc/conv/cpu.cpp``.

Convolutions of which every channel is alive are torch's, and so are grouped ones, of the groups that are needed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lomt_kernels import native
from lomt_kernels.conv import reference
from lomt_kernels.layout import memory_format as own_format
from lomt_kernels.layout import new_like, wide
from lomt_kernels.shrink.native import refusal
from lomt_kernels.window import memory_format, new_map, output_size

__all__ = ["gather_channels", "masked_conv2d", "masked_conv2d_backward", "refusal", "scatter_channels"]

Live = Sequence[Tensor | None]
Window = tuple[list[int], list[int], list[int]]
"""Stride, padding, dilation."""

FORWARD, GRAD_INPUT, GRAD_WEIGHT = range(3)
GATHER, SCATTER = range(2)

SMALL = 3e8
"""Multiply-accumulates, at stride 1, below which a convolution with nothing dead is torch's, backward too."""

MANY = 0.75
"""Share of conv groups that are needed from which on all are computed."""


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
    window = (stride, padding, dilation)
    readers = _readers(weights, biases, live, scales)
    outputs: list[Tensor] = []
    ours = []
    for reader in readers:
        layout = memory_format(x, reader.weight)
        if groups > 1:
            y = _grouped(x, reader, window, groups, dead_zero).contiguous(memory_format=layout)
        elif reader.dense and reader.weight.shape[0] and native.fast_in_torch(x.dtype):
            weight = reference.scaled(reader.weight, reader.scale, groups)
            y = torch.conv2d(x, weight, reader.bias, *window).contiguous(memory_format=layout)
        else:
            size = output_size(x.shape[2:], reader.weight.shape[2:], *window)
            y = torch.empty((x.shape[0], reader.weight.shape[0], *size), dtype=x.dtype, memory_format=layout)
            ours.append(len(outputs))
        outputs.append(y)
    if ours:
        _run(FORWARD, _strided(x), [readers[i] for i in ours], [outputs[i] for i in ours], None, window, dead_zero)
    return outputs


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
    window = (stride, padding, dilation)
    readers = _readers(weights, [None] * len(weights), live, scales)
    grads = [_strided(grad) for grad in grads]
    to_x = torch.empty_like(x, memory_format=memory_format(x, weights[0])) if of_x else x.new_empty(0)
    to_weights, to_biases, to_scales = [], [], []
    dense = len(readers) == 1 and readers[0].dense and native.fast_in_torch(x.dtype)
    if of_x and groups == 1 and not dense:
        _run(GRAD_INPUT, to_x, readers, grads, None, window, True)
    elif of_x:
        for i, (reader, grad) in enumerate(zip(readers, grads, strict=True)):
            part = _grouped_grad_input(grad, x, reader, window, groups)
            to_x = to_x.add_(part) if i else to_x.copy_(part)
    for reader, grad in zip(readers, grads, strict=True):
        if of_weights or of_scales:
            # A revived weight has the gradient that it would have if every channel were alive.
            revived = reader._replace(ins=None, outs=reader.outs if dead_zero else None) if revive else reader
            raw = _raw_grad_weight(grad, x, revived, window, groups)
            # What is dead is not read: 0 times a NaN is none.
            if of_scales:
                products = raw.to(wide(raw.dtype)) * _alive(reader.weight, revived, groups)
                to_scales.append(products.reshape(groups, -1, *raw.shape[1:]).sum((1, 3, 4)).reshape(-1))
            if of_weights:
                to_weight = reference.scaled(raw, reader.scale, groups)
                to_weights.append(raw if reader.scale is None else _alive(to_weight, revived, groups))
        if of_biases:
            to_bias = grad.sum((0, 2, 3))
            to_biases.append(torch.where(_mask(reader.outs, to_bias.shape[0]), to_bias, 0) if dead_zero else to_bias)
    return to_x, to_weights, to_biases, to_scales


def leaves_to_torch(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether torch's convolution is the faster with its gradients, where nothing is dead.

    Ours has the faster gradient of weights of several taps; in small convolutions calls cost more than that gains.
    """
    small = weight.shape[2] * weight.shape[3] == 1 or x.shape[0] * x.shape[2] * x.shape[3] * weight.numel() < SMALL
    return bool((groups > 1 or small) and weight.shape[0] and native.fast_in_torch(x.dtype))


def gather_channels(x: Tensor, indices: Tensor, scale: Tensor | None, shift: Tensor | None, rectify: bool) -> Tensor:
    """See :func:`lomt_kernels.gather_channels`."""
    narrow = new_map(x, indices.shape[0])
    _copy(GATHER, x.contiguous(memory_format=_layout(narrow)), narrow, indices, scale, shift, rectify)
    return narrow


def scatter_channels(narrow: Tensor, indices: Tensor, scale: Tensor | None, channels: int) -> Tensor:
    """What a gather becomes backward."""
    found = new_map(narrow, channels)
    _copy(SCATTER, found, narrow.contiguous(memory_format=_layout(found)), indices, scale, None, False)
    return found


def _layout(tensor: Tensor) -> torch.memory_format:
    return torch.contiguous_format if tensor.is_contiguous() else torch.channels_last


class _Reader(NamedTuple):
    """One convolution of a map: its weight, bias and scale, and which channels are alive; None: all."""

    weight: Tensor
    bias: Tensor | None
    scale: Tensor | None
    ins: Tensor | None
    outs: Tensor | None

    @property
    def dense(self) -> bool:
        return self.ins is None and self.outs is None


def _readers(
    weights: Sequence[Tensor], biases: Sequence[Tensor | None], live: Live, scales: Sequence[Tensor | None]
) -> list[_Reader]:
    return [
        _Reader(weight, bias, scale, _some(*live[4 * i : 4 * i + 2]), _some(*live[4 * i + 2 : 4 * i + 4]))
        for i, (weight, bias, scale) in enumerate(zip(weights, biases, scales, strict=True))
    ]


def _some(indices: Tensor | None, count: Tensor | None) -> Tensor | None:
    """The numbers of the live channels, unless all are alive."""
    if indices is None or count is None:
        return None
    alive, channels = int(count), indices.shape[0]
    if not 0 <= alive <= channels:
        raise ValueError(f"a live list counts {alive} of {channels} channels")
    return None if alive == channels else indices[:alive].contiguous()


def _mask(numbers: Tensor | None, channels: int) -> Tensor:
    if numbers is None:
        return torch.ones(channels, dtype=torch.bool)
    return torch.zeros(channels, dtype=torch.bool).index_fill_(0, numbers.long(), True)


def _strided(tensor: Tensor) -> Tensor:
    """A map whose channels or columns are adjacent."""
    return tensor if tensor.stride(1) == 1 or tensor.stride(3) == 1 else tensor.contiguous()


def _raw_grad_weight(grad: Tensor, x: Tensor, reader: _Reader, window: Window, groups: int) -> Tensor:
    """The weight's gradient without the scale, 0 in dead channels."""
    weight = reader.weight
    pointwise = weight.shape[2] == weight.shape[3] == 1
    # Of dense ones, oneDNN's are the faster for one tap, ours for several.
    if groups > 1 or (reader.dense and pointwise and weight.shape[0] and native.fast_in_torch(x.dtype)):
        if not reader.dense:
            grad = torch.where(_mask(reader.outs, weight.shape[0])[None, :, None, None], grad, 0)
            x = torch.where(_mask(reader.ins, x.shape[1])[None, :, None, None], x, 0)
        # torch can't make the gradient of some strided weights.
        plain = weight.clone(memory_format=torch.contiguous_format)
        raw = torch.ops.aten.convolution_backward(
            *(grad, x, plain, None, *window, False, [0, 0], groups, [False, True, False])
        )[1]
        return _alive(raw, reader, groups).contiguous(memory_format=own_format(weight))
    raw = new_like(weight)
    if not reader.dense:
        raw.zero_()
    _run(GRAD_WEIGHT, _strided(x), [reader], [grad], [raw], window, True)
    return raw


def _alive(weight: Tensor, reader: _Reader, groups: int) -> Tensor:
    """A weight, or its gradient, 0 where something is dead."""
    if reader.dense:
        return weight
    out, inner = weight.shape[:2]
    ins = reference.over_inputs(_mask(reader.ins, inner * groups), weight, groups)
    return torch.where(ins & _mask(reader.outs, out)[:, None, None, None], weight, 0)


class _Needed:
    """What a grouped convolution needs: conv groups that have live inputs and outputs, or all if those are many."""

    def __init__(self, reader: _Reader, groups: int) -> None:
        weight = reference.scaled(reader.weight, reader.scale, groups)
        out, inner = weight.shape[:2]
        self.groups, self.weight = groups, _alive(weight, reader, groups)
        self.ins, self.outs = _mask(reader.ins, inner * groups), _mask(reader.outs, out)
        self.channels: list[Tensor] | None = None
        alive = self.ins.view(groups, -1).any(1) & self.outs.view(groups, -1).any(1)
        numbers = alive.nonzero().flatten()
        if len(numbers) <= MANY * groups:
            self.groups = len(numbers)
            self.channels = [
                (numbers[:, None] * each + torch.arange(each)).flatten() for each in (inner, out // groups)
            ]
            self.weight = self.weight.index_select(0, self.channels[1])
            self.ins, self.outs = self.ins[self.channels[0]], self.outs[self.channels[1]]

    def taken(self, image: Tensor, side: int) -> Tensor:
        """Channels of an input (0) or of an output's gradient (1), 0 where dead."""
        if self.channels is not None:
            image = gather_channels(image, self.channels[side], None, None, False)
        alive = (self.ins, self.outs)[side]
        return image if bool(alive.all()) else torch.where(alive[None, :, None, None], image, 0)

    def put(self, image: Tensor, side: int, channels: int) -> Tensor:
        """Back at their places, among zeros."""
        return image if self.channels is None else scatter_channels(image, self.channels[side], None, channels)


def _grouped(x: Tensor, reader: _Reader, window: Window, groups: int, dead_zero: bool) -> Tensor:
    channels, bias = reader.weight.shape[0], reader.bias
    needed = _Needed(reader, groups)
    if needed.groups == 0:
        y = x.new_zeros((x.shape[0], channels, *output_size(x.shape[2:], reader.weight.shape[2:], *window)))
    else:
        y = torch.conv2d(needed.taken(x, 0), needed.weight, None, *window, needed.groups)
        y = needed.put(y, 1, channels)
    if bias is None:
        return y
    return y.add_((torch.where(_mask(reader.outs, channels), bias, 0) if dead_zero else bias)[None, :, None, None])


def _grouped_grad_input(grad: Tensor, x: Tensor, reader: _Reader, window: Window, groups: int) -> Tensor:
    needed = _Needed(reader, groups)
    if needed.groups == 0:
        return torch.zeros_like(x)
    # Of the input, only the shape is looked at.
    narrow = x[:, : needed.ins.shape[0]]
    part: Tensor = torch.ops.aten.convolution_backward(
        *(needed.taken(grad, 1), narrow, needed.weight, None, *window, False, [0, 0], needed.groups),
        [True, False, False],
    )[0]
    return needed.put(part, 0, x.shape[1])


def _run(
    operation: int,
    image: Tensor,
    readers: Sequence[_Reader],
    maps: Sequence[Tensor],
    grad_weights: Sequence[Tensor] | None,
    window: Window,
    zero: bool,
) -> None:
    """Call ``_C``. What is converted for it lives until then."""
    kept: list[Tensor] = []

    def at(tensor: Tensor | None) -> int:
        if tensor is None:
            return 0
        kept.append(tensor)
        return tensor.data_ptr()

    rows = []
    for i, (reader, each) in enumerate(zip(readers, maps, strict=True)):
        weight, scale, bias = reader.weight, reader.scale, reader.bias
        grad = weight if grad_weights is None else grad_weights[i]
        rows.append(
            [
                weight.data_ptr(),
                0 if bias is None else at(bias.contiguous()),
                0 if scale is None else at(scale.to(wide(weight.dtype)).contiguous()),
                *((0, -1) if reader.ins is None else (reader.ins.data_ptr(), reader.ins.shape[0])),
                *((0, -1) if reader.outs is None else (reader.outs.data_ptr(), reader.outs.shape[0])),
                weight.shape[0],
                each.data_ptr(),
                grad.data_ptr(),
                *weight.stride(),
                *each.stride(),
                *grad.stride(),
            ]
        )
    sizes = (*image.shape[2:], *maps[0].shape[2:], *readers[0].weight.shape[2:])
    native.binary().conv(
        operation,
        native.DTYPES[image.dtype],
        (image.shape[0], *sizes, *window[0], *window[1], *window[2]),
        image.data_ptr(),
        image.stride(),
        image.shape[1],
        rows,
        zero,
    )


def _copy(
    operation: int,
    many: Tensor,
    few: Tensor,
    indices: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    rectify: bool,
) -> None:
    dtype = wide(many.dtype)
    indices = indices.to(torch.int32).contiguous()
    scale = None if scale is None else scale.to(dtype).contiguous()
    shift = None if shift is None else shift.to(dtype).contiguous()
    native.binary().copy_channels(
        operation,
        native.DTYPES[many.dtype],
        (many.shape[0], *many.shape[2:]),
        many.data_ptr(),
        many.stride(),
        few.data_ptr(),
        few.stride(),
        indices.data_ptr(),
        indices.shape[0],
        many.shape[1],
        0 if scale is None else scale.data_ptr(),
        0 if shift is None else shift.data_ptr(),
        rectify,
    )
