"""The steps in ``_C``: ``csrc/prox/cpu.cpp`` on processors, and what ``cuda.cu`` shares with it."""

from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

from lomt_kernels import native
from lomt_kernels.layout import FLOATS
from lomt_kernels.prox.layout import laid_out, place, place_of_copy

PLACES = 15
"""Numbers of one tensor in the table that ``csrc/prox/call.h`` describes."""
WORKSPACE = 27
"""Numbers of one tensor in the table that ``csrc/prox/cuda.cu`` keeps on the GPU: ``Entry``, and its first tile."""


def refusal(device: str, dtype: torch.dtype) -> str | None:
    """Why native code can't be used on tensors like these; None where it can."""
    if device != "cpu":
        return f"native code is for processors, and the tensor is on {device}"
    if dtype not in FLOATS:
        return f"native code has no {dtype}"
    return native.why_not()


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
    run(
        (weights, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs), steps, norms, computed, (), prices,
        (lr, beta1, beta2, eps, weight_decay, 0.0, 0.0, gamma), maximize, False, lr_tensor, axis, groups, block,
        grad_scale, found_inf,
    )  # fmt: skip


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
    run(
        (weights, grads, momentum_buffers, (), ()), (), norms, computed, fresh, prices,
        (lr, 0.0, 0.0, 0.0, weight_decay, momentum, dampening, gamma), maximize, nesterov, lr_tensor, axis, groups,
        block, grad_scale, found_inf,
    )  # fmt: skip


def run(
    kinds: tuple[Sequence[Tensor], ...],
    steps: Sequence[Tensor],
    norms: Sequence[Tensor],
    computed: Sequence[Tensor | None],
    fresh: Sequence[bool],
    prices: Sequence[float],
    numbers: tuple[float, ...],
    maximize: bool,
    nesterov: bool,
    lr: Tensor | None,
    axis: int,
    groups: Sequence[int],
    block: int,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> None:
    """Call ``_C``; what is laid out otherwise than its weight, or not densely, is copied there and back.

    Args:
        kinds: weights, gradients, and what of moments there is: (exp_avgs, exp_avg_sqs, max_exp_avg_sqs) or
            (momentum_buffers, (), ()).
        steps: none for SGD.
        norms: see :func:`lomt_kernels.prox_adamw_`, as all that follows.
        computed: masks, or none.
        fresh: which momentum buffers are; or none.
        prices: one a weight.
        numbers: the scalars, in the order of ``StepNumbers``.
        maximize: ascend.
        nesterov: Nesterov's momentum.
        lr: a tensor that is read when the step runs.
        axis: 0 or 1.
        groups: one a weight.
        block: one for all.
        grad_scale: a scalar.
        found_inf: a scalar.
    """
    weights = kinds[0]
    table, kept = array("q"), []
    back: list[tuple[Tensor, Tensor]] = []
    row = [0] * PLACES
    for i, weight in enumerate(weights):
        strides = weight.stride()
        form = place(weight.shape, strides, axis, groups[i], block)
        if form is None:  # groups without a member, or no group
            norms[i].zero_()
            if steps:
                steps[i].add_(1 if found_inf is None else 1 - found_inf)
            continue
        dense = form != ()
        for kind, tensors in enumerate(kinds):
            if not tensors:
                row[kind] = 0
                continue
            tensor = tensors[i]
            if not dense or tensor.stride() != strides:
                tensor = laid_out(tensor, weight, dense, back)
            row[kind] = tensor.data_ptr()
        if steps:
            step = steps[i]
            if step.dtype != torch.float32:
                step = step.float()
                back.append((steps[i], step))
            row[5] = step.data_ptr()
        norm = norms[i].contiguous()
        if norm is not norms[i]:
            back.append((norms[i], norm))
        row[6] = norm.data_ptr()
        mask = computed[i] if computed else None
        if mask is not None:
            mask = mask.to(device=weight.device, dtype=torch.bool).contiguous()
            back.append((mask, mask))
        row[7] = 0 if mask is None else mask.data_ptr()
        row[8:14] = form if dense else place_of_copy(weight.shape, axis, groups[i], block)
        row[14] = int(bool(fresh) and fresh[i])
        table.extend(row)
        kept.append(prices[i])
    if not kept:
        return
    device, stream = native.place(weights[0])
    size = WORKSPACE * len(kept)
    workspace = torch.empty(size, dtype=torch.int64, device=weights[0].device) if device >= 0 else None
    native.binary().prox_step(
        not steps,
        native.DTYPES[weights[0].dtype],
        table,
        array("d", kept),
        numbers,
        maximize,
        nesterov,
        0 if lr is None else lr.data_ptr(),
        0 if lr is None else native.DTYPES[lr.dtype],
        0 if grad_scale is None else grad_scale.data_ptr(),
        0 if found_inf is None else found_inf.data_ptr(),
        0 if workspace is None else workspace.data_ptr(),
        device,
        stream,
    )
    for tensor, copy in back:
        if copy is not tensor:
            tensor.copy_(copy)
