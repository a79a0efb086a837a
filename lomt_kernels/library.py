"""Every operation's schema and what it returns for tensors without data; nothing else.

An operation is told its backend, which was chosen before (:mod:`lomt_kernels.registry`), so that a trace holds it. Each
is registered for all devices; its ``autograd.Function`` stands outside (in ``function.py`` of its folder), since that
costs a call less than half of what ``register_autograd`` does.

Thresholds are read in float64, so that rounding them decides nothing.

Autocast: weights, thresholds and metrics are not cast; operations compute in float32 at least whatever they are given.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lomt_kernels import registry, window
from lomt_kernels.layout import group_count, new_like, wide

_LIBRARY = torch.library.Library("lomt_kernels", "DEF")

SCHEMAS = {
    "group_norms": "(Tensor weight, int axis, int groups, int block, str backend) -> Tensor",
    "group_alive": "(Tensor weight, int axis, int groups, int block, str backend) -> Tensor",
    "group_shrink": (
        "(Tensor weight, Tensor tau, Tensor? metric, Tensor? start, int axis, int groups, int block, str backend)"
        " -> (Tensor, Tensor)"
    ),
    "group_shrink_backward": (
        "(Tensor grad, Tensor weight, Tensor tau, Tensor? metric, Tensor theta, int axis, int groups, int block,"
        " str backend) -> (Tensor, Tensor, Tensor)"
    ),
    "prox_adamw_": (
        "(Tensor(a!)[] weights, Tensor(b!)[] grads, Tensor(c!)[] exp_avgs, Tensor(d!)[] exp_avg_sqs,"
        " Tensor(e!)[] max_exp_avg_sqs, Tensor(f!)[] steps, Tensor(g!)[] norms, Tensor?[] computed, float[] prices,"
        " float lr, Tensor? lr_tensor, float beta1, float beta2, float eps, float weight_decay, bool maximize,"
        " float gamma, int axis, int[] groups, int block, Tensor? grad_scale, Tensor? found_inf, str backend) -> ()"
    ),
    "prox_sgd_": (
        "(Tensor(a!)[] weights, Tensor(b!)[] grads, Tensor(c!)[] momentum_buffers, Tensor(d!)[] norms,"
        " Tensor?[] computed, bool[] fresh, float[] prices, float lr, Tensor? lr_tensor, float momentum,"
        " float dampening, float weight_decay, bool nesterov, bool maximize, float gamma, int axis, int[] groups,"
        " int block, Tensor? grad_scale, Tensor? found_inf, str backend) -> ()"
    ),
    "masked_conv2d": (
        "(Tensor x, Tensor[] weights, Tensor?[] biases, Tensor?[] live, Tensor?[] scales, int[] stride, int[] padding,"
        " int[] dilation, int groups, bool dead_zero, str backend) -> Tensor[]"
    ),
    "masked_conv2d_backward": (
        "(Tensor[] grads, Tensor x, Tensor[] weights, Tensor?[] live, Tensor?[] scales, int[] stride, int[] padding,"
        " int[] dilation, int groups, bool dead_zero, bool revive, bool of_x, bool of_weights, bool of_biases,"
        " bool of_scales, str backend) -> (Tensor, Tensor[], Tensor[], Tensor[])"
    ),
    "gather_channels": (
        "(Tensor x, Tensor indices, Tensor? scale, Tensor? shift, bool rectify, str backend) -> Tensor"
    ),
    "scatter_channels": "(Tensor narrow, Tensor indices, Tensor? scale, int channels, str backend) -> Tensor",
    "sparse_ffn": (
        "(Tensor x, Tensor gate_up, Tensor down_t, Tensor active, Tensor? bias, Tensor? down_bias, str activation,"
        " str backend) -> Tensor"
    ),
}
"""Operation → schema. ``axis`` is 0 for groups of input channels, 1 for groups of output channels. ``live`` holds four
tensors a reader: indices and count of its live input channels, and of its live output channels; None: all are alive."""

for _name, _schema in SCHEMAS.items():
    _LIBRARY.define(_name + _schema)
    _LIBRARY.impl(_name, registry.implementation(_name), "CompositeExplicitAutograd")


class Ops:
    """The registered operations, each looked up once."""

    group_norms = torch.ops.lomt_kernels.group_norms.default
    group_alive = torch.ops.lomt_kernels.group_alive.default
    group_shrink = torch.ops.lomt_kernels.group_shrink.default
    group_shrink_backward = torch.ops.lomt_kernels.group_shrink_backward.default
    prox_adamw_ = torch.ops.lomt_kernels.prox_adamw_.default
    prox_sgd_ = torch.ops.lomt_kernels.prox_sgd_.default
    masked_conv2d = torch.ops.lomt_kernels.masked_conv2d.default
    masked_conv2d_backward = torch.ops.lomt_kernels.masked_conv2d_backward.default
    gather_channels = torch.ops.lomt_kernels.gather_channels.default
    scatter_channels = torch.ops.lomt_kernels.scatter_channels.default
    sparse_ffn = torch.ops.lomt_kernels.sparse_ffn.default


OPS = Ops()


def direct(operation: str, *tensors: Tensor) -> Callable[..., Any]:
    """What to call for an operation: its backend itself, or where somebody traces, counts or profiles, the dispatcher.

    The dispatcher costs tens of microseconds for lists of tensors.
    """
    found: Callable[..., Any] = getattr(OPS, operation)
    return found if registry.watched(*tensors) else registry.implementation(operation)


@torch.library.register_fake("lomt_kernels::group_norms", lib=_LIBRARY)
def _(weight: Tensor, axis: int, groups: int, block: int, backend: str) -> Tensor:  # noqa: ARG001
    return weight.new_empty(group_count(weight, axis, groups, block), dtype=wide(weight.dtype))


@torch.library.register_fake("lomt_kernels::group_alive", lib=_LIBRARY)
def _(weight: Tensor, axis: int, groups: int, block: int, backend: str) -> Tensor:  # noqa: ARG001
    return weight.new_empty(group_count(weight, axis, groups, block), dtype=torch.bool)


@torch.library.register_fake("lomt_kernels::group_shrink", lib=_LIBRARY)
def _(
    weight: Tensor,
    tau: Tensor,  # noqa: ARG001
    metric: Tensor | None,  # noqa: ARG001
    start: Tensor | None,  # noqa: ARG001
    axis: int,
    groups: int,
    block: int,
    backend: str,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    return new_like(weight), weight.new_empty(group_count(weight, axis, groups, block), dtype=wide(weight.dtype))


@torch.library.register_fake("lomt_kernels::group_shrink_backward", lib=_LIBRARY)
def _(
    grad: Tensor,  # noqa: ARG001
    weight: Tensor,
    tau: Tensor,  # noqa: ARG001
    metric: Tensor | None,
    theta: Tensor,
    axis: int,  # noqa: ARG001
    groups: int,  # noqa: ARG001
    block: int,  # noqa: ARG001
    backend: str,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
    of_metric = theta.new_empty(0) if metric is None else new_like(weight, wide(weight.dtype))
    return new_like(weight), torch.empty_like(theta), of_metric


@torch.library.register_fake("lomt_kernels::prox_adamw_", lib=_LIBRARY)
def _(*arguments: object) -> None:  # noqa: ARG001 – in place
    return None


@torch.library.register_fake("lomt_kernels::prox_sgd_", lib=_LIBRARY)
def _(*arguments: object) -> None:  # noqa: ARG001 – in place
    return None


@torch.library.register_fake("lomt_kernels::masked_conv2d", lib=_LIBRARY)
def _(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor | None],  # noqa: ARG001
    live: list[Tensor | None],  # noqa: ARG001
    scales: list[Tensor | None],  # noqa: ARG001
    stride: window.Pair,
    padding: window.Pair,
    dilation: window.Pair,
    groups: int,  # noqa: ARG001
    dead_zero: bool,  # noqa: ARG001
    backend: str,  # noqa: ARG001
) -> list[Tensor]:
    return [
        torch.empty(
            (
                x.shape[0],
                weight.shape[0],
                *window.output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation),
            ),
            dtype=x.dtype,
            device=x.device,
            memory_format=window.memory_format(x, weight),
        )
        for weight in weights
    ]


@torch.library.register_fake("lomt_kernels::masked_conv2d_backward", lib=_LIBRARY)
def _(
    grads: list[Tensor],  # noqa: ARG001
    x: Tensor,
    weights: list[Tensor],
    live: list[Tensor | None],  # noqa: ARG001
    scales: list[Tensor | None],  # noqa: ARG001
    stride: window.Pair,  # noqa: ARG001
    padding: window.Pair,  # noqa: ARG001
    dilation: window.Pair,  # noqa: ARG001
    groups: int,
    dead_zero: bool,  # noqa: ARG001
    revive: bool,  # noqa: ARG001
    of_x: bool,
    of_weights: bool,
    of_biases: bool,
    of_scales: bool,
    backend: str,  # noqa: ARG001
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    return (
        torch.empty_like(x, memory_format=window.memory_format(x, weights[0])) if of_x else x.new_empty(0),
        [new_like(weight) for weight in weights] if of_weights else [],
        [weight.new_empty(weight.shape[0]) for weight in weights] if of_biases else [],
        [weight.new_empty(weight.shape[1] * groups, dtype=wide(weight.dtype)) for weight in weights]
        if of_scales
        else [],
    )


@torch.library.register_fake("lomt_kernels::gather_channels", lib=_LIBRARY)
def _(
    x: Tensor,
    indices: Tensor,
    scale: Tensor | None,  # noqa: ARG001
    shift: Tensor | None,  # noqa: ARG001
    rectify: bool,  # noqa: ARG001
    backend: str,  # noqa: ARG001
) -> Tensor:
    return window.new_map(x, indices.shape[0])


@torch.library.register_fake("lomt_kernels::scatter_channels", lib=_LIBRARY)
def _(narrow: Tensor, indices: Tensor, scale: Tensor | None, channels: int, backend: str) -> Tensor:  # noqa: ARG001
    return window.new_map(narrow, channels)


@torch.library.register_fake("lomt_kernels::sparse_ffn", lib=_LIBRARY)
def _(
    x: Tensor,
    gate_up: Tensor,  # noqa: ARG001
    down_t: Tensor,
    active: Tensor,  # noqa: ARG001
    bias: Tensor | None,  # noqa: ARG001
    down_bias: Tensor | None,  # noqa: ARG001
    activation: str,  # noqa: ARG001
    backend: str,  # noqa: ARG001
) -> Tensor:
    return x.new_empty(x.shape[0], down_t.shape[2])


@register_flop_formula(torch.ops.lomt_kernels.masked_conv2d, get_raw=True)
def _(*arguments: Any, out_val: list[Tensor], **_: Any) -> int:
    weights, live, groups = arguments[1], arguments[3], arguments[8]
    return sum(
        2 * y.shape[0] * y.shape[2] * y.shape[3] * _live_weights(weight, live[4 * i : 4 * i + 4], groups)
        for i, (y, weight) in enumerate(zip(out_val, weights, strict=True))
    )


@register_flop_formula(torch.ops.lomt_kernels.masked_conv2d_backward, get_raw=True)
def _(*arguments: Any, **_: Any) -> int:
    grads, weights, live = arguments[0], arguments[2], arguments[3]
    groups, dead_zero, revive, of_x, of_weights, _, of_scales = arguments[8:15]
    total = 0
    for i, (grad, weight) in enumerate(zip(grads, weights, strict=True)):
        used = live[4 * i : 4 * i + 4]
        revived = [None, None, *(used[2:] if dead_zero else (None, None))]
        parts = [used] * of_x + [revived if revive else used] * (of_weights or of_scales)
        positions = grad.shape[0] * grad.shape[2] * grad.shape[3]
        total += sum(2 * positions * _live_weights(weight, part, groups) for part in parts)
    return total


@register_flop_formula(torch.ops.lomt_kernels.sparse_ffn, get_raw=True)
def _(*arguments: Any, **_: Any) -> int:
    gate_up, down_t, active = arguments[1:4]
    known = type(active) is Tensor and not active.is_meta
    used = int(active.sum()) if known else active.shape[0] * active.shape[1]
    return 2 * used * (gate_up[:1].numel() + down_t[:1].numel())


def _live_weights(weight: Tensor, live: Sequence[Tensor | None], groups: int) -> int:
    """How many of a weight's numbers are used; all of them where lists have no data."""
    pairs = torch.ones(groups, dtype=torch.int64)
    for which, each in ((live[:2], weight.shape[1]), (live[2:], weight.shape[0] // groups)):
        indices, count = which
        if indices is None or count is None or type(count) is not Tensor or count.is_meta:
            pairs *= each
        else:
            pairs *= (indices[: int(count)].long().cpu() // each).bincount(minlength=groups)
    return int(pairs.sum()) * weight.shape[2] * weight.shape[3]
