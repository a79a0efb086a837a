"""The proximal optimizers' steps in Triton, for GPUs without our binary: the same mathematics as ``csrc/prox``.

A launch a tensor, where ``cuda.cu`` makes one for all: that needs a table of addresses in memory which outlives the
call, and a launch's arguments are part of a CUDA graph by themselves. Everything that may change between replays (the
learning rate, step counts, the loss scale) is read by the kernels.

A program owns adjacent groups of one part (:func:`lomt_kernels.layout.form_of`). It makes the plain step and takes the
first look at the groups' equations while it reads, looks again at the new weights until all its groups are closed, and
writes those that shrink. Sums are in float64 and in a fixed order, so no group is in doubt as in ``prox.h``.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lomt_kernels.prox.layout import laid_out, place, place_of_copy
from lomt_kernels.shrink.triton import LOOKS, _at, _tile, refusal

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError("triton is not installed: pip install 'lomt-kernels[triton]'") from error

__all__ = ["prox_adamw_", "prox_sgd_", "refusal"]

# Sums below this are too small to be seen; also the least that is divided by.
FAINT = tl.constexpr(1e-290)
# Places and sizes: a kernel is compiled once for all of them, not again for those that 16 divides.
NUMBERS = ["count", "outer_stride", "in_part", "members", "row_stride", "run"]


@triton.jit
def _double(number):
    """A kernel's number as a tensor of float64.

    Kernels annotate them: by default, Python's floats are passed as float32. The interpreter leaves them floats.
    """
    return tl.full((), number, tl.float64)


@triton.jit
def _rate(lr, lr_tensor):
    rate = _double(lr)
    if lr_tensor is not None:
        rate = tl.load(lr_tensor).to(tl.float64)
    return rate


@triton.jit
def _power(base, exponent):
    """By squaring: exact where a logarithm would lose the digits that 1 − β^t keeps."""
    result = _double(1.0)
    left = exponent.to(tl.int64)
    while left > 0:
        result = tl.where(left % 2 == 1, result * base, result)
        base = base * base
        left = left // 2
    return result


@triton.jit
def _root(x):
    """The square root, rounded once."""
    return tl.sqrt(x) if x.dtype == tl.float64 else tl.sqrt_rn(x)


@triton.jit
def _ratio(x, y):
    """The quotient, rounded once."""
    return x / y if x.dtype == tl.float64 else tl.div_rn(x, y)


@triton.jit
def _metric(second, at, mask, shift):
    """D = sqrt(v) + ε root; 1 where there is no second moment."""
    if second is not None:
        D = _root(tl.load(second + at, mask, 1.0).to(shift.dtype)) + shift
        D = tl.where(mask, D.to(tl.float64), 1.0)
    else:
        D = tl.where(mask, _double(1.0), 1.0)
    return D


@triton.jit
def _terms(W, D, theta, rest, curvature):
    """What a look adds for some members: W² q² and W² q² s, see ``prox.h``."""
    r = 1 / (theta[None, :] * D + rest[None, :])
    q = D * r
    term = W * q
    term = term * term
    return tl.sum(term, 0), tl.sum(term * (q - curvature[None, :] * r), 0)


@triton.jit
def _spread(number, GROUPS: tl.constexpr):
    """One number for all groups. The interpreter can't spread the truth of a scalar, so only these are compared."""
    return tl.zeros((GROUPS,), number.dtype) + number


@triton.jit
def _begin(norms, computed, found_inf, number, count, there, tau, curvature, GROUPS: tl.constexpr):
    """Whether the step is made; which groups it is for; where their first look is.

    A group without a guess, or a price, is looked at where psi is |W|²: at 1, without a rest.
    """
    if found_inf is not None:
        there = there & (_spread(tl.load(found_inf), GROUPS) == 0)
    active = there
    if computed is not None:
        active = there & (tl.load(computed + number, there, 0) != 0)
    old = tl.load(norms + number, active, 0.0)
    ahead = old.to(tl.float64) + 0.9 * tl.load(norms + (count + number), active, 0.0).to(tl.float64)
    guess = tl.where(ahead > 0, ahead, old.to(tl.float64))
    blank = (guess != guess) | (tau == 0)
    end = _end(tau, curvature)
    guess = tl.where(guess < end, guess, end)
    theta = tl.where((guess > 0) & (guess < float("inf")), guess, 0.0)
    theta = tl.where(blank, 1.0, theta)
    rest = tl.where(blank, 0.0, tau - curvature * theta)
    return there, active, theta, rest, blank


