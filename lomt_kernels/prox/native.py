"""The steps in ``_C``: ``csrc/prox/cpu.cpp`` on processors, and what ``cuda.cu`` shares with it."""

from array import array
from collections.abc import Sequence
from itertools import chain, compress
from typing import Any

import torch
from torch import Tensor

from lomt_kernels import native
from lomt_kernels.prox.layout import laid_out, place, place_of_copy
from lomt_kernels.shrink.native import refusal

__all__ = ["prox_adamw_", "prox_sgd_", "refusal"]

WORKSPACE = 27
"""Numbers of one tensor in the table that ``csrc/prox/cuda.cu`` keeps on the GPU: ``Entry``, and its first tile."""


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
    weights, sgd = kinds[0], not steps
    strides = [weight.stride() for weight in weights]
    forms: list[Any] = [place(w.shape, s, axis, g, block) for w, s, g in zip(weights, strides, groups, strict=True)]
    masks: list[Any] = list(computed) or [None] * len(weights)
    back: list[tuple[Tensor, Tensor]] = []
    same = all(not kind or [tensor.stride() for tensor in kind] == strides for kind in kinds[1:])
    if not (
        same
        and all(forms)
        and all(step.dtype == torch.float32 for step in steps)
        and all(norm.is_contiguous() for norm in norms)
        and not any(mask is not None for mask in masks)
    ):
        kinds, forms, steps, norms, masks = _mended(
            kinds, forms, steps, norms, masks, axis, groups, block, grad_scale, found_inf, back
        )
    if not all(forms):
        # What has no members is done.
        full = [form is not None for form in forms]
        kinds = tuple(list(compress(kind, full)) for kind in kinds)
        forms, norms, masks, prices = (list(compress(each, full)) for each in (forms, norms, masks, prices))
        steps, fresh = list(compress(steps, full)), list(compress(fresh, full))
    empty = [0] * len(forms)
    addresses = array("Q")
    for kind in kinds:
        addresses.extend([tensor.data_ptr() for tensor in kind] if kind else empty)
    addresses.extend([step.data_ptr() for step in steps] if steps else empty)
    addresses.extend([norm.data_ptr() for norm in norms])
    addresses.extend([0 if mask is None else mask.data_ptr() for mask in masks])
    if not forms:
        return
    device, stream = native.place(weights[0])
    # Read where they lie when the step runs; as float32, or as it is where a step size is float64.
    lr = lr if lr is None or lr.dtype in (torch.float32, torch.float64) else lr.float()
    size = WORKSPACE * len(forms)
    workspace = torch.empty(size, dtype=torch.int64, device=weights[0].device) if device >= 0 else None
    native.binary().prox_step(
        sgd,
        native.DTYPES[weights[0].dtype],
        addresses,
        array("q", chain.from_iterable(forms)),
        array("q", fresh or empty),
        array("d", prices),
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
        tensor.copy_(copy)


def _mended(
    kinds: tuple[Sequence[Tensor], ...],
    forms: list[Any],
    steps: Sequence[Tensor],
    norms: Sequence[Tensor],
    masks: list[Any],
    axis: int,
    groups: Sequence[int],
    block: int,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
    back: list[tuple[Tensor, Tensor]],
) -> tuple[Any, ...]:
    """Copies of all that lies otherwise than the kernels take it, noted in ``back``; empty weights are done."""
    mended: tuple[list[Tensor], ...] = tuple([] for _ in kinds)
    steps, norms, masks, weights = list(steps), list(norms), list(masks), kinds[0]
    for i, weight in enumerate(weights):
        form = forms[i]
        if form is None:  # groups without a member, or no group
            norms[i].zero_()
            if steps:
                steps[i].add_(1 if found_inf is None else (found_inf.reshape(()) == 0).to(steps[i].dtype))
        for number, (kind, out) in enumerate(zip(kinds, mended, strict=True)):
            if kind:
                lies = form is None or (form and kind[i].stride() == weight.stride())
                # Gradients are only read, unless they are unscaled.
                written = None if number == 1 and grad_scale is None else back
                out.append(kind[i] if lies else laid_out(kind[i], weight, bool(form), written))
        if form == ():
            forms[i] = place_of_copy(weight.shape, axis, groups[i], block)
        if steps and steps[i].dtype != torch.float32:
            steps[i] = _noted(steps[i], steps[i].float(), back)
        norms[i] = _noted(norms[i], norms[i].contiguous(), back)
        if masks[i] is not None:
            masks[i] = masks[i].to(device=weight.device, dtype=torch.bool).contiguous()
    return mended, forms, steps, norms, masks


def _noted(tensor: Tensor, copy: Tensor, back: list[tuple[Tensor, Tensor]]) -> Tensor:
    if copy is not tensor:
        back.append((tensor, copy))
    return copy
