"""The public functions, and the derivative of the channel-masked convolution."""

import logging
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from lomt_kernels import library, registry
from lomt_kernels.conv import native, reference
from lomt_kernels.layout import FLOATS
from lomt_kernels.live import LiveList, numbers_of
from lomt_kernels.window import Pair, output_size, padded, pair, same

Live = LiveList | Tensor | Sequence[int] | None
Dead = Literal["bias", "zero"]
MODES = ("zeros", "reflect", "replicate", "circular")

_OPS = library.OPS
_LOG = logging.getLogger("lomt_kernels")


def masked_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    live_in: Live = None,
    live_out: Live = None,
    dead_out: Dead = "bias",
    scale: Tensor | None = None,
    revive: bool = False,
    padding_mode: str = "zeros",
    backend: str | None = None,
) -> Tensor:
    """A convolution that reads live input channels and writes live output channels only, forward and backward.

    ``y[:, o] = bias[o] + Σ_c scale[c] · x[:, c] ∗ weight[o, c]`` over live input channels c, for live outputs o. It is
    what ``torch.nn.functional.conv2d`` computes where the weights of dead channels are 0; they are not read, whatever
    they hold, nor is ``x`` there.

    Backward, the input's gradient is 0 in dead channels, which is exact, and the bias has its dense gradient. The
    weights of dead channels get no gradient (exactly 0), or with ``revive`` the one of a dense convolution, without
    which a dead channel never comes back. Differentiable twice, in ``x``, ``weight``, ``bias`` and ``scale``.

    Args:
        x: ``(N, C, H, W)`` or ``(C, H, W)``, contiguous, channels_last or of any strides; float32, float64, bfloat16
            or float16. With a weight of three dimensions, ``(N, C, L)`` or ``(C, L)``: a 1-D convolution.
        weight: ``(out, C / groups, *kernel)``, of the input's dtype.
        bias: ``(out,)`` or None.
        stride: as in ``conv2d``.
        padding: as in ``conv2d``; ``"same"`` and ``"valid"``, too.
        dilation: as in ``conv2d``.
        groups: as in ``conv2d``; channels are global input channels, counted over all groups.
        live_in: which input channels are alive: a bool mask ``(C,)``, a tensor of indices or a :class:`LiveList` on
            the device of ``x``, or a list of numbers; None: all.
        live_out: which output channels are alive.
        dead_out: what a dead output channel holds: ``"bias"``, its bias, as the dense convolution with zeroed weights
            has it; or ``"zero"``, exactly 0, for channels that nobody reads (their bias gets no gradient).
        scale: one number an input channel, ``(C,)``, which multiplies its weights: a gate.
        revive: give dead channels' weights (and scales) their dense gradient.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``; all but zeros pad a copy first.
        backend: ``"reference"``, ``"native"``, ``"triton"``; by default the first that can.

    Returns:
        ``(N, out, H', W')`` as in ``conv2d``, channels_last if the input or the weight is, else contiguous.

    Raises:
        TypeError: something is no tensor of real floating-point numbers, or of another dtype than the rest.
        ValueError: something does not fit; a list names a channel twice, one that is not there, or lies elsewhere.

    Example:
        >>> x, weight = torch.ones(1, 3, 2, 2), torch.ones(1, 3, 1, 1)
        >>> masked_conv2d(x, weight, live_in=torch.tensor([True, False, True])).flatten()
        tensor([2., 2., 2., 2.])
    """
    if has_torch_function((x, weight)):
        settings: dict[str, Any] = {
            "live_in": live_in,
            "live_out": live_out,
            "dead_out": dead_out,
            "scale": scale,
            "revive": revive,
            "padding_mode": padding_mode,
            "backend": backend,
        }
        arguments = (x, weight, bias, stride, padding, dilation, groups)
        found: Tensor = handle_torch_function(masked_conv2d, (x, weight), *arguments, **settings)
        return found
    return masked_conv2d_readers(
        *(x, [weight], [bias], stride, padding, dilation, groups),
        live_in=[live_in],
        live_out=[live_out],
        dead_out=dead_out,
        scales=[scale],
        revive=revive,
        padding_mode=padding_mode,
        backend=backend,
    )[0]