@triton.jit
def _end(tau, curvature):
    """Where the price ends to grow."""
    bent = curvature > 0
    return tl.where(bent, tau / tl.where(bent, curvature, 1.0), float("inf"))


@triton.jit
def _gradient(grad, at, mask, grad_scale, sign, norms):
    """The gradient to go along; a scaled one is divided in place."""
    C: tl.constexpr = norms.dtype.element_ty
    g = tl.load(grad + at, mask, 0.0)
    if grad_scale is not None:
        g = _ratio(g.to(C), tl.load(grad_scale).to(C)).to(grad.dtype.element_ty)
        tl.store(grad + at, g, mask)
    return g.to(C) * sign.to(C)


@triton.jit
def _settle(
    weight, second, norms, number, count, begin, active, theta, blank, psi, chi, square,
    tau, curvature, shift, members, row_stride, run,
    CONCAVE: tl.constexpr, GROUPS: tl.constexpr, MEMBERS: tl.constexpr,
):  # fmt: skip
    """From the first look's sums to the new weights and norms: ``Root`` and ``Group`` of ``csrc``, without doubts."""
    C: tl.constexpr = norms.dtype.element_ty
    accept = 1e-16 if norms.dtype.element_ty == tl.float64 else 1e-7
    end = _end(tau, curvature)
    kept = active & (tau == 0)
    theta = tl.where(kept, tl.sqrt(psi), theta)
    far = active & (tau != 0) & (end < float("inf")) & (square > end * end)
    open_ = active & (tau != 0)
    left = active & (tau != tau)  # none; nor is one outside
    outside = left
    # Other threads of this program wrote what is read from here on.
    tl.debug_barrier()
    looks = 0
    while (tl.max(open_.to(tl.int32), 0) > 0) & (looks < LOOKS):
        now = open_ & (blank == 0)
        root = tl.sqrt(psi)
        dead = (theta == 0) & (psi <= 1)
        lost = (dead == 0) & ((psi < float("inf")) == 0)  # a NaN or an infinity stays visible
        faint = (dead == 0) & (psi < FAINT)  # 0 decides
        falls = (dead == 0) & (psi >= FAINT) & (end < float("inf")) & (chi <= 0)
        over = falls & (left | (theta == 0))
        decided = dead | lost | faint | falls
        step = (root - 1) * psi / tl.where(decided, 1.0, chi)
        new = tl.where(decided, theta, theta + step)
        lost = lost | (new != new)
        decided = decided | lost
        stays = (decided == 0) & left & (step <= 0)
        beyond = (decided == 0) & (stays == 0) & (new > end)
        moves = (decided | stays | beyond) == 0
        safe = tl.where(new > 0, new, 1.0)
        relative = tl.abs(step) / safe
        spread = 1 - theta * chi / tl.where(psi < FAINT, 1.0, psi)
        spread = tl.where(spread > 0, spread, 0.0)
        if CONCAVE:
            spread = tl.where(end < float("inf"), 1.0, spread)
        error = 1.5 * spread * tl.sqrt(spread) * relative * relative
        done = moves & (new > 0) & (relative < 0.25) & (error <= accept)

        outside = outside | (now & (over | beyond))
        left = tl.where(now & moves, tl.abs(step) <= 1e3 * new, left | (now & falls))
        next_theta = tl.where(faint | falls, 0.0, tl.where(moves, tl.where(new > 0, new, 0.0), theta))
        next_theta = tl.where(lost, float("nan"), next_theta)
        # Who had no guess begins at |W|, which is no less than the root.
        first_theta = tl.where(root < end, root, end)
        first_theta = tl.where((first_theta > 0) & (first_theta < float("inf")), first_theta, 0.0)
        theta = tl.where(now, next_theta, tl.where(open_, first_theta, theta))
        rest = tau - curvature * theta
        open_ = open_ & ((now & (dead | lost | over | stays | beyond | done)) == 0)
        blank = blank & (blank == 0)
        looks += 1

        psi = tl.zeros((GROUPS,), tl.float64)
        chi = tl.zeros((GROUPS,), tl.float64)
        for first in range(0, tl.where(tl.max(open_.to(tl.int32), 0) > 0, members, 0), MEMBERS):
            at, mask = _at(first, begin, open_, members, row_stride, run, MEMBERS)
            W = tl.load(weight + at, mask, 0.0).to(tl.float64)
            D = _metric(second, at, mask, shift)
            more_psi, more_chi = _terms(W, D, theta, rest, curvature)
            psi += more_psi
            chi += more_chi

    norm = theta
    rest = tau - curvature * theta
    if CONCAVE:
        # Beyond the end W itself costs nothing more.
        far = far & (theta == theta)
        kappa = tl.zeros((GROUPS,), tl.float64)
        square = tl.zeros((GROUPS,), tl.float64)
        for first in range(0, tl.where(tl.max(far.to(tl.int32), 0) > 0, members, 0), MEMBERS):
            at, mask = _at(first, begin, far, members, row_stride, run, MEMBERS)
            W = tl.load(weight + at, mask, 0.0).to(tl.float64)
            D = _metric(second, at, mask, shift)
            # As a look's q, but a group that isn't far has no rest that counts.
            q = D / tl.where(mask, theta[None, :] * D + rest[None, :], 1.0)
            missing = W * (1 - theta[None, :] * q)
            kappa += tl.sum(D * missing * missing, 0)
            square += tl.sum(W * W, 0)
        cost = kappa / 2 + theta * (tau - theta * curvature / 2)
        free = far & (outside | (tau * tl.where(end < float("inf"), end, 0.0) / 2 < cost))
        kept = kept | free
        norm = tl.where(free, tl.sqrt(square), norm)
    shrinks = active & (kept == 0) & (rest != 0)
    found = tl.zeros((GROUPS,), tl.int32)
    for first in range(0, tl.where(tl.max(shrinks.to(tl.int32), 0) > 0, members, 0), MEMBERS):
        at, mask = _at(first, begin, shrinks, members, row_stride, run, MEMBERS)
        W = tl.load(weight + at, mask, 0.0).to(tl.float64)
        D = _metric(second, at, mask, shift)
        t = theta[None, :] * D
        new = W * (t / tl.where(mask, t + rest[None, :], 1.0))
        new = tl.where((theta == 0)[None, :], 0.0, new).to(weight.dtype.element_ty)
        tl.store(weight + at, new, mask)
        found += tl.sum((mask & (new != 0)).to(tl.int32), 0)
    norm = tl.where(shrinks & (found == 0), 0.0, norm).to(C)
    old = tl.load(norms + number, active, 0.0)
    tl.store(norms + number, norm, active)
    tl.store(norms + (count + number), tl.where(old != old, 0.0, norm - old).to(C), active)


