"""Every operation's schema and what it returns for tensors without data; nothing else.

An operation is told its backend, which was chosen before (:mod:`lomt_kernels.registry`), so that a trace holds it. Each
is registered for all devices; its ``autograd.Function`` stands outside (in ``function.py`` of its folder), since that
costs a call less than half of what ``register_autograd`` does.

Thresholds are read in float64, so that rounding them decides nothing.

Autocast: weights, thresholds and metrics are not cast; operations compute in float32 at least whatever they are given.
"""

import torch
from torch import Tensor

from lomt_kernels import registry
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
}
"""Operation → schema. ``axis`` is 0 for groups of input channels, 1 for groups of output channels."""

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


OPS = Ops()


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