def masked_conv2d_readers(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    live_in: Sequence[Live] | None = None,
    live_out: Sequence[Live] | None = None,
    dead_out: Dead = "bias",
    scales: Sequence[Tensor | None] | None = None,
    revive: bool = False,
    padding_mode: str = "zeros",
    backend: str | None = None,
) -> list[Tensor]:
    """Several convolutions of one map, each with its own live channels, which read the map together.

    Decoders that share a tap are such: a call for all of them fetches each part of the map once, and writes the
    gradient of the map once.

    Args:
        x: the map, as for :func:`masked_conv2d`.
        weights: each reader's, ``(out, C / groups, *kernel)``; outputs may differ in number, kernels may not in size.
        biases: each reader's, or None.
        stride: as for :func:`masked_conv2d`, of all readers.
        padding: likewise.
        dilation: likewise.
        groups: likewise.
        live_in: each reader's live input channels; None: all of all.
        live_out: each reader's live output channels; None: all of all.
        dead_out: as for :func:`masked_conv2d`, of all readers.
        scales: each reader's, or None.
        revive: as for :func:`masked_conv2d`.
        padding_mode: as for :func:`masked_conv2d`.
        backend: as for :func:`masked_conv2d`.

    Returns:
        Each reader's output. Errors are those of :func:`masked_conv2d`.
    """
    given: Any = weights
    if isinstance(given, Tensor):
        raise TypeError("weights are a list of one tensor a reader, not one tensor")
    if has_torch_function((x, *weights)):
        several: dict[str, Any] = {
            "live_in": live_in,
            "live_out": live_out,
            "dead_out": dead_out,
            "scales": scales,
            "revive": revive,
            "padding_mode": padding_mode,
            "backend": backend,
        }
        arguments = (x, weights, biases, stride, padding, dilation, groups)
        outputs: list[Tensor] = handle_torch_function(masked_conv2d_readers, (x, *weights), *arguments, **several)
        return outputs
    readers = len(weights)
    biases, live_in, live_out, scales = (
        _each(given, readers, name)
        for given, name in ((biases, "biases"), (live_in, "live_in"), (live_out, "live_out"), (scales, "scales"))
    )
    _check(x, weights, biases, scales, groups)
    if dead_out not in ("bias", "zero"):
        raise ValueError(f"unknown dead_out {dead_out!r}: a dead output is its 'bias' or 'zero'")
    kind = x.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        x, weights, biases = _cast(x, weights, biases, torch.get_autocast_dtype(kind))
    _check_dtypes(x, weights, biases)

    dims = weights[0].ndim - 2
    alone = x.ndim == dims + 1
    if alone:
        x = x.unsqueeze(0)
    if dims == 1:
        x, weights = x.unsqueeze(2), [weight.unsqueeze(2) for weight in weights]
    x, window = _window(x, weights[0].shape[2:], stride, padding, dilation, padding_mode, dims)
    if (torch.compiler.is_compiling() or torch.jit.is_tracing()) and torch.onnx.is_in_onnx_export():
        from lomt_kernels.conv import onnx

        found = onnx.masked_conv2d(x, weights, biases, live_in, live_out, scales, *window, groups, dead_out == "zero")
    else:
        live: list[Tensor | None] = []
        for weight, some_in, some_out in zip(weights, live_in, live_out, strict=True):
            live += [*_listed(some_in, x.shape[1], x.device), *_listed(some_out, weight.shape[0], x.device)]
        chosen = registry.choose("masked_conv2d", x.device, x.dtype, backend)
        how = _How(*window, groups, dead_out == "zero", revive, chosen)
        alive = chosen == "native" and all(tensor is None for tensor in (*live, *scales))
        if alive and all(left_to_torch(x, weight, groups) for weight in weights):
            found = [
                torch.conv2d(x, weight, bias, *window, groups) for weight, bias in zip(weights, biases, strict=True)
            ]
        elif torch.is_grad_enabled() and any(
            tensor is not None and tensor.requires_grad for tensor in (x, *weights, *biases, *scales)
        ):
            found = list(_apply(how, readers, x, *weights, *biases, *scales, *live))
        else:
            found = library.direct("masked_conv2d", x)(
                x, weights, biases, live, scales, *window, groups, how.dead_zero, chosen
            )
    if dims == 1:
        found = [y.squeeze(2) for y in found]
    return [y.squeeze(0) for y in found] if alone else found