@triton.jit(do_not_specialize=NUMBERS)
def _adamw_kernel(
    weight, grad, first_moment, second, greatest, steps, norms, computed, lr_tensor, grad_scale, found_inf,
    count, outer_stride, in_part, members, row_stride, run,
    price: tl.float64, sign: tl.float64, lr: tl.float64, beta1: tl.float64, beta2: tl.float64, eps: tl.float64,
    weight_decay: tl.float64, gamma: tl.float64,
    CONCAVE: tl.constexpr, GROUPS: tl.constexpr, MEMBERS: tl.constexpr,
):  # fmt: skip
    C: tl.constexpr = norms.dtype.element_ty
    T: tl.constexpr = weight.dtype.element_ty
    number, begin, there = _tile(outer_stride, in_part, run, GROUPS)
    rate, t = _rate(lr, lr_tensor), tl.maximum(tl.load(steps), 1.0)
    decay1, decay2 = _double(beta1), _double(beta2)
    root = tl.sqrt(1 - _power(decay2, t))
    size = (rate * root / (1 - _power(decay1, t))).to(C)
    shift = (_double(eps) * root).to(C)
    kept = (1 - rate * _double(weight_decay)).to(C)
    rest1, rest2 = (1 - decay1).to(C), (1 - decay2).to(C)
    tau = rate * root * _double(price)
    tau, curvature = _spread(tau, GROUPS), tl.zeros((GROUPS,), tl.float64)
    if CONCAVE:
        curvature += rate * root / _double(gamma)
    there, active, theta, rest, blank = _begin(norms, computed, found_inf, number, count, there, tau, curvature, GROUPS)
    members_now = tl.where(tl.max(there.to(tl.int32), 0) > 0, members, 0)
    psi = tl.zeros((GROUPS,), tl.float64)
    chi = tl.zeros((GROUPS,), tl.float64)
    square = tl.zeros((GROUPS,), tl.float64)
    for first in range(0, members_now, MEMBERS):
        at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
        g = _gradient(grad, at, mask, grad_scale, _double(sign), norms)
        mask = mask & active[None, :]
        m = decay1.to(C) * tl.load(first_moment + at, mask, 0.0).to(C) + rest1 * g
        v = decay2.to(C) * tl.load(second + at, mask, 0.0).to(C) + rest2 * g * g
        tl.store(first_moment + at, m.to(T), mask)
        tl.store(second + at, v.to(T), mask)
        if greatest is not None:
            most = tl.load(greatest + at, mask, 0.0).to(C)
            # As torch.maximum: a NaN of either stays.
            v = tl.where((v > most) | (v != v), v, most)
            tl.store(greatest + at, v.to(T), mask)
        D = tl.where(mask, _root(v.to(T).to(C)) + shift, 1.0)
        W = tl.load(weight + at, mask, 0.0).to(C)
        W = tl.where(mask, W * kept - _ratio(m * size, D), 0.0).to(T)
        tl.store(weight + at, W, mask)
        W = W.to(tl.float64)
        more_psi, more_chi = _terms(W, D.to(tl.float64), theta, rest, curvature)
        psi += more_psi
        chi += more_chi
        if CONCAVE:
            square += tl.sum(W * W, 0)
    metric_of = second
    if greatest is not None:
        metric_of = greatest
    _settle(
        weight, metric_of, norms, number, count, begin, active, theta, blank, psi, chi, square,
        tau, curvature, shift, members, row_stride, run, CONCAVE, GROUPS, MEMBERS,
    )  # fmt: skip


