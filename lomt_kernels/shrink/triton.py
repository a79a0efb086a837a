"""Group shrinkage in Triton, for GPUs without our binary: the same mathematics as ``csrc/shrink``.

A program owns adjacent groups of one part (:func:`lomt_kernels.layout.form_of`) and reads their members as often as
needed. Sums are in float64 and in a fixed order.
"""

from typing import Any

import torch
from torch import Tensor

from lomt_kernels.layout import FLOATS, form_of, group_count, memory_format, new_like, wide

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError("triton is not installed: pip install 'lomt-kernels[triton]'") from error

LOOKS = tl.constexpr(200)
# Places and sizes: a kernel is compiled once for all of them, not again for those that 16 divides.
NUMBERS = ["outer_stride", "in_part", "members", "row_stride", "run", "tau_step", "tolerance"]


def refusal(device: str, dtype: torch.dtype) -> str | None:
    """Why Triton can't be used on tensors like these; None where it can."""
    if dtype not in FLOATS:
        return f"the Triton kernels have no {dtype}"
    if device == "cuda":
        return None
    if device == "cpu" and triton.knobs.runtime.interpret:
        return "Triton's interpreter computes wrongly in bfloat16" if dtype == torch.bfloat16 else None
    return f"Triton is for GPUs, and the tensor is on {device} (TRITON_INTERPRET=1 runs it on a processor, slowly)"


@triton.jit
def _tile(outer_stride, in_part, run, GROUPS: tl.constexpr):
    """Numbers of this program's groups, where each begins, and which are there."""
    tiles = tl.cdiv(in_part, GROUPS)
    program = tl.program_id(0).to(tl.int64)
    part = program // tiles
    group = (program % tiles) * GROUPS + tl.arange(0, GROUPS)
    return part * in_part + group, part * outer_stride + group * run, group < in_part


