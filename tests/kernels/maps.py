"""Convolutions of all kinds, and what they are where channels are dead, by brute force."""

from itertools import product
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from lomt_kernels import LiveList

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


class Case(NamedTuple):
    x: tuple[int, ...]
    weight: tuple[int, ...]
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    padding_mode: str = "zeros"

    @property
    def dims(self):
        return len(self.weight) - 2

    @property
    def channels(self):
        return self.weight[1] * self.groups

    @property
    def window(self):
        return self.stride, self.padding, self.dilation, self.groups


CASES = {
    "1x1": Case((2, 8, 5, 7), (6, 8, 1, 1)),
    "1x1-stride2": Case((2, 6, 7, 8), (5, 6, 1, 1), 2),
    "1x1-padded": Case((2, 6, 3, 4), (5, 6, 1, 1), 1, 2),
    "1x1-one-pixel": Case((4, 9, 1, 1), (5, 9, 1, 1)),
    "1x1-wide": Case((1, 130, 6, 5), (67, 130, 1, 1)),
    "3x3": Case((2, 8, 6, 7), (9, 8, 3, 3), 1, 1),
    "3x3-wide": Case((2, 70, 9, 8), (40, 70, 3, 3), 1, 1),
    "3x3-primes": Case((3, 17, 7, 5), (13, 17, 3, 3), 2, 1),
    "7x7-stride2": Case((1, 3, 17, 19), (8, 3, 7, 7), 2, 3),
    "2x2-stride3": Case((2, 4, 9, 10), (3, 4, 2, 2), 3),
    "dilated": Case((2, 6, 11, 9), (5, 6, 3, 3), 1, 4, 4),
    "asymmetric": Case((2, 5, 9, 12), (4, 5, 3, 2), (2, 1), (0, 3), (1, 2)),
    "same": Case((2, 4, 6, 7), (3, 4, 3, 5), 1, "same", (2, 1)),
    "same-even": Case((2, 4, 6, 7), (3, 4, 4, 2), 1, "same"),
    "valid": Case((2, 4, 6, 7), (3, 4, 3, 3), 2, "valid"),
    "reflect": Case((2, 4, 6, 7), (3, 4, 5, 3), 1, (2, 1), padding_mode="reflect"),
    "replicate": Case((2, 4, 6, 7), (3, 4, 3, 3), 2, 1, padding_mode="replicate"),
    "circular-same-even": Case((2, 4, 6, 7), (4, 2, 2, 4), 1, "same", 1, 2, "circular"),
    "1d": Case((3, 6, 13), (4, 6, 3), 2, 1),
    "1d-unbatched": Case((6, 13), (4, 3, 4), 1, "same", 2, 2),
    "unbatched": Case((6, 7, 8), (4, 6, 3, 3), 2, 1),
    "groups": Case((2, 12, 6, 6), (9, 4, 3, 3), 1, 1, 1, 3),
    "groups-1x1": Case((2, 12, 5, 5), (8, 3, 1, 1), 1, 0, 1, 4),
    "depthwise": Case((2, 7, 8, 6), (7, 1, 3, 3), 1, 1, 1, 7),
    "depthwise-twice": Case((2, 7, 8, 6), (14, 1, 5, 5), 2, 2, 1, 7),
    "resnext": Case((1, 32, 5, 5), (32, 4, 3, 3), 1, 1, 1, 8),
    "one-channel": Case((2, 1, 5, 5), (1, 1, 3, 3), 1, 1),
    "one-input": Case((2, 1, 6, 6), (5, 1, 3, 3)),
    "one-output": Case((2, 5, 6, 6), (1, 5, 3, 3)),
    "empty-batch": Case((0, 4, 5, 5), (3, 4, 3, 3), 1, 1),
    "as-large": Case((2, 4, 5, 3), (6, 4, 5, 3)),
    "windows-outside": Case((1, 4, 3, 2), (3, 4, 2, 2), 1, 5),
    "windows-outside-strided": Case((2, 4, 3, 2), (3, 4, 1, 2), 3, 4),
}


class Setting(NamedTuple):
    x: str = "contiguous"
    weight: str = "contiguous"
    grad: str = "contiguous"
    ins: str | None = "half"
    outs: str | None = None
    kind: str = "mask"
    dead_out: str = "bias"
    scaled: bool = False
    revive: bool = False
    biased: bool = True