@triton.jit(do_not_specialize=[*NUMBERS, "fresh"])
def _sgd_kernel(
    weight, grad, buffer, norms, computed, lr_tensor, grad_scale, found_inf,
    count, outer_stride, in_part, members, row_stride, run,
    price: tl.float64, sign: tl.float64, lr: tl.float64, momentum: tl.float64, dampening: tl.float64,
    weight_decay: tl.float64, gamma: tl.float64, fresh,
    NESTEROV: tl.constexpr, CONCAVE: tl.constexpr, GROUPS: tl.constexpr, MEMBERS: tl.constexpr,
):  # fmt: skip
    C: tl.constexpr = norms.dtype.element_ty
    T: tl.constexpr = weight.dtype.element_ty
    number, begin, there = _tile(outer_stride, in_part, run, GROUPS)
    rate = _rate(lr, lr_tensor)
    size, decay = rate.to(C), _double(weight_decay).to(C)
    share, taken = _double(momentum).to(C), tl.where(fresh != 0, 1.0, 1 - _double(dampening)).to(C)
    held = _spread(fresh, GROUPS) == 0
    tau = rate * _double(price)
    tau, curvature = _spread(tau, GROUPS), tl.zeros((GROUPS,), tl.float64)
    if CONCAVE:
        curvature += rate / _double(gamma)
    there, active, theta, rest, blank = _begin(norms, computed, found_inf, number, count, there, tau, curvature, GROUPS)
    members_now = tl.where(tl.max(there.to(tl.int32), 0) > 0, members, 0)
    psi = tl.zeros((GROUPS,), tl.float64)
    chi = tl.zeros((GROUPS,), tl.float64)
    square = tl.zeros((GROUPS,), tl.float64)
    for first in range(0, members_now, MEMBERS):
        at, mask = _at(first, begin, there, members, row_stride, run, MEMBERS)
        g = _gradient(grad, at, mask, grad_scale, _double(sign), norms)
        mask = mask & active[None, :]
        W = tl.load(weight + at, mask, 0.0).to(C)
        g = g + decay * W
        if buffer is not None:
            # A fresh buffer may hold anything, NaNs too.
            b = share * tl.load(buffer + at, mask & held[None, :], 0.0).to(C) + taken * g
            tl.store(buffer + at, b.to(T), mask)
            g = g + share * b if NESTEROV else b
        W = tl.where(mask, W - g * size, 0.0).to(T)
        tl.store(weight + at, W, mask)
        W = W.to(tl.float64)
        more_psi, more_chi = _terms(W, _metric(None, at, mask, size), theta, rest, curvature)
        psi += more_psi
        chi += more_chi
        if CONCAVE:
            square += tl.sum(W * W, 0)
    _settle(
        weight, None, norms, number, count, begin, active, theta, blank, psi, chi, square,
        tau, curvature, size, members, row_stride, run, CONCAVE, GROUPS, MEMBERS,
    )  # fmt: skip


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
    # Many programs read a count, so none of them may change it.
    torch._foreach_add_(list(steps), 1 if found_inf is None else (found_inf.reshape(()) == 0).float())
    numbers = (-1.0 if maximize else 1.0, lr, beta1, beta2, eps, weight_decay, gamma)
    for i, weight in enumerate(weights):
        most = max_exp_avg_sqs[i] if max_exp_avg_sqs else None
        others, mask = (grads[i], exp_avgs[i], exp_avg_sqs[i], most), computed[i] if computed else None
        _launch(
            _adamw_kernel, weight, others, (steps[i],), norms[i], mask, (lr_tensor, grad_scale, found_inf),
            prices[i], numbers, (), axis, groups[i], block,
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
    numbers = (-1.0 if maximize else 1.0, lr, momentum, dampening, weight_decay, gamma)
    for i, weight in enumerate(weights):
        others = (grads[i], momentum_buffers[i] if momentum_buffers else None)
        mask, first = computed[i] if computed else None, int(bool(fresh) and fresh[i])
        _launch(
            _sgd_kernel, weight, others, (), norms[i], mask, (lr_tensor, grad_scale, found_inf),
            prices[i], numbers, (first,), axis, groups[i], block, NESTEROV=nesterov,
        )  # fmt: skip


def blocks(run: int, concave: bool) -> tuple[int, int]:
    """How many groups a program owns, and how many of their members it reads at once.

    A concave price needs more registers; with fewer members, ptxas makes do with 64 and spills.
    """
    return (1, 512 if concave else 256) if run >= 128 else (16, 32)


def _launch(
    kernel: Any,
    weight: Tensor,
    others: tuple[Tensor | None, ...],
    steps: tuple[Tensor, ...],
    norms: Tensor,
    computed: Tensor | None,
    scalars: tuple[Tensor | None, ...],
    price: float,
    numbers: tuple[float, ...],
    more: tuple[int, ...],
    axis: int,
    groups: int,
    block: int,
    **constants: bool,
) -> None:
    """One tensor's step; what is laid out otherwise than its weight, or not densely, is copied there and back."""
    form = place(weight.shape, weight.stride(), axis, groups, block)
    if form is None:  # groups without a member, or no group
        norms.zero_()
        return
    dense = form != ()
    back: list[tuple[Tensor, Tensor]] = []
    # Gradients are only read, unless they are unscaled.
    tensors = [
        None if x is None else laid_out(x, weight, dense, None if i == 1 and scalars[1] is None else back)
        for i, x in enumerate((weight, *others))
    ]
    state = norms.contiguous()
    if state is not norms:
        back.append((norms, state))
    if computed is not None:
        computed = computed.to(device=weight.device, dtype=torch.bool).contiguous()
    outer, outer_stride, rows, row_stride, length, run = form or place_of_copy(weight.shape, axis, groups, block)
    in_part = length // run
    concave = numbers[-1] < math.inf and price > 0
    many, members = blocks(run, concave)
    with torch.cuda.device_of(weight):
        kernel[(outer * triton.cdiv(in_part, many),)](
            *(*tensors, *steps, state, computed, *scalars),
            *(outer * in_part, outer_stride, in_part, rows * run, row_stride, run),
            *(float(price), *map(float, numbers), *more),
            **constants,
            CONCAVE=concave,
            GROUPS=many,
            MEMBERS=members,
            enable_fp_fusion=True,
        )
    for tensor, copy in back:
        tensor.copy_(copy)
