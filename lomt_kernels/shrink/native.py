"""Group shrinkage in ``_C``: ``csrc/shrink/cpu.cpp`` on processors, and what ``cuda.cu`` shares with it."""

import torch
from torch import Tensor

from lomt_kernels import native, registry
from lomt_kernels.layout import FLOATS, form_of, group_count, memory_format, new_like, wide

NORMS, ALIVE, SHRINK, BACKWARD = range(4)


def refusal(device: str, dtype: torch.dtype) -> str | None:
    """Why native code can't be used on tensors like these; None where it can."""
    if device != "cpu":
        return f"native code is for processors, and the tensor is on {device}"
    if dtype not in FLOATS:
        return f"native code has no {dtype}"
    return native.why_not()


def in_short(operation: str, backend: str | None, *arguments: object) -> Tensor | None:
    """An operation by the shortest way: ``_C`` takes the tensors as they are and looks at everything itself.

    A call costs a quarter of what the long way costs, which counts where weights are small. None where anything is out
    of the ordinary: another backend is asked for, somebody traces, there is a derivative, a tensor is not plain, a
    number is wrong. The long way then does it, or says what is wrong.
    """
    if (backend or registry.ASKED or "native") != "native" or registry.traced() or native.why_not():
        return None
    found: Tensor | None = getattr(native.binary(), operation)(*arguments)
    return found


def group_norms(weight: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """See :func:`lomt_kernels.group_norms`."""
    norms = weight.new_empty(group_count(weight, axis, groups, block), dtype=wide(weight.dtype))
    run(NORMS, weight, axis, groups, block, norms)
    return norms


def group_alive(weight: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """See :func:`lomt_kernels.group_alive`."""
    alive = weight.new_empty(group_count(weight, axis, groups, block), dtype=torch.bool)
    run(ALIVE, weight, axis, groups, block, alive)
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
    theta = weight.new_empty(group_count(weight, axis, groups, block), dtype=wide(weight.dtype))
    run(SHRINK, weight, axis, groups, block, theta, tau, metric, start, None, out)
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
    run(BACKWARD, weight, axis, groups, block, theta, tau, metric, None, grad, out, grad_tau, grad_metric)
    return out, grad_tau, grad_metric


def run(
    operation: int,
    weight: Tensor,
    axis: int,
    groups: int,
    block: int,
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
    if weight.numel() == 0 or theta.numel() == 0:  # groups without a member, or no group
        for empty in (theta, grad_tau):
            if empty is not None:
                empty.zero_()
        return
    # What is converted must live until the call.
    layout = memory_format(weight)
    if not weight.is_contiguous():
        weight = weight.contiguous(memory_format=layout)
    if tau is not None and (tau.dtype is not torch.float64 or not tau.is_contiguous()):
        tau = tau.double().contiguous()
    if start is not None:
        start = start.to(wide(weight.dtype)).contiguous()
    if metric is not None:
        metric = metric.to(wide(weight.dtype)).contiguous(memory_format=layout)
    if grad is not None:
        grad = grad.to(weight.dtype).contiguous(memory_format=layout)
    device, stream = native.place(weight)
    native.binary().shrink(
        operation,
        native.DTYPES[weight.dtype],
        form_of(weight, axis, groups, block),
        weight.data_ptr(),
        0 if metric is None else metric.data_ptr(),
        0 if tau is None else tau.data_ptr(),
        0 if tau is None or tau.numel() == 1 else 1,
        0 if start is None else start.data_ptr(),
        0 if grad is None else grad.data_ptr(),
        0 if out is None else out.data_ptr(),
        theta.data_ptr(),
        0 if grad_tau is None else grad_tau.data_ptr(),
        0 if grad_metric is None else grad_metric.data_ptr(),
        device,
        stream,
    )