SETTINGS = {
    "plain": Setting(),
    "channels_last": Setting(
        "channels_last", "channels_last", "channels_last", outs="half", kind="indices", scaled=True
    ),
    "narrow-zero": Setting("channels_last", outs="half", kind="numbers", dead_out="zero"),
    "sliced": Setting("sliced", "sliced", "permuted", "one", "half", "numbers", scaled=True, biased=False),
    "permuted": Setting("permuted", "permuted", "sliced", outs="half", kind="live", scaled=True, revive=True),
    "expanded": Setting("expanded", "contiguous", "expanded", outs="half", dead_out="zero", scaled=True, revive=True),
    "no-input": Setting(grad="channels_last", ins="none", outs="half", scaled=True),
    "no-output": Setting("channels_last", outs="none", kind="indices", dead_out="zero", revive=True),
    "all-inputs": Setting("channels_last", ins=None, outs="half", dead_out="zero", scaled=True),
    "unmasked": Setting(ins=None, scaled=True),
    "all-alive": Setting("channels_last", grad="sliced", ins="all", outs="all", kind="live", revive=True, biased=False),
}


def laid(tensor, layout, dims=2):
    """The same numbers at other places in memory (``expanded``: those of the first column)."""
    channel = tensor.ndim - dims - 1
    if layout == "channels_last":
        return tensor.movedim(channel, -1).contiguous().movedim(-1, channel)
    if layout == "sliced":
        sizes = list(tensor.shape)
        sizes[channel] += 3
        whole = torch.full(sizes, torch.nan, dtype=tensor.dtype)
        return whole.narrow(channel, 1, tensor.shape[channel]).copy_(tensor)
    if layout == "permuted":
        order = tuple(reversed(range(tensor.ndim)))
        return tensor.permute(order).contiguous().permute(order)
    if layout == "expanded":
        return tensor.narrow(-1, 0, 1).expand(tensor.shape)
    return tensor


