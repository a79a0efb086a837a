"""The public functions: checked, and called in place on weights that autograd knows."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lomt_kernels import library, registry
from lomt_kernels.layout import AXES, FLOATS, Axis, check_groups, group_count, wide


def new_norms(weight: Tensor, *, axis: Axis = "in", groups: int = 1, block: int = 1) -> Tensor:
    """What the steps remember of each group of a weight before the first one: nothing.

    Returns:
        ``(2, number of groups)``, NaNs. After a step, the first row is each group's norm, exactly 0 for a dead one,
        and the second one how much that step changed it.
    """
    count = group_count(weight, AXES.index(axis), groups, block)
    return weight.new_full((2, count), torch.nan, dtype=wide(weight.dtype))


def prox_adamw_(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    norms: Sequence[Tensor],
    prices: Sequence[float],
    *,
    max_exp_avg_sqs: Sequence[Tensor] = (),
    computed: Sequence[Tensor | None] = (),
    lr: float | Tensor = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    maximize: bool = False,
    gamma: float = math.inf,
    axis: Axis = "in",
    groups: int | Sequence[int] = 1,
    block: int = 1,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    backend: str | None = None,
) -> None:
    """One AdamW step of many weights, each followed by its penalty's proximal operator in Adam's metric, in place.

    W being what AdamW leaves (decoupled decay, both moments corrected for their bias), each group g of a weight
    becomes the minimizer over U of ½ Σ D (U − W)² + lr · p(‖U_g‖), D = sqrt(v̂) + eps, with p(t) = price · t: the group
    lasso (Deleu and Bengio, arXiv 2102.03869). With a finite gamma, p(t) = price · t − t² / (2 gamma) up to
    t = gamma · price and flat from there on: the minimax concave penalty (Zhang, 2010), of whose minimizers the best is
    taken. Groups that die become exactly 0. A NaN stays visible and spoils its own group alone.

    W and v are rounded to the weight's type, D to float32 (float64 for float64); who is dead is then decided in
    float64.

    Args:
        weights: convolutions' ``(out, in / groups, *kernel)`` or linear layers' ``(out, in)``, of one dtype, on one
            device, of any strides that do not overlap.
        grads: their gradients.
        exp_avgs: first moments, of each weight's shape and dtype; zeros at first.
        exp_avg_sqs: second moments.
        steps: how many steps each has made, float32 scalars, on the weights' device; counted up.
        norms: what each step leaves for the next one; :func:`new_norms` at first. ``norms[i][0] != 0`` says which
            groups are alive.
        prices: what a norm of each weight's groups costs, λ sqrt(members) as a rule; 0 for plain AdamW.
        max_exp_avg_sqs: greatest second moments so far: with them, amsgrad. Empty: without.
        computed: for each weight, which groups' gradients were computed, ``(number of groups,)`` of bool, or None for
            all. The others are left alone, moments and all. Empty: all of all.
        lr: the step size; a tensor's is read when the step runs.
        betas: decay rates of the moments.
        eps: what is added to sqrt(v̂).
        weight_decay: the decoupled decay.
        maximize: ascend.
        gamma: bends the price; infinite: it is a straight line.
        axis: ``"in"`` or ``"out"`` channels are the groups.
        groups: the convolutions' ``groups``, one for all or one a weight.
        block: so many adjacent channels are one group.
        grad_scale: a scalar that the gradients are divided by, in place, as ``GradScaler`` asks for.
        found_inf: a scalar; where it is not 0, nothing happens.
        backend: ``"reference"``, ``"native"``, ``"triton"``, ``"cuda"``; by default the first that can.

    Raises:
        TypeError: a weight is no dense tensor of real floating-point numbers.
        ValueError: something does not fit the weights, or is out of range.
    """
    if not weights:
        return
    _check_lr(lr, weights[0])
    if not (0 <= eps < math.inf and all(0 <= beta < 1 for beta in betas)):
        raise ValueError(f"eps={eps}, betas={betas}: eps is 0 or more, and each beta at least 0 and less than 1")
    each = _check(weights, norms, prices, computed, weight_decay, gamma, axis, groups, block)
    _check_alike(weights, grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs, max_exp_avg_sqs=max_exp_avg_sqs)
    if len(steps) != len(weights) or any(s.numel() != 1 or s.device != weights[0].device for s in steps):
        raise ValueError(f"{len(steps)} steps for {len(weights)} weights: give each a scalar on {weights[0].device}")
    adamw_step(
        weights, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, norms, computed, prices, lr, betas, eps,
        weight_decay, maximize, gamma, axis, each, block, grad_scale, found_inf, backend,
    )  # fmt: skip


def adamw_step(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    norms: Sequence[Tensor],
    computed: Sequence[Tensor | None],
    prices: Sequence[float],
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    maximize: bool,
    gamma: float,
    axis: Axis,
    groups: Sequence[int],
    block: int,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
    backend: str | None = None,
) -> None:
    """:func:`prox_adamw_` for optimizers, which have checked all of it once; conv groups are one a weight."""
    rate, lr_tensor = _split(lr)
    _run(
        "prox_adamw_", weights, backend, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, norms, computed, prices,
        rate, lr_tensor, *betas, eps, weight_decay, maximize, gamma, AXES.index(axis), groups, block,
        _beside(grad_scale, weights[0]), _beside(found_inf, weights[0]),
    )  # fmt: skip


def prox_sgd_(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    momentum_buffers: Sequence[Tensor],
    norms: Sequence[Tensor],
    prices: Sequence[float],
    *,
    fresh: Sequence[bool] = (),
    computed: Sequence[Tensor | None] = (),
    lr: float | Tensor = 1e-3,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    gamma: float = math.inf,
    axis: Axis = "in",
    groups: int | Sequence[int] = 1,
    block: int = 1,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    backend: str | None = None,
) -> None:
    """One SGD step of many weights, each followed by its penalty's proximal operator, in place.

    As :func:`prox_adamw_`, with torch's SGD in place of AdamW, and in the Euclidean metric, D = 1.

    Args:
        weights: as for :func:`prox_adamw_`.
        grads: as for :func:`prox_adamw_`.
        momentum_buffers: of each weight's shape and dtype; empty without momentum.
        norms: as for :func:`prox_adamw_`.
        prices: as for :func:`prox_adamw_`.
        fresh: for each weight, whether its momentum buffer holds nothing yet; empty: none is.
        computed: as for :func:`prox_adamw_`.
        lr: as for :func:`prox_adamw_`.
        momentum: decay rate of the buffer.
        dampening: how much less of a new gradient enters it.
        weight_decay: an ℓ2 penalty's factor, added to the gradient.
        nesterov: Nesterov's momentum.
        maximize: as for :func:`prox_adamw_`.
        gamma: as for :func:`prox_adamw_`.
        axis: as for :func:`prox_adamw_`.
        groups: as for :func:`prox_adamw_`.
        block: as for :func:`prox_adamw_`.
        grad_scale: as for :func:`prox_adamw_`.
        found_inf: as for :func:`prox_adamw_`.
        backend: as for :func:`prox_adamw_`.

    Raises:
        TypeError: a weight is no dense tensor of real floating-point numbers.
        ValueError: something does not fit the weights, or is out of range.
    """
    if not weights:
        return
    _check_lr(lr, weights[0])
    if momentum != 0 and len(momentum_buffers) != len(weights):
        raise ValueError(f"momentum={momentum} with {len(momentum_buffers)} buffers for {len(weights)} weights")
    each = _check(weights, norms, prices, computed, weight_decay, gamma, axis, groups, block)
    _check_alike(weights, grads=grads, momentum_buffers=momentum_buffers)
    sgd_step(
        weights, grads, momentum_buffers if momentum else (), norms, computed, fresh, prices, lr, momentum, dampening,
        weight_decay, nesterov, maximize, gamma, axis, each, block, grad_scale, found_inf, backend,
    )  # fmt: skip


def sgd_step(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    momentum_buffers: Sequence[Tensor],
    norms: Sequence[Tensor],
    computed: Sequence[Tensor | None],
    fresh: Sequence[bool],
    prices: Sequence[float],
    lr: float | Tensor,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    gamma: float,
    axis: Axis,
    groups: Sequence[int],
    block: int,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
    backend: str | None = None,
) -> None:
    """:func:`prox_sgd_` for optimizers, which have checked all of it once; conv groups are one a weight."""
    rate, lr_tensor = _split(lr)
    _run(
        "prox_sgd_", weights, backend, grads, momentum_buffers, norms, computed, fresh, prices, rate, lr_tensor,
        momentum, dampening, weight_decay, nesterov, maximize, gamma, AXES.index(axis), groups, block,
        _beside(grad_scale, weights[0]), _beside(found_inf, weights[0]),
    )  # fmt: skip


def _run(operation: str, weights: Sequence[Tensor], backend: str | None, *arguments: Any) -> None:
    chosen = registry.choose(operation, weights[0].device, weights[0].dtype, backend)
    with torch.no_grad():
        library.direct(operation, weights[0])(weights, *arguments, chosen)
    torch.autograd.graph.increment_version(weights)


def _split(lr: float | Tensor) -> tuple[float, Tensor | None]:
    """A number, or a tensor where reading it would have to wait for a GPU."""
    if isinstance(lr, Tensor) and lr.device.type != "cpu":
        return 0.0, lr
    return float(lr), None


def _beside(scalar: Tensor | None, weight: Tensor) -> Tensor | None:
    """A scalar as kernels read it: float32, on the weights' device. ``GradScaler``'s may be on another one."""
    return None if scalar is None else scalar.to(weight.device, torch.float32)


def _check_lr(lr: float | Tensor, weight: Tensor) -> None:
    if isinstance(lr, Tensor) and lr.device.type != "cpu":
        if lr.device != weight.device:
            raise ValueError(f"lr is on {lr.device}, the weights on {weight.device}")
    elif not 0 <= float(lr) < math.inf:
        raise ValueError(f"lr={lr}: a step size is a finite number of 0 or more")


def _check(
    weights: Sequence[Tensor],
    norms: Sequence[Tensor],
    prices: Sequence[float],
    computed: Sequence[Tensor | None],
    weight_decay: float,
    gamma: float,
    axis: Axis,
    groups: int | Sequence[int],
    block: int,
) -> list[int]:
    """The conv groups of each weight, if everything fits."""
    each = [groups] * len(weights) if isinstance(groups, int) else list(groups)
    if not (len(each) == len(norms) == len(prices) == len(weights) and len(computed) in (0, len(weights))):
        raise ValueError(
            f"{len(weights)} weights, {len(norms)} norms, {len(prices)} prices, {len(each)} groups, {len(computed)} "
            "masks: give one a weight"
        )
    if not gamma > 0:
        raise ValueError(f"gamma={gamma}: it is above 0")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay={weight_decay}: it is a finite number of 0 or more")
    place, dtype, device = AXES.index(axis) if axis in AXES else -1, weights[0].dtype, weights[0].device
    if dtype not in FLOATS:
        raise TypeError(f"groups are of floating-point weights, not of {dtype}")
    for i, (weight, norm, price) in enumerate(zip(weights, norms, prices, strict=True)):
        if weight.dtype != dtype or weight.device != device:
            raise ValueError(
                f"weights of {dtype} on {device} and of {weight.dtype} on {weight.device}: make one call for each kind"
            )
        check_groups(weight, axis, each[i], block)
        if (
            norm.shape != (2, group_count(weight, place, each[i], block))
            or norm.dtype != wide(dtype)
            or norm.device != device
        ):
            raise ValueError(f"norms of shape {tuple(norm.shape)} of {norm.dtype} do not fit: make them by new_norms")
        if not 0 <= price < math.inf:
            raise ValueError(f"a price of {price}: prices are finite numbers of 0 or more")
        mask = computed[i] if computed else None
        if mask is not None and mask.shape != norm.shape[1:]:
            raise ValueError(f"a mask of shape {tuple(mask.shape)} for {norm.shape[1]} groups: give one a group")
    return each


def _check_alike(weights: Sequence[Tensor], **others: Sequence[Tensor]) -> None:
    for name, tensors in others.items():
        may_be_none = name in ("max_exp_avg_sqs", "momentum_buffers")
        if len(tensors) != len(weights) and not (may_be_none and not tensors):
            raise ValueError(f"{len(tensors)} {name} for {len(weights)} weights: give one each")
        for weight, tensor in zip(weights, tensors):  # noqa: B905 – none is as good as all
            if tensor.shape != weight.shape or tensor.dtype != weight.dtype or tensor.device != weight.device:
                raise ValueError(
                    f"{name} has a tensor of {tuple(tensor.shape)} of {tensor.dtype} on {tensor.device} for a weight "
                    f"of {tuple(weight.shape)} of {weight.dtype} on {weight.device}"
                )