def left_to_torch(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether a convolution in which nothing is dead is torch's own, here and now, because that is the faster."""
    batch = x.device.type == "cpu" and x.ndim == weight.ndim == 4
    return batch and not registry.watched(x) and native.leaves_to_torch(x, weight, groups)


class _How(NamedTuple):
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    dead_zero: bool
    revive: bool
    backend: str


class _MaskedConv2d(torch.autograd.Function):
    @staticmethod
    def forward(how: _How, readers: int, x: Tensor, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        weights, biases, scales, live = _parted(tensors, readers)
        return tuple(library.direct("masked_conv2d", x)(x, weights, biases, live, scales, *how[:5], how.backend))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ARG004
        ctx.how, ctx.readers, x, *tensors = inputs
        weights, biases, scales, live = _parted(tensors, ctx.readers)
        ctx.biased = [bias is not None for bias in biases]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *weights, *scales, *live)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        how, readers = ctx.how, ctx.readers
        x, *tensors = ctx.saved_tensors
        weights, scales, live = tensors[:readers], tensors[readers : 2 * readers], tensors[2 * readers :]
        wanted = ctx.needs_input_grad[2:]
        parts = [any(wanted[1 + i * readers : 1 + (i + 1) * readers]) for i in range(3)]
        # What did not come into the loss has no gradient, as if it had been called by itself.
        there = [i for i, grad in enumerate(grads) if grad is not None]
        found: list[list[Tensor | None]] = [[None] * readers for _ in parts]
        to_x: Tensor | None = None
        if there:
            arguments = (
                *([grads[i] for i in there], x, [weights[i] for i in there]),
                *([each for i in there for each in live[4 * i : 4 * i + 4]], [scales[i] for i in there]),
                *(*how[:6], wanted[0], *parts),
            )
            # The gradients of the gradients are those of plain PyTorch's.
            again = torch.is_grad_enabled()
            to_x, *rest = (
                reference.masked_conv2d_backward(*arguments)
                if again
                else library.direct("masked_conv2d_backward", x)(*arguments, how.backend)
            )
            for part, some in zip(found, rest, strict=True):
                for i, each in zip(there, some, strict=False):  # empty where nobody wants them
                    part[i] = each
        to_weights, to_biases, to_scales = found
        to_biases = [each if biased else None for each, biased in zip(to_biases, ctx.biased, strict=True)]
        to_scales = [
            None if scale is None or each is None else each.to(scale.dtype)
            for each, scale in zip(to_scales, scales, strict=True)
        ]
        return None, None, to_x if wanted[0] else None, *to_weights, *to_biases, *to_scales, *[None] * len(live)


def _apply(*arguments: Any) -> tuple[Tensor, ...]:
    """``_MaskedConv2d.apply``, which looks up a signature at each call; that takes longer than all else here."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        found: tuple[Tensor, ...] = _MaskedConv2d.apply(*arguments)
    else:
        found = super(torch.autograd.Function, _MaskedConv2d).apply(*arguments)
    return found


def _parted(tensors: Sequence[Any], readers: int) -> tuple[Sequence[Any], ...]:
    ends = (readers, 2 * readers, 3 * readers)
    return tensors[: ends[0]], tensors[ends[0] : ends[1]], tensors[ends[1] : ends[2]], tensors[ends[2] :]


def _each(given: Sequence[Any] | None, readers: int, name: str) -> Sequence[Any]:
    if given is None:
        return [None] * readers
    if len(given) != readers:
        raise ValueError(f"{len(given)} {name} for {readers} weights: give one each, or None for all")
    return given


def _cast(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], dtype: torch.dtype
) -> tuple[Tensor, list[Tensor], list[Tensor | None]]:
    """What autocast makes of a convolution's arguments; float64 stays, as in torch's."""

    def cast(tensor: Tensor) -> Tensor:
        return tensor if tensor.dtype == torch.float64 else tensor.to(dtype)

    return cast(x), [cast(w) for w in weights], [None if b is None else cast(b) for b in biases]


def _check(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    scales: Sequence[Tensor | None],
    groups: int,
) -> None:
    """Raise if the tensors do not fit each other."""
    if not weights:
        raise ValueError("there is no weight: give one for each reader")
    for tensor, name in ((x, "the input"), *((weight, "a weight") for weight in weights)):
        if not isinstance(tensor, Tensor) or tensor.dtype not in FLOATS or tensor.layout != torch.strided:
            said = f"{tensor.dtype}, {tensor.layout}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} is a dense tensor of floating-point numbers, not {said}")
        if hasattr(tensor, "placements"):
            raise TypeError(f"{name} is a DTensor, whose channels may lie on several devices: use its to_local()")
    if not isinstance(groups, int):
        raise TypeError(f"groups={groups!r}: give a whole number")
    dims = weights[0].ndim - 2
    if dims not in (1, 2):
        raise ValueError(f"a weight of shape {tuple(weights[0].shape)}: give (out, in / groups, height, width)")
    if 0 in weights[0].shape[2:]:
        raise ValueError(f"a kernel of {tuple(weights[0].shape[2:])} has no numbers")
    if x.ndim not in (dims + 1, dims + 2):
        raise ValueError(f"an input of shape {tuple(x.shape)} for a weight of {tuple(weights[0].shape)}")
    channels = x.shape[-dims - 1]
    for weight, bias, scale in zip(weights, biases, scales, strict=True):
        for other, name in ((bias, "a bias"), (scale, "a scale")):
            if not (other is None or isinstance(other, Tensor)):
                raise TypeError(f"{name} is a tensor or None, not {type(other).__name__}")
        if weight.shape[2:] != weights[0].shape[2:]:
            raise ValueError(
                f"kernels of {tuple(weights[0].shape[2:])} and {tuple(weight.shape[2:])} read no map together"
            )
        if groups < 1 or weight.shape[0] % groups or weight.shape[1] * groups != channels:
            raise ValueError(
                f"a weight of shape {tuple(weight.shape)} with groups={groups} does not fit {channels} input channels"
            )
        if bias is not None and bias.shape != (weight.shape[0],):
            raise ValueError(f"a bias of shape {tuple(bias.shape)} for {weight.shape[0]} output channels")
        if scale is not None and (scale.shape != (channels,) or not scale.is_floating_point()):
            raise ValueError(
                f"a scale of {tuple(scale.shape)}, {scale.dtype}: give one float an input channel, ({channels},)"
            )
        for other in (weight, bias, scale):
            if other is not None and other.device != x.device:
                raise ValueError(f"the input is on {x.device}, and what it is convolved with on {other.device}")


def _check_dtypes(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> None:
    for tensor in (*weights, *biases):
        if tensor is not None and tensor.dtype != x.dtype:
            raise TypeError(f"an input of {x.dtype} with a weight or bias of {tensor.dtype}: give one dtype")


def _window(
    x: Tensor,
    kernel: Sequence[int],
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    mode: str,
    dims: int,
) -> tuple[Tensor, tuple[Pair, Pair, Pair]]:
    """The input, padded where the kernels can't, and stride, padding and dilation."""
    strides, dilations = pair(stride, "stride", dims, 1), pair(dilation, "dilation", dims, 1)
    more = (0, 0)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"unknown padding {padding!r}: give numbers, 'same' or 'valid'")
        if padding == "same" and strides != (1, 1):
            raise ValueError("padding='same' is for stride 1")
        paddings, more = same(kernel, dilations) if padding == "same" else ((0, 0), (0, 0))
    else:
        paddings = pair(padding, "padding", dims, 0)
    if mode not in MODES:
        raise ValueError(f"unknown padding_mode {mode!r}: there are {', '.join(MODES)}")
    if mode != "zeros" and (paddings != (0, 0) or more != (0, 0)):
        _LOG.debug("masked_conv2d: padding_mode=%r pads a copy of the input, dead channels too", mode)
        x, paddings = padded(x, paddings, more, mode), (0, 0)
    elif more != (0, 0):
        x = padded(x, (0, 0), more, mode)
    if any(n < 1 for n in output_size(x.shape[2:], kernel, strides, paddings, dilations)):
        raise ValueError(f"a kernel of {tuple(kernel)} is larger than the padded input of {tuple(x.shape[2:])}")
    return x, (strides, paddings, dilations)


def _listed(live: Live, channels: int, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    if live is None:
        return None, None
    if isinstance(live, LiveList | Tensor):
        found = LiveList.of(live, channels)
    else:
        numbers = numbers_of(live, channels)
        order = numbers + sorted(set(range(channels)).difference(numbers))
        found = LiveList(*(torch.tensor(each, dtype=torch.int32, device=device) for each in (order, len(numbers))))
    for tensor in found:
        if tensor.device != device:
            raise ValueError(f"live channels are listed on {tensor.device}, and the input is on {device}")
    return found.indices, found.count