def alive(share, channels, generator):
    """A mask of channels."""
    mask = torch.full((channels,), share in (None, "all"))
    order = torch.randperm(channels, generator=generator)
    mask[order[: {"half": (channels + 1) // 2, "one": 1}.get(share, 0)]] = True
    return mask


def listed(mask, kind):
    """A mask as something else that tells it; indices in any order."""
    if kind == "mask":
        return mask
    numbers = mask.nonzero().flatten().flip(0)
    return {"indices": numbers, "numbers": numbers.tolist(), "live": LiveList.of(mask, len(mask))}[kind]


def dense(x, weight, bias, scale, case, ins, outs, dead_out):
    """The definition: torch's convolution of zeros in dead channels, whatever they hold."""
    over = ins.reshape(-1, *[1] * case.dims)
    inner = ins.reshape(case.groups, 1, case.weight[1]).expand(-1, case.weight[0] // case.groups, -1)
    pairs = (inner.reshape(case.weight[:2]) & outs[:, None]).reshape(*case.weight[:2], *[1] * case.dims)
    weight = torch.where(pairs, weight, 0)
    if scale is not None:
        scale = torch.where(ins, scale, 0)
        each = scale.reshape(case.groups, 1, case.weight[1]).expand(-1, case.weight[0] // case.groups, -1)
        weight = weight * each.reshape(pairs.shape).to(weight.dtype)
    y = convolution(torch.where(over, x, 0), weight, bias, case)
    return torch.where(outs.reshape(-1, *[1] * case.dims), y, 0) if dead_out == "zero" else y


def convolution(x, weight, bias, case):
    """What ``nn.Conv1d`` and ``nn.Conv2d`` compute."""
    stride, padding, dilation, groups = case.window
    if padding == "same" or case.padding_mode != "zeros":
        kernel = case.weight[2:]
        dilations = (dilation,) * case.dims if isinstance(dilation, int) else dilation
        around = (padding,) * case.dims if isinstance(padding, int) else padding
        sides = []
        for i in reversed(range(case.dims)):
            total = dilations[i] * (kernel[i] - 1) if padding == "same" else 2 * around[i]
            sides += [total // 2, total - total // 2]
        x = F.pad(x, sides, mode="constant" if case.padding_mode == "zeros" else case.padding_mode)
        padding = 0
    run = F.conv1d if case.dims == 1 else F.conv2d
    return run(x, weight, bias, stride, padding, dilation, groups)


def by_loops(x, weight, bias, scale, case, ins, outs, dead_out):
    """The definition, number by number."""
    (sh, sw), (ph, pw), (dh, dw), groups = case.window
    n, _, h, w = x.shape
    out, inner, kh, kw = weight.shape
    height, width = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    y = torch.zeros(n, out, height, width, dtype=torch.float64)
    for b, o, i, j in product(range(n), range(out), range(height), range(width)):
        total = 0.0 if dead_out == "zero" and not outs[o] else float(bias[o])
        for c, k, m in product(range(inner), range(kh), range(kw)):
            channel = o // (out // groups) * inner + c
            row, column = i * sh - ph + k * dh, j * sw - pw + m * dw
            if ins[channel] and outs[o] and 0 <= row < h and 0 <= column < w:
                total += float(x[b, channel, row, column]) * float(weight[o, c, k, m]) * float(scale[channel])
        y[b, o, i, j] = total
    return y


class Problem(NamedTuple):
    """Tensors for a case, and what is alive in it."""

    case: Case
    setting: Setting
    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    scale: torch.Tensor | None
    grad: torch.Tensor
    ins: torch.Tensor
    outs: torch.Tensor

    @property
    def arguments(self):
        """What ``masked_conv2d`` takes."""
        how, kind = self.setting, self.setting.kind
        return (self.x, self.weight, self.bias, *self.case.window), {
            "live_in": None if how.ins is None else listed(self.ins, kind),
            "live_out": None if how.outs is None else listed(self.outs, kind),
            "scale": self.scale,
            "dead_out": how.dead_out,
            "revive": how.revive,
            "padding_mode": self.case.padding_mode,
        }

    def pairs(self):
        """Which weights are alive, ``(out, in / groups)``."""
        case = self.case
        inner = self.ins.reshape(case.groups, 1, -1).expand(-1, case.weight[0] // case.groups, -1)
        return inner.reshape(case.weight[:2]) & self.outs[:, None]


def problem(case, setting, dtype, seed=0):
    """Random tensors. What must not be read holds NaNs and infinities."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    ins, outs = alive(setting.ins, case.channels, generator), alive(setting.outs, case.weight[0], generator)
    x, weight = random(*case.x), random(*case.weight)
    bias = random(case.weight[0]).to(dtype) if setting.biased else None
    scale = random(case.channels).to(torch.promote_types(dtype, torch.float32)) if setting.scaled else None
    shape = dense(x, weight, None, None, case, ins, outs, "bias").shape
    made = Problem(case, setting, x, weight, bias, scale, random(*shape), ins, outs)
    if not setting.revive:
        poison = torch.tensor([torch.nan, torch.inf, -torch.inf]).repeat(case.channels)[: case.channels].double()
        over = ins.reshape(-1, *[1] * case.dims)
        x = torch.where(over, x, poison.reshape(over.shape))
        made = made._replace(scale=None if scale is None else scale.masked_fill(~ins, torch.nan))
        weight = weight.masked_fill(~made.pairs().reshape(*case.weight[:2], *[1] * case.dims), torch.nan)
    x, weight, grad = (tensor.to(dtype) for tensor in (x, weight, made.grad))
    dims = case.dims
    return made._replace(
        x=laid(x, setting.x, dims), weight=laid(weight, setting.weight, dims), grad=laid(grad, setting.grad, dims)
    )


NAMES = ("y", "x", "weight", "bias", "scale")


def expected(made, values, dtype):
    """Output and gradients of the definition in a dtype, from (x, weight, bias, scale, grad of y)."""
    # Contiguous, since torch can't differentiate its own convolution of some strided weights.
    layout = {"copy": True, "memory_format": torch.contiguous_format}
    *inputs, grad = (None if v is None else v.detach().to(dtype, **layout) for v in values)
    inputs = [None if v is None else v.requires_grad_() for v in inputs]
    wanted = [v for v in inputs if v is not None]
    case, ins, outs, how = made.case, made.ins, made.outs, made.setting
    y = dense(*inputs, case, ins, outs, how.dead_out)
    grads = iter(torch.autograd.grad(y, wanted, grad, allow_unused=True, materialize_grads=True))
    found = {"y": y.detach()} | {n: next(grads) for n, v in zip(NAMES[1:], inputs, strict=True) if v is not None}
    if how.revive:
        every, used = torch.ones_like(ins), torch.ones_like(outs)
        if how.dead_out == "zero":
            grad = torch.where(outs.reshape(-1, *[1] * case.dims), grad, 0)
        y = dense(*inputs, case, every, used, "bias")
        names = [n for n, v in (("weight", inputs[1]), ("scale", inputs[3])) if v is not None]
        found |= zip(names, torch.autograd.grad(y, [inputs[NAMES.index(n) - 1] for n in names], grad), strict=True)
    return found


def assert_right(found, made):
    """Each number errs by some roundings of its largest term and √n of sums, or at most twice as much as torch's."""
    dtype = made.x.dtype
    values = (made.x, made.weight, made.bias, made.scale, made.grad)
    exact = expected(made, values, torch.float64)
    torchs = expected(made, values, dtype)
    sizes = expected(made, [None if v is None else v.double().abs() for v in values], torch.float64)
    counts = expected(made, [None if v is None else torch.ones_like(v) for v in values], torch.float64)
    for name, value in found.items():
        assert value.shape == exact[name].shape, name
        assert value.isfinite().all(), name
        one, sums = (torch.finfo(d).eps / 2 for d in (dtype, torch.promote_types(dtype, torch.float32)))
        allowed = sizes[name] * (4 * one + 2 * counts[name].sqrt() * sums)
        if exact[name].numel():
            allowed = allowed + 2 * (torchs[name].double() - exact[name]).abs().max()
        error = (value.double() - exact[name]).abs()
        assert (error <= allowed).all(), f"{name}: {(error / allowed).max():.3g} times the error allowed"