@triton.jit
def _at(first, begin, there, members, row_stride, run, MEMBERS: tl.constexpr):
    """Where some members of all groups are, and which are there: (MEMBERS, GROUPS)."""
    member = first + tl.arange(0, MEMBERS).to(tl.int64)
    offset = (member // run) * row_stride + member % run
    return begin[None, :] + offset[:, None], (member < members)[:, None] & there[None, :]


@triton.jit
def _squares(weight, begin, there, members, row_stride, run, GROUPS: tl.constexpr, MEMBERS: tl.constexpr):
    total = tl.zeros((GROUPS,), tl.float64)
    for first in range(0, members, MEMBERS):
        at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
        value = tl.load(weight + at, mask, 0.0).to(tl.float64)
        total += tl.sum(value * value, 0)
    return total


@triton.jit
def _factor(norm, threshold):
    """max(0, 1 − τ / ‖W‖) without 0/0, a NaN where the norm is one."""
    dead = norm <= threshold
    return tl.where(dead, 0.0, 1 - threshold / tl.where(dead, 1.0, norm))


@triton.jit(do_not_specialize=NUMBERS[:5])
def _norms_kernel(
    weight, out, outer_stride, in_part, members, row_stride, run,
    ALIVE: tl.constexpr, GROUPS: tl.constexpr, MEMBERS: tl.constexpr,
):  # fmt: skip
    number, begin, there = _tile(outer_stride, in_part, run, GROUPS)
    if ALIVE:
        found = tl.zeros((GROUPS,), tl.int32)
        for first in range(0, members, MEMBERS):
            at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
            # Neither equal to 0 nor a NaN's comparison: a NaN is not 0.
            value = tl.load(weight + at, mask, 0.0)
            found += tl.sum((value != 0.0).to(tl.int32), 0)
        tl.store(out + number, found > 0, there)
    else:
        total = _squares(weight, begin, there, members, row_stride, run, GROUPS, MEMBERS)
        tl.store(out + number, tl.sqrt(total).to(out.dtype.element_ty), there)


@triton.jit(do_not_specialize=NUMBERS)
def _shrink_kernel(
    weight, metric, tau, start, out, theta_out, outer_stride, in_part, members, row_stride, run, tau_step, tolerance,
    METRIC: tl.constexpr, START: tl.constexpr, GROUPS: tl.constexpr, MEMBERS: tl.constexpr,
):  # fmt: skip
    number, begin, there = _tile(outer_stride, in_part, run, GROUPS)
    total = _squares(weight, begin, there, members, row_stride, run, GROUPS, MEMBERS)
    norm = tl.sqrt(total)
    threshold = tl.load(tau + number * tau_step, there, 1.0).to(tl.float64)
    if METRIC:
        guess = norm
        if START:
            guess = tl.load(start + number, there, 0.0).to(tl.float64)
        theta = tl.where((guess > 0) & (guess < float("inf")), guess, 0.0)
        # Where tau is 0 nothing shrinks, and theta is the norm; the look at 0 would divide by 0.
        free = threshold == 0
        theta = tl.where(free, norm, theta)
        threshold = tl.where(free, 1.0, threshold)
        open_ = there & (free == 0)
        left = there & (there == 0)
        looks = 0
        while (tl.max(open_.to(tl.int32), 0) > 0) & (looks < LOOKS):
            psi = tl.zeros((GROUPS,), tl.float64)
            chi = tl.zeros((GROUPS,), tl.float64)
            for first in range(0, members, MEMBERS):
                at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
                value = tl.load(weight + at, mask, 0.0).to(tl.float64)
                D = tl.load(metric + at, mask, 1.0).to(tl.float64)
                q = D / (theta[None, :] * D + threshold[None, :])
                term = value * q
                psi += tl.sum(term * term, 0)
                chi += tl.sum(term * term * q, 0)
            step = (tl.sqrt(psi) - 1) * psi / tl.where(psi == 0, 1.0, chi)
            new = tl.where(psi == 0, 0.0, theta + step)
            stays = ((theta == 0) & (psi <= 1)) | (left & (step <= 0))
            settled = stays | (new != new) | ((new > 0) & (tl.abs(step) <= tolerance * new))
            moved = tl.where((new > 0) | (new != new), new, 0.0)
            theta = tl.where(open_ & (stays == 0), moved, theta)
            left = tl.abs(step) <= 1e3 * new
            open_ = open_ & (settled == 0)
            looks += 1
        tl.store(theta_out + number, theta.to(theta_out.dtype.element_ty), there)
        for first in range(0, members, MEMBERS):
            at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
            value = tl.load(weight + at, mask, 0.0).to(tl.float64)
            D = tl.load(metric + at, mask, 1.0).to(tl.float64)
            kept = value * (theta[None, :] * (D / (theta[None, :] * D + threshold[None, :])))
            kept = tl.where(free[None, :], value, kept)
            tl.store(out + at, tl.where((theta == 0)[None, :], 0.0, kept).to(out.dtype.element_ty), mask)
    else:
        factor = _factor(norm, threshold)
        tl.store(theta_out + number, (norm * factor).to(theta_out.dtype.element_ty), there)
        for first in range(0, members, MEMBERS):
            at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
            value = tl.load(weight + at, mask, 0.0).to(tl.float64)
            kept = tl.where((factor == 0)[None, :], 0.0, value * factor[None, :])
            tl.store(out + at, kept.to(out.dtype.element_ty), mask)


@triton.jit(do_not_specialize=NUMBERS[:6])
def _backward_kernel(
    grad, weight, metric, tau, theta_in, out, grad_tau, grad_metric,
    outer_stride, in_part, members, row_stride, run, tau_step,
    METRIC: tl.constexpr, GROUPS: tl.constexpr, MEMBERS: tl.constexpr,
):  # fmt: skip
    number, begin, there = _tile(outer_stride, in_part, run, GROUPS)
    threshold = tl.load(tau + number * tau_step, there, 1.0).to(tl.float64)
    if METRIC:
        theta = tl.load(theta_in + number, there, 0.0).to(tl.float64)
        dead = theta == 0
        theta = tl.where(dead, 1.0, theta)  # anything: its results are not taken
        cubes = tl.zeros((GROUPS,), tl.float64)
        pulls = tl.zeros((GROUPS,), tl.float64)
        slopes = tl.zeros((GROUPS,), tl.float64)
        for first in range(0, members, MEMBERS):
            at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
            value = tl.load(weight + at, mask, 0.0).to(tl.float64)
            pull = tl.load(grad + at, mask, 0.0).to(tl.float64)
            D = tl.load(metric + at, mask, 1.0).to(tl.float64)
            q = D / (theta[None, :] * D + threshold[None, :])
            cube = value * value * q * q * q
            cubes += tl.sum(tl.where(mask, cube, 0.0), 0)
            slopes += tl.sum(tl.where(mask, cube / D, 0.0), 0)
            pulls += tl.sum(tl.where(mask, value * q * q * pull / D, 0.0), 0)
        ratio = tl.where(dead, 0.0, threshold * pulls / tl.where(dead, 1.0, cubes))
        to_tau = tl.where(dead, 0.0, -ratio * slopes - theta * pulls)
        tl.store(grad_tau + number, to_tau.to(grad_tau.dtype.element_ty), there)
        for first in range(0, members, MEMBERS):
            at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
            value = tl.load(weight + at, mask, 0.0).to(tl.float64)
            pull = tl.load(grad + at, mask, 0.0).to(tl.float64)
            D = tl.load(metric + at, mask, 1.0).to(tl.float64)
            q = D / (theta[None, :] * D + threshold[None, :])
            along = value * q * q
            to_weight = tl.where(dead[None, :], 0.0, theta[None, :] * q * pull + ratio[None, :] * along)
            tl.store(out + at, to_weight.to(out.dtype.element_ty), mask)
            to_metric = threshold[None, :] / (D * D) * along * (theta[None, :] * pull + ratio[None, :] * value * q)
            to_metric = tl.where(dead[None, :], 0.0, to_metric)
            tl.store(grad_metric + at, to_metric.to(grad_metric.dtype.element_ty), mask)
    else:
        total = tl.zeros((GROUPS,), tl.float64)
        inner = tl.zeros((GROUPS,), tl.float64)
        for first in range(0, members, MEMBERS):
            at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
            value = tl.load(weight + at, mask, 0.0).to(tl.float64)
            pull = tl.load(grad + at, mask, 0.0).to(tl.float64)
            total += tl.sum(value * value, 0)
            inner += tl.sum(value * pull, 0)
        norm = tl.sqrt(total)
        factor = _factor(norm, threshold)
        dead = factor == 0
        norm = tl.where(dead, 1.0, norm)
        along = tl.where(dead, 0.0, threshold * inner / (norm * norm * norm))
        tl.store(grad_tau + number, tl.where(dead, 0.0, -inner / norm).to(grad_tau.dtype.element_ty), there)
        for first in range(0, members, MEMBERS):
            at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
            value = tl.load(weight + at, mask, 0.0).to(tl.float64)
            pull = tl.load(grad + at, mask, 0.0).to(tl.float64)
            to_weight = tl.where(dead[None, :], 0.0, factor[None, :] * pull + along[None, :] * value)
            tl.store(out + at, to_weight.to(out.dtype.element_ty), mask)


def group_norms(weight: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """See :func:`lomt_kernels.group_norms`."""
    norms = weight.new_empty(group_count(weight, axis, groups, block), dtype=wide(weight.dtype))
    _launch(_norms_kernel, weight, norms, axis, groups, block, [_laid_out(weight, weight), norms], ALIVE=False)
    return norms


def group_alive(weight: Tensor, axis: int, groups: int, block: int) -> Tensor:
    """See :func:`lomt_kernels.group_alive`."""
    alive = weight.new_empty(group_count(weight, axis, groups, block), dtype=torch.bool)
    _launch(_norms_kernel, weight, alive, axis, groups, block, [_laid_out(weight, weight), alive], ALIVE=True)
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
    out, dtype = new_like(weight), wide(weight.dtype)
    theta = weight.new_empty(group_count(weight, axis, groups, block), dtype=dtype)
    tensors = [
        _laid_out(weight, weight),
        None if metric is None else _laid_out(metric.to(dtype), weight),
        tau.double().contiguous(),
        None if start is None else start.to(dtype).contiguous(),
        out,
        theta,
    ]
    tolerance = 1e-8 if dtype == torch.float64 else 1e-5
    _launch(
        *(_shrink_kernel, weight, theta, axis, groups, block, tensors, int(tau.numel() > 1), tolerance),
        METRIC=metric is not None,
        START=start is not None,
    )
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
    out, grad_tau, dtype = new_like(weight), torch.empty_like(theta), theta.dtype
    grad_metric = theta.new_empty(0) if metric is None else new_like(weight, dtype)
    tensors = [
        _laid_out(grad.to(weight.dtype), weight),
        _laid_out(weight, weight),
        None if metric is None else _laid_out(metric.to(dtype), weight),
        tau.double().contiguous(),
        theta,
        out,
        grad_tau,
        grad_metric,
    ]
    step = int(tau.numel() > 1)
    _launch(_backward_kernel, weight, grad_tau, axis, groups, block, tensors, step, METRIC=metric is not None)
    return out, grad_tau, grad_metric


def _laid_out(tensor: Tensor, weight: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=memory_format(weight))


def blocks(run: int) -> tuple[int, int]:
    """How many groups a program owns, and how many of their members it reads at once."""
    return (1, 256) if run >= 128 else (16, 32)


def _launch(
    kernel: Any,
    weight: Tensor,
    found: Tensor,
    axis: int,
    groups: int,
    block: int,
    tensors: list[Tensor | None],
    *more: float,
    **constants: bool,
) -> None:
    if found.numel() == 0:
        return
    if weight.numel() == 0:  # groups without a member
        for tensor in tensors:
            if tensor is not None and tensor.shape == found.shape:
                tensor.zero_()
        return
    outer, outer_stride, rows, row_stride, length, run = form_of(_laid_out(weight, weight), axis, groups, block)
    in_part = length // run
    many, members = blocks(run)
    grid = (outer * triton.cdiv(in_part, many),)
    with torch.cuda.device_of(weight):
        kernel[grid](
            *tensors,
            *(outer_stride, in_part, rows * run, row_stride, run),
            *more,
            **constants,
            GROUPS=many,
            MEMBERS=members,
            enable_fp_fusion=True,
        )
