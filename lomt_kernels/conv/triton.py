"""The channel-masked convolution in Triton: an implicit GEMM over lists of live channels that stay on the device.

Grids are for all channels; what is beyond a list's count does no work, so a CUDA graph replays with other lists. Live
weights are packed first, ``[tap][live row][live column]``, with their scale. The same launch copies the lists, with
ranks (where a channel stands in its list) and with a flag for each: it consists of aligned runs of eight channels. With
it a map that is laid out channels_last is read and written 16 bytes at a time, otherwise channel by channel.

The input's gradient is such a product, too. Where the stride is not 1, a program's pixels are of one phase, and only
the taps that meet it are summed. The weight's gradient is summed over parts of the pixels, and the parts in a fixed
order. Float64, grouped convolutions and maps of more pixels than 32 bits count have simpler kernels without ``tl.dot``.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from lomt_kernels.conv import triton_kernels as kernels
from lomt_kernels.conv.reference import over_inputs
from lomt_kernels.layout import new_like, wide
from lomt_kernels.live import LiveList
from lomt_kernels.shrink.triton import refusal
from lomt_kernels.window import memory_format, new_map, output_size

try:
    import triton
except ImportError as error:
    raise ImportError("triton is not installed: pip install 'lomt-kernels[triton]'") from error

__all__ = ["gather_channels", "masked_conv2d", "masked_conv2d_backward", "refusal", "scatter_channels"]

READERS = 4
"""Readers of one map that a launch serves at most."""
MOST_PIXELS = 2**31 - 2**12
ROW = 512
"""Channels of a pixel that are read whole at most, when some of them are moved: each shuffle moves 32."""
ROW_BYTES = 2**14
"""What a program that moves channels reads at once."""
WORKSPACE = 2**26
"""Bytes of partial sums above which the pixels are not split further."""


class Tiles(NamedTuple):
    """What a program of a product owns: pixels (or outputs) by columns, and how much it sums at once."""

    m: int
    n: int
    k: int
    warps: int
    stages: int


def product_tiles(dtype: torch.dtype, precision: str, rows: int, cols: int, pixels: int, processors: int) -> Tiles:
    """For the output or the input's gradient; smaller ones where there are too few for all processors."""
    if dtype == torch.float32 and precision == "ieee":
        return Tiles(64, 64 if cols > 32 else 32, 16, 4, 2)
    m, n = 128, 128 if cols > 64 else 64 if cols > 32 else 32
    k = 32 if dtype == torch.float32 or rows <= 32 else 64
    if triton.cdiv(pixels, m) * triton.cdiv(cols, n) < processors:
        m, n = 64, min(n, 64)
    return Tiles(m, n, k, 8 if m * n > 8192 else 4, 3)


def weight_tiles(dtype: torch.dtype, precision: str, ins: int, outs: int) -> Tiles:
    """For the weight's gradient: outputs by inputs, and pixels."""
    if dtype == torch.float32 and precision == "ieee":
        return Tiles(64, 64 if ins > 32 else 32, 16, 4, 2)
    m, n = 128 if outs > 64 else 64, 128 if ins > 64 else 64 if ins > 32 else 32
    return Tiles(m, n, 32 if dtype == torch.float32 else 64, 8 if m * n > 8192 else 4, 3)


class _Window(NamedTuple):
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]

    @property
    def numbers(self) -> tuple[int, ...]:
        return (*self.stride, *self.padding, *self.dilation)


def masked_conv2d(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    live: Sequence[Tensor | None],
    scales: Sequence[Tensor | None],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    dead_zero: bool,
) -> list[Tensor]:
    """Each reader's output; readers of one shape in one launch."""
    window, outputs = _Window(stride, padding, dilation), [_output(x, w, stride, padding, dilation) for w in weights]
    if outputs[0].shape[0] * outputs[0].shape[2] * outputs[0].shape[3] == 0:
        return outputs
    simple = _simple(x, outputs[0], weights[0], groups)
    first = 0
    with torch.cuda.device_of(x):
        while first < len(weights):
            last = first + 1
            while last < min(len(weights), first + READERS) and not simple and _alike(first, last, weights, outputs):
                last += 1
            some = slice(first, last)
            arguments = (weights[some], scales[some], biases[some], live[4 * first : 4 * last])
            run = _plain if simple else _products
            run(x, *arguments, outputs[some], window, groups, dead_zero, back=False, add=False)
            first = last
    return outputs


