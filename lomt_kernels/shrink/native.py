"""Group shrinkage in ``_C``: ``csrc/shrink/cpu.cpp`` on processors, and what ``cuda.cu`` shares with it."""

from typing import Any

import torch
from torch import Tensor

from lomt_kernels import native
from lomt_kernels.layout import FLOATS, form_of, group_count, memory_format, new_like, wide

NORMS, ALIVE, SHRINK, BACKWARD = range(4)


def refusal(device: str, dtype: torch.dtype) -> str | None:
    """Why native code can't be used on tensors like these; None where it can."""
    if device != "cpu":
        return f"native code is for processors, and the tensor is on {device}"
    if dtype not in FLOATS:
        return f"native code has no {dtype}"
    return native.why_not()


def group_norms(weight: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """See :func:`lomt_kernels.group_norms`."""
    norms = torch.empty(group_count(weight, axis, groups, block), dtype=wide(weight.dtype), device=weight.device)
    run(NORMS, weight, axis, groups, block, theta=norms)
    return norms


def group_alive(weight: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """See :func:`lomt_kernels.group_alive`."""
    alive = torch.empty(group_count(weight, axis, groups, block), dtype=torch.bool, device=weight.device)
    run(ALIVE, weight, axis, groups, block, theta=alive)
    return alive


def group_shrink(
    weight: Tensor,
    tau: Tensor,
    metric: Tensor | None,
    start: Tensor | None,
    axis: int,
    groups: int,
    block: int,
) -> tuple[Tensor, Tensor]:
    """The shrunk weight, and the norm of each group after that."""
    out = new_like(weight)
    theta = torch.empty(group_count(weight, axis, groups, block), dtype=wide(weight.dtype), device=weight.device)
    run(SHRINK, weight, axis, groups, block, tau=tau, metric=metric, start=start, out=out, theta=theta)
    return out, theta


def group_shrink_backward(
    grad: Tensor,
    weight: Tensor,
    tau: Tensor,
    metric: Tensor | None,
    theta: Tensor,
    axis: int,
    groups: int,
    block: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the weight, of each group's tau, and of the metric (empty without one)."""
    out, grad_tau = new_like(weight), torch.empty_like(theta)
    grad_metric = theta.new_empty(0) if metric is None else new_like(weight, theta.dtype)
    run(
        *(BACKWARD, weight, axis, groups, block),
        tau=tau, metric=metric, grad=grad, out=out, theta=theta, grad_tau=grad_tau, grad_metric=grad_metric,
    )  # fmt: skip
    return out, grad_tau, grad_metric


def run(
    operation: int,
    weight: Tensor,
    axis: int,
    groups: int,
    block: int,
    *,
    theta: Tensor,
    tau: Tensor | None = None,
    metric: Tensor | None = None,
    start: Tensor | None = None,
    grad: Tensor | None = None,
    out: Tensor | None = None,
    grad_tau: Tensor | None = None,
    grad_metric: Tensor | None = None,
) -> None:
    """Call ``_C``; weights, metrics and gradients are given the weight's layout first."""
    if theta.numel() == 0:
        return
    if weight.numel() == 0:  # groups without a member
        for empty in (theta, grad_tau):
            if empty is not None:
                empty.zero_()
        return
    layout, dtype = memory_format(weight), wide(weight.dtype)
    weight = weight.contiguous(memory_format=layout)
    # What is converted must live until the call.
    tau = None if tau is None else tau.to(dtype).contiguous()
    start = None if start is None else start.to(dtype).contiguous()
    metric = None if metric is None else metric.to(dtype).contiguous(memory_format=layout)
    grad = None if grad is None else grad.to(weight.dtype).contiguous(memory_format=layout)
    native.binary().shrink(
        operation,
        native.DTYPES[weight.dtype],
        form_of(weight, axis, groups, block),
        weight.data_ptr(),
        _address(metric),
        _address(tau),
        1 if tau is not None and tau.numel() > 1 else 0,
        _address(start),
        _address(grad),
        _address(out),
        theta.data_ptr(),
        _address(grad_tau),
        _address(grad_metric),
        *native.place(weight),
    )


def _address(tensor: Any) -> int:
    return 0 if tensor is None else int(tensor.data_ptr())
