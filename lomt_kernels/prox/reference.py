"""The steps in plain PyTorch, the proximal operator in float64: what the other backends are tested against.

One tensor after the other, by the definitions in :func:`lomt_kernels.prox_adamw_`. Nothing is read back from a GPU.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lomt_kernels.layout import FLOATS, wide
from lomt_kernels.shrink.reference import back, members, solve


def refusal(device: str, dtype: torch.dtype) -> str | None:  # noqa: ARG001 – it runs wherever torch does
    """Why plain PyTorch can't be used on tensors like these; None where it can."""
    return None if dtype in FLOATS else f"groups are of floating-point weights, not of {dtype}"


def prox_adamw_(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    norms: Sequence[Tensor],
    computed: Sequence[Tensor | None],
    prices: Sequence[float],
    lr: float,
    lr_tensor: Tensor | None,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
    gamma: float,
    axis: int,
    groups: Sequence[int],
    block: int,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> None:
    """See :func:`lomt_kernels.prox_adamw_`."""
    rate: float | Tensor = lr if lr_tensor is None else lr_tensor.double()
    for i, weight in enumerate(weights):
        dtype, how = wide(weight.dtype), (axis, groups[i], block)
        go = _go(weight, found_inf)
        there = go & _there(weight, computed[i] if computed else None, how)
        steps[i].add_(go.to(steps[i].dtype).reshape(steps[i].shape))
        g = _gradient(grads[i], grad_scale, go, maximize)
        step = steps[i].double()
        root = (1 - beta2**step).sqrt()
        m = beta1 * exp_avgs[i].to(dtype) + (1 - beta1) * g
        v = beta2 * exp_avg_sqs[i].to(dtype) + (1 - beta2) * g.square()
        _set(exp_avgs[i], m, there)
        _set(exp_avg_sqs[i], v, there)
        if max_exp_avg_sqs:
            v = max_exp_avg_sqs[i].to(dtype).maximum(v)
            _set(max_exp_avg_sqs[i], v, there)
        metric = v.to(weight.dtype).to(dtype).sqrt() + (eps * root).to(dtype)
        old = weight.to(dtype)
        moved = (
            old * _number(1 - rate * weight_decay, dtype) - m * _number(rate * root / (1 - beta1**step), dtype) / metric
        )
        _shrink(weight, moved, metric, norms[i], prices[i], rate * root, gamma, there, go, how)


def prox_sgd_(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    momentum_buffers: Sequence[Tensor],
    norms: Sequence[Tensor],
    computed: Sequence[Tensor | None],
    fresh: Sequence[bool],
    prices: Sequence[float],
    lr: float,
    lr_tensor: Tensor | None,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    gamma: float,
    axis: int,
    groups: Sequence[int],
    block: int,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> None:
    """See :func:`lomt_kernels.prox_sgd_`."""
    rate: float | Tensor = lr if lr_tensor is None else lr_tensor.double()
    for i, weight in enumerate(weights):
        dtype, how = wide(weight.dtype), (axis, groups[i], block)
        go = _go(weight, found_inf)
        there = go & _there(weight, computed[i] if computed else None, how)
        old = weight.to(dtype)
        g = _gradient(grads[i], grad_scale, go, maximize) + weight_decay * old
        if momentum_buffers:
            first = bool(fresh) and fresh[i]
            b = g if first else momentum * momentum_buffers[i].to(dtype) + (1 - dampening) * g
            _set(momentum_buffers[i], b, there)
            g = g + momentum * b if nesterov else b
        moved = old - g * _number(rate, dtype)
        metric = torch.ones_like(moved)
        _shrink(weight, moved, metric, norms[i], prices[i], rate, gamma, there, go, how)


def _shrink(
    weight: Tensor,
    moved: Tensor,
    metric: Tensor,
    norms: Tensor,
    price: float,
    step: float | Tensor,
    gamma: float,
    there: Tensor,
    go: Tensor,
    how: tuple[int, int, int],
) -> None:
    """Write the proximal operator's result, and the norms."""
    W, D = members(moved.to(weight.dtype), *how), members(metric, *how)
    tau = torch.as_tensor(step * price, dtype=torch.float64, device=weight.device).expand(len(W))
    bend = gamma < float("inf") and price > 0
    curvature = torch.as_tensor(step / gamma if bend else 0.0, dtype=torch.float64, device=weight.device)
    U, norm = minimizer(W, D, tau, curvature, _guess(norms))
    new = back(U, weight, *how, weight.dtype)
    alive = members(new, *how).ne(0).any(1)
    norm = torch.where(alive, norm, 0.0).to(norms.dtype)
    _set(weight, new, there)
    change = torch.where(norms[0].isnan(), 0.0, norm - norms[0])
    touched = members(there.expand(weight.shape), *how)[:, 0].bool() & go if weight.numel() else go
    norms.copy_(torch.where(touched, torch.stack([norm, change]), norms))


def minimizer(
    W: Tensor, D: Tensor, tau: Tensor, curvature: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The minimizer over U of ½ Σ D (U − W)² + p(‖U‖) for each row, p(t) = τt − ct²/2 up to τ / c, then flat.

    Args:
        W: the groups as rows, float64.
        D: their metric.
        tau: τ, a number a group.
        curvature: c, a scalar, 0 for a straight price.
        start: a guess of each norm.

    Returns:
        The minimizers, of equally good ones the smaller, and their norms.
    """
    norm = W.square().sum(1).sqrt()
    theta, outside = solve(W, D, tau, start, curvature)
    rest = tau - curvature * theta
    t = theta[:, None] * D
    U = torch.where((theta == 0)[:, None], 0.0, W * (t / (t + rest[:, None])))
    end = torch.where(curvature > 0, tau / curvature, torch.inf)
    cost = (D * (U - W).square()).sum(1) / 2 + theta * (tau - curvature * theta / 2)
    flat = (tau == 0) | (theta.isfinite() & (outside | ((norm > end) & (tau * end / 2 < cost))))
    return torch.where(flat[:, None], W, U), torch.where(flat, norm, theta)


def _guess(norms: Tensor) -> Tensor:
    """The norms that groups will have if those go on changing as they did; a NaN where none is known."""
    ahead = norms[0].double() + 0.9 * norms[1].double()
    return torch.where(ahead > 0, ahead, norms[0].double())


def _go(weight: Tensor, found_inf: Tensor | None) -> Tensor:
    """Whether this step is made at all, a scalar."""
    if found_inf is None:
        return torch.ones((), dtype=torch.bool, device=weight.device)
    return found_inf.reshape(()) == 0


def _there(weight: Tensor, computed: Tensor | None, how: tuple[int, int, int]) -> Tensor:
    """Which weights this step is for, of a shape that spreads to the weight's."""
    if computed is None:
        return torch.ones((), dtype=torch.bool, device=weight.device)
    rows = computed.to(torch.float64)[:, None].expand(-1, weight.numel() // max(len(computed), 1))
    return back(rows, weight, *how, torch.float64) != 0


def _gradient(grad: Tensor, grad_scale: Tensor | None, go: Tensor, maximize: bool) -> Tensor:
    g = grad.to(wide(grad.dtype))
    if grad_scale is not None:
        g = g / grad_scale.to(g.dtype)
        _set(grad, g, go)
    return -g if maximize else g


def _number(value: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    return value.to(dtype) if isinstance(value, Tensor) else value


def _set(tensor: Tensor, value: Tensor, there: Tensor) -> None:
    tensor.copy_(torch.where(there, value.to(tensor.dtype), tensor))