def masked_conv2d_backward(
    grads: Sequence[Tensor],
    x: Tensor,
    weights: Sequence[Tensor],
    live: Sequence[Tensor | None],
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
    window = _Window(stride, padding, dilation)
    to_x = torch.empty_like(x, memory_format=memory_format(x, weights[0])) if of_x else x.new_empty(0)
    to_weights, to_biases, to_scales = [], [], []
    simple = _simple(x, grads[0], weights[0], groups)
    with torch.cuda.device_of(x):
        for i, (grad, weight, scale) in enumerate(zip(grads, weights, scales, strict=True)):
            used = live[4 * i : 4 * i + 4]
            if to_x.numel():
                run = _plain if simple else _products
                run(grad, [weight], [scale], [None], used, [to_x], window, groups, dead_zero, back=True, add=i > 0)
            if of_weights or of_scales:
                if revive:
                    used = [None, None, *(used[2:] if dead_zero else (None, None))]
                to_weight, raw = _weight_grad(
                    grad, x, weight, scale, used, window, groups, simple, of_weights, of_scales
                )
                if of_weights:
                    to_weights.append(to_weight)
                if of_scales:
                    # What is dead is not read: 0 times a NaN is none.
                    parts = (raw * _alive_weights(weight, used, groups)).reshape(groups, -1, *weight.shape[1:])
                    to_scales.append(parts.sum((1, 3, 4)).reshape(-1))
            if of_biases:
                to_bias = grad.sum((0, 2, 3))
                indices, count = live[4 * i + 2 : 4 * i + 4]
                if dead_zero and indices is not None and count is not None:
                    to_bias = torch.where(LiveList(indices, count).mask, to_bias, 0)
                to_biases.append(to_bias)
    return to_x, to_weights, to_biases, to_scales


def _output(x: Tensor, weight: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    high, wide_ = output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    shape = (x.shape[0], weight.shape[0], high, wide_)
    # Of a shape that both layouts have alike, torch's contiguous() keeps the contiguous one's strides.
    both = shape[1] == 1 or (high, wide_) == (1, 1)
    layout = torch.contiguous_format if both else memory_format(x, weight)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


def _simple(x: Tensor, y: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether the simpler kernels have to do."""
    pixels = max(tensor.shape[0] * tensor.shape[2] * tensor.shape[3] for tensor in (x, y))
    return groups > 1 or x.dtype == torch.float64 or pixels > MOST_PIXELS or sum(weight.shape[2:]) > 63


def _alike(first: int, other: int, weights: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    return weights[first].shape == weights[other].shape and outputs[first].stride() == outputs[other].stride()


def _dense(vector: Tensor | None) -> Tensor | None:
    return None if vector is None else vector.contiguous()


def _precision(dtype: torch.dtype) -> str:
    return "tf32" if dtype == torch.float32 and torch.backends.cudnn.allow_tf32 else "ieee"


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


def _eights(tensor: Tensor) -> bool:
    """Whether pixels begin at multiples of 8, from an address that 16 divides."""
    steps = [tensor.stride(i) for i in (0, 2, 3) if tensor.shape[i] > 1]
    return tensor.data_ptr() % 16 == 0 and all(step % 8 == 0 for step in steps)


def _lies(map_: Tensor, moved: bool, stride: Sequence[int], size: Sequence[int]) -> int:
    """How a map lies for kernels that read a pixel of it for each one of a grid of this size.

    Args:
        map_: the map.
        moved: there are taps or paddings, so that rows don't follow each other, and begin anywhere.
        stride: between the pixels that are read.
        size: the grid's, (height, width).
    """
    _, channel, row, column = map_.stride()
    if channel == 1 and map_.shape[1] % 8 == 0 and _eights(map_):
        return int(kernels.CHANNELS)
    if column != 1 or tuple(stride) != (1, 1):
        return int(kernels.ANY)
    if moved:
        return int(kernels.PIXELS) if size[1] % 8 == 0 else int(kernels.ANY)
    if row != map_.shape[3] or size[0] * size[1] % 8:
        return int(kernels.ANY)
    whole = map_.data_ptr() % 16 == 0 and all(step % 8 == 0 for step in map_.stride()[:2])
    return int(kernels.ALIGNED_PIXELS) if whole else int(kernels.PIXELS)


def _products(
    source: Tensor,
    weights: Sequence[Tensor],
    scales: Sequence[Tensor | None],
    biases: Sequence[Tensor | None],
    live: Sequence[Tensor | None],
    targets: Sequence[Tensor],
    window: _Window,
    groups: int,  # noqa: ARG001 – there is one
    dead_zero: bool,
    back: bool,
    add: bool,
) -> None:
    """Outputs of some readers of a map, or the input's gradient of one."""
    weight, target, readers = weights[0], targets[0], len(weights)
    (outs, ins), kernel, taps = weight.shape[:2], weight.shape[2:], weight.shape[2] * weight.shape[3]
    rows, cols = (outs, ins) if back else (ins, outs)
    stride = window.stride
    size = [triton.cdiv(n, s) for n, s in zip(target.shape[2:], stride, strict=True)] if back else target.shape[2:]
    phases, pixels = (stride[0] * stride[1] if back else 1), target.shape[0] * size[0] * size[1]
    precision = _precision(source.dtype)
    tiles = product_tiles(source.dtype, precision, rows, cols, pixels * phases, _processors(source.device))
    height, width = triton.cdiv(rows, tiles.k), triton.cdiv(cols, tiles.n)
    packed = source.new_empty(readers, taps * height * tiles.k * width * tiles.n)
    lists = source.new_empty((readers, 4 + 2 * rows + 2 * cols), dtype=torch.int32)
    biased = any(bias is not None for bias in biases)
    offsets = source.new_empty((readers, cols), dtype=torch.float32) if biased else None
    for i in range(readers):
        in_list, out_list = live[4 * i : 4 * i + 2], live[4 * i + 2 : 4 * i + 4]
        n, c, *others = weights[i].stride()
        kernels.pack_kernel[(height * width + 2,)](
            *(
                weights[i],
                _dense(scales[i]),
                _dense(biases[i]),
                *((*out_list, *in_list) if back else (*in_list, *out_list)),
            ),
            *(packed[i], lists[i], None if offsets is None else offsets[i]),
            *(rows, cols, *((n, c) if back else (c, n)), *others),
            SCALES_ROWS=not back,
            DEAD_ZERO=dead_zero,
            KH=kernel[0],
            KW=kernel[1],
            ROWS=tiles.k,
            COLS=tiles.n,
            BLOCK=256,
            num_warps=8,
            enable_fp_fusion=True,
        )
    inside = tuple(window.padding) == (0, 0) and (not back or taps == 1)
    moved = taps > 1 or not inside
    steps = [s // math.gcd(s, d) if back else 1 for s, d in zip(stride, window.dilation, strict=True)]
    kernels.product_kernel[(triton.cdiv(pixels, tiles.m) * phases * width * readers,)](
        *(source, packed, lists, offsets, *targets, *[None] * (READERS - readers)),
        *(rows, cols, pixels, *size, *source.shape[2:], *target.shape[2:], *source.stride(), *target.stride()),
        *(*window.numbers, *steps),
        BACK=back,
        ADD=add,
        READERS=readers,
        INSIDE=inside,
        PRECISION=precision,
        FROM=_lies(source, moved, (1, 1) if back and phases == 1 else stride, size),
        TO=_lies(target, False, (1, 1) if not back else stride, size),
        KH=kernel[0],
        KW=kernel[1],
        BM=tiles.m,
        BN=tiles.n,
        BK=tiles.k,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
        enable_fp_fusion=True,
    )


def _plain(
    source: Tensor,
    weights: Sequence[Tensor],
    scales: Sequence[Tensor | None],
    biases: Sequence[Tensor | None],
    live: Sequence[Tensor | None],
    targets: Sequence[Tensor],
    window: _Window,
    groups: int,
    dead_zero: bool,
    back: bool,
    add: bool,
) -> None:
    """The same for one reader, by the simpler kernel."""
    (weight,), (target,) = weights, targets
    outs, ins = weight.shape[0], weight.shape[1] * groups
    each = (outs // groups, ins // groups) if back else (ins // groups, outs // groups)
    pixels = target.shape[0] * target.shape[2] * target.shape[3]
    m, n = (8, 64) if target.stride(1) == 1 and target.shape[1] > 1 else (256, 1)
    kernels.plain_kernel[(triton.cdiv(pixels, m) * triton.cdiv(target.shape[1], n),)](
        *(source, weight, _dense(scales[0]), _dense(biases[0]), _lists(live, ins, outs, source), target),
        *(ins, outs, *each, pixels, *target.shape[2:], *source.shape[2:]),
        *(*source.stride(), *weight.stride(), *target.stride(), *window.numbers),
        BACK=back,
        ADD=add,
        DEAD_ZERO=dead_zero,
        KH=weight.shape[2],
        KW=weight.shape[3],
        BM=m,
        BN=n,
        enable_fp_fusion=True,
    )


def _lists(live: Sequence[Tensor | None], ins: int, outs: int, like: Tensor) -> Tensor:
    lists = like.new_empty(4 + 2 * ins + 2 * outs, dtype=torch.int32)
    kernels.lists_kernel[(2,)](*live, lists, ins, outs, BLOCK=256)
    return lists


def _weight_grad(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    live: Sequence[Tensor | None],
    window: _Window,
    groups: int,
    simple: bool,
    wanted: bool,
    of_scale: bool,
) -> tuple[Tensor, Tensor]:
    """The gradient of a weight, and before it is scaled."""
    (outs, cols), kernel, taps = weight.shape[:2], weight.shape[2:], weight.shape[2] * weight.shape[3]
    ins = cols * groups
    target, raw = new_like(weight), x.new_empty(weight.shape if of_scale else 0, dtype=wide(x.dtype))
    pixels = grad.shape[0] * grad.shape[2] * grad.shape[3]
    if pixels == 0 or weight.numel() == 0:
        return target.zero_(), raw.zero_()
    lists = _lists(live, ins, outs, x)
    precision = _precision(x.dtype)
    if simple:
        m, n = (64, 32) if grad.stride(1) == 1 else (256, 1)
        padded, tiles, block = (cols, outs), taps * cols * triton.cdiv(outs, n), m
    else:
        shape = weight_tiles(x.dtype, precision, ins, outs)
        many = triton.cdiv(outs, shape.m), triton.cdiv(ins, shape.n)
        padded, tiles, block = (many[1] * shape.n, many[0] * shape.m), taps * many[0] * many[1], shape.k
    size = taps * padded[0] * padded[1]
    splits = min(4 * _processors(x.device) // tiles, pixels // (8 * block), WORKSPACE // (size * raw.element_size()))
    chunk = triton.cdiv(triton.cdiv(pixels, max(splits, 1)), block) * block
    splits = triton.cdiv(pixels, chunk)
    partial = raw.new_empty(splits * size)
    places = (*x.stride(), *grad.stride(), *window.numbers)
    if simple:
        kernels.plain_weight_kernel[(tiles * splits,)](
            *(x, grad, lists, partial, ins, outs, outs // groups, cols, pixels, *grad.shape[2:], *x.shape[2:], chunk),
            *places,
            KH=kernel[0],
            KW=kernel[1],
            BM=m,
            BN=n,
            enable_fp_fusion=True,
        )
    else:
        inside = tuple(window.padding) == (0, 0)
        kernels.weight_kernel[(tiles * splits,)](
            *(x, grad, lists, partial, ins, outs, pixels, *grad.shape[2:], *x.shape[2:], chunk),
            *places,
            INSIDE=inside,
            FROM=_lies(x, taps > 1 or not inside, window.stride, grad.shape[2:]),
            TO=_lies(grad, False, (1, 1), grad.shape[2:]),
            KH=kernel[0],
            KW=kernel[1],
            PRECISION=precision,
            BO=shape.m,
            BC=shape.n,
            BP=shape.k,
            num_warps=shape.warps,
            num_stages=shape.stages,
            enable_fp_fusion=True,
        )
    kernels.reduce_kernel[(outs * triton.cdiv(cols * taps, 256),)](
        *(partial, lists, _dense(scale), target if wanted else None, raw if of_scale else None),
        *(ins, outs, *padded, splits, outs // groups, cols, *target.stride()),
        RANKED=not simple,
        LAST=target.stride(1) == 1 and cols > 1,
        KH=kernel[0],
        KW=kernel[1],
        BLOCK=256,
        enable_fp_fusion=True,
    )
    return target, raw


def _alive_weights(weight: Tensor, live: Sequence[Tensor | None], groups: int) -> Tensor:
    """Zeros but for the weights of live input and output channels."""
    ins, in_count, outs, out_count = live
    if ins is not None and in_count is not None:
        weight = torch.where(over_inputs(LiveList(ins, in_count).mask, weight, groups), weight, 0)
    if outs is not None and out_count is not None:
        weight = torch.where(LiveList(outs, out_count).mask[:, None, None, None], weight, 0)
    return weight


def gather_channels(x: Tensor, indices: Tensor, scale: Tensor | None, shift: Tensor | None, rectify: bool) -> Tensor:
    """See :func:`lomt_kernels.gather_channels`."""
    found = new_map(x, indices.shape[0])
    _moved(x, indices.contiguous(), scale, shift, rectify, found, scatter=False)
    return found


def scatter_channels(narrow: Tensor, indices: Tensor, scale: Tensor | None, channels: int) -> Tensor:
    """What a gather becomes backward: channels at their places, zeros between them, all written in one pass."""
    found, many = new_map(narrow, channels), indices.shape[0]
    ranks = torch.full((channels,), many, dtype=torch.int32, device=narrow.device)
    ranks.index_copy_(0, indices.long(), torch.arange(many, dtype=torch.int32, device=narrow.device))
    _moved(narrow, ranks, scale, None, False, found, scatter=True)
    return found


def _moved(
    source: Tensor,
    indices: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    rectify: bool,
    target: Tensor,
    scatter: bool,
) -> None:
    if target.numel() == 0:
        return
    rows, cols, high, wide_ = source.shape[1], *target.shape[1:]
    pixels = target.shape[0] * high * wide_
    vectors = _dense(scale), _dense(shift)
    flags = {"SCATTER": scatter, "RECTIFY": rectify, "enable_fp_fusion": True}
    last = [map_.is_contiguous(memory_format=torch.channels_last) for map_ in (source, target)]
    with torch.cuda.device_of(source):
        if all(last) and 0 < rows <= ROW and cols <= ROW:
            wide_rows, wide_cols = triton.next_power_of_2(rows), triton.next_power_of_2(cols)
            m = max(1, ROW_BYTES // (max(wide_rows, wide_cols) * source.element_size()))
            kernels.rows_kernel[(triton.cdiv(pixels, m),)](
                *(source, indices, *vectors, target, rows, cols, pixels),
                **{"ALIGNED_FROM": _eights(source) and rows % 8 == 0, "ALIGNED_TO": cols % 8 == 0, **flags},
                BM=m,
                ROWS=wide_rows,
                COLS=wide_cols,
                num_warps=8,
            )
            return
        m, n = (16, 64) if target.stride(1) == 1 else (1024, 1)
        planes = all(_lies(map_, False, (1, 1), (high, wide_)) == kernels.ALIGNED_PIXELS for map_ in (source, target))
        kernels.pick_kernel[(triton.cdiv(pixels, m) * triton.cdiv(cols, n),)](
            *(source, indices, *vectors, target, rows, cols, pixels, wide_),
            *(*source.stride(), *target.stride(), high),
            **{"PLANES": planes, "BM": m, "BN": n, **flags},
        )
