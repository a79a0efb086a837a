"""The optimizers' steps of every backend against textbook steps and brute force in NumPy's float64.

A step without a price gives what a backend's plain step rounds to; the step with a price is then checked on its own,
against the proximal operator of exactly these numbers.
"""

import math

import numpy as np
import pytest
import torch

from lomt_kernels import library
from lomt_kernels.layout import wide
from lomt_kernels.prox import new_norms, prox_adamw_, prox_sgd_
from tests.kernels.conftest import INTERPRETER, available
from tests.kernels.weights import DTYPES, SHAPES, bisected, fits, members, weight

CASES = [
    pytest.param(*case, axis, id=f"{'x'.join(map(str, case[0]))}-{case[1]}-g{case[2]}-b{case[3]}-{axis}")
    for case in SHAPES
    for axis in ("in", "out")
    if fits(case[0], axis, case[2], case[3]) and case[1] != "expanded" and math.prod(case[0]) < 20000
]
LR, BETAS = 0.05, (0.9, 0.99)
ADAMW = {"lr": LR, "betas": BETAS, "eps": 1e-3}
KINDS = {
    "adamw": (prox_adamw_, ADAMW | {"weight_decay": 0.1}, False),
    "adamw-amsgrad-maximize-masked-concave": (prox_adamw_, ADAMW | {"maximize": True, "weight_decay": 0.0}, True),
    "sgd": (prox_sgd_, {"lr": LR}, False),
    "sgd-nesterov-concave": (prox_sgd_, {"lr": LR, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, True),
    "sgd-dampened-maximize-masked": (prox_sgd_, {"lr": LR, "momentum": 0.8, "dampening": 0.3, "maximize": True}, False),
}


def unit(dtype):
    """Half the distance from 1 to the next number: what one correct rounding errs by."""
    return torch.finfo(dtype).eps / 2


class State:
    """One weight with all that its steps remember."""

    def __init__(self, kind, W, axis="in", groups=1, block=1, backend=None):
        self.step, self.numbers, self.concave = KINDS[kind]
        self.adam, self.how = self.step is prox_adamw_, {"axis": axis, "groups": groups, "block": block}
        self.backend, self.fresh, self.W = backend, True, W
        self.moments = [torch.zeros_like(W) for _ in range(3 if "amsgrad" in kind else 2 if self.adam else 1)]
        self.steps, self.norms = torch.zeros(()), new_norms(W, **self.how)
        self.mask = torch.arange(self.norms.shape[1]) % 3 != 2 if "masked" in kind else None

    def copy(self):
        other = object.__new__(State)
        other.__dict__ |= self.__dict__
        # As the tensors are, strides and all.
        other.W, other.norms, other.steps, *other.moments = (
            torch.empty_strided(x.shape, x.stride(), dtype=x.dtype).copy_(x)
            for x in (self.W, self.norms, self.steps, *self.moments)
        )
        return other

    def __call__(self, grad, price=0.0, **more):
        more = self.numbers | self.how | {"computed": [self.mask], "backend": self.backend} | more
        if self.adam:
            first, second, *greatest = ([x] for x in self.moments)
            more |= {"max_exp_avg_sqs": greatest[0]} if greatest else {}
            prox_adamw_([self.W], [grad], first, second, [self.steps], [self.norms], [price], **more)
        else:
            buffers = self.moments if "momentum" in self.numbers else []
            prox_sgd_([self.W], [grad], buffers, [self.norms], [price], fresh=[self.fresh], **more)
        self.fresh = False
        return self

    def tensors(self):
        return [self.W, *self.moments, self.steps, self.norms]

    def groups(self, tensor):
        return members(tensor, **self.how)

    def scale(self):
        """The step size in the metric that is scaled by root, and root."""
        root = math.sqrt(1 - BETAS[1] ** float(self.steps)) if self.adam else 1.0
        return self.numbers["lr"] * root, root

    def metric(self):
        """D as it is rounded, in NumPy: of the second moment that is stored."""
        if not self.adam:
            return torch.ones_like(self.W, dtype=wide(self.W.dtype))
        shift = torch.tensor(self.numbers["eps"] * self.scale()[1], dtype=torch.float64)
        return self.moments[-1].to(wide(self.W.dtype)).sqrt() + shift.to(wide(self.W.dtype))


def textbook(before, after, grad):
    """What the plain step makes of moments and weights in float64, and what each may be off by."""
    n, dtype = before.numbers, before.W.dtype
    half, fine = unit(dtype), unit(wide(dtype))
    W, g, *old = (x.double().numpy() for x in (before.W, grad, *before.moments))
    g = -g if n.get("maximize") else g
    tiny, found = float(torch.finfo(dtype).tiny), []

    def add(value, size):
        found.append((value, 1.01 * half * np.abs(value) + 12 * fine * size + tiny))

    if before.adam:
        (b1, b2), t = BETAS, float(after.steps)
        m, v = b1 * old[0] + (1 - b1) * g, b2 * old[1] + (1 - b2) * g**2
        size_m = b1 * np.abs(old[0]) + (1 - b1) * np.abs(g)
        add(m, size_m)
        add(v, v)
        if len(old) > 2:
            add(np.maximum(old[2], v), v)
        # The second moment is taken as it is stored; so much of it was checked before.
        denominator = np.sqrt(after.moments[-1].double().numpy() / (1 - b2**t)) + n["eps"]
        ahead = n["lr"] / (1 - b1**t) / denominator
        kept = W * (1 - n["lr"] * n["weight_decay"])
        add(kept - ahead * m, np.abs(kept) + ahead * size_m)
    else:
        decay, size = n.get("weight_decay", 0.0), np.abs(g)
        g, size = g + decay * W, size + np.abs(decay * W)
        if "momentum" in n:
            mu = n["momentum"]
            b = g if before.fresh else mu * old[0] + (1 - n.get("dampening", 0.0)) * g
            size_b = size if before.fresh else mu * np.abs(old[0]) + size
            add(b, size_b)
            g, size = (g + mu * b, size + mu * size_b) if n.get("nesterov") else (b, size_b)
        add(W - n["lr"] * g, np.abs(W) + n["lr"] * size)
    return found[-1:] + found[:-1]


def proximal(W, D, tau, curvature):
    """The minimizer by brute force, and by how much the next best candidate is worse, relatively."""
    force = math.sqrt(((W * D) ** 2).sum())
    if curvature == 0 or tau == 0:
        return bisected(W, D, tau), abs(force / tau - 1) if tau else 1.0
    end = tau / curvature

    def price(t):
        return np.where(t < end, t * (tau - curvature * t / 2), tau * end / 2)

    def cost(U):
        return (D * (U - W) ** 2).sum(-1) / 2 + price(np.sqrt((U**2).sum(-1)))

    # Of all U of one norm the best is W D / (D + a) for some a from 0 (U = W) to infinity (U = 0).
    a = np.geomspace(1e-6 * D.min(), 1e6 * max(D.max(), tau / max(np.linalg.norm(W), 1e-300)), 3000)
    costs = cost(W * D / (D + a[:, None]))
    best = int(costs.argmin())
    low, high = a[max(best - 1, 0)], a[min(best + 1, len(a) - 1)]

    def slope(a):
        t = np.linalg.norm(W * D / (D + a))
        return a * t - max(tau - curvature * t, 0.0)

    if slope(low) < 0 < slope(high):
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    inner = W * D / (D + (low + high) / 2)
    candidates = [np.zeros_like(W), W, inner]
    costs = np.array([cost(U) for U in candidates])
    best = int(costs.argmin())
    apart = [
        abs(costs[i] - costs[best]) / costs[best]
        for i in range(3)
        # The grid ends next to 0 and W, which are themselves candidates.
        if i != best
        and costs[best] > 0
        and not np.allclose(candidates[i], candidates[best], 1e-3, 1e-5 * np.abs(W).max())
    ]
    return candidates[best], min([abs(force / tau - 1), *apart])


def condition(U, W, D, tau, curvature):
    """By how much more a group's norm errs, relatively, than sqrt(psi) by which it is found; and then its weights."""
    theta = np.linalg.norm(U)
    rest = tau - curvature * theta
    if theta == 0 or rest <= 0 or np.array_equal(U, W):
        return 1.0, 1.0
    r = 1 / (theta * D + rest)
    chi = ((W * D * r) ** 2 * (D - curvature) * r).sum()
    # Where that is more than 10, float64 decides.
    of_norm = min(1 / max(theta * chi, 1e-3), 10)
    return of_norm, of_norm * np.maximum(tau * r, 1)


def check_shrunk(state, plain, price, gamma):
    """Weights and norms after a step with a price, given the same step without one; how many died."""
    dtype = state.W.dtype
    fine = unit(wide(dtype))
    scale = state.scale()[0]
    tau, curvature = scale * price, scale / gamma if gamma < math.inf and price > 0 else 0.0
    # prox.h: sums of float32 terms are off by 4e-6 at most; badly conditioned groups are solved in float64.
    off = 4e-6 if dtype != torch.float64 else 1e-12
    dead = 0
    there = [True] * state.norms.shape[1] if state.mask is None else state.mask.tolist()
    for k, (W, D, U) in enumerate(
        zip(state.groups(plain.W), state.groups(state.metric()), state.groups(state.W), strict=True)
    ):
        if not there[k]:
            np.testing.assert_array_equal(U, W)
            continue
        expected, margin = proximal(W, D, tau, curvature)
        if margin < 10 * off:
            continue  # rounding decides
        of_norm, of_weights = (off / 2 * x + 10 * fine for x in condition(expected, W, D, tau, curvature))
        error = (1.01 * unit(dtype) + of_weights) * np.abs(expected) + float(torch.finfo(dtype).tiny)
        assert (np.abs(U - expected) <= error).all()
        assert not np.signbit(U[expected == 0]).any() or (W[expected == 0] == 0).all()
        norm = float(state.norms[0, k])
        assert (norm == 0) == (not U.any())
        # Of what is rounded to zeros nothing is left.
        tiny = 6e-8 * math.sqrt(len(W)) if dtype == torch.float16 else 0
        assert norm == pytest.approx(np.linalg.norm(expected), rel=2 * fine + of_norm, abs=tiny)
        dead += norm == 0
    return dead


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "layout", "groups", "block", "axis"), CASES)
def test_against_brute_force(backend, shape, layout, groups, block, axis, dtype, kind):
    available(backend, dtype=dtype, operation="prox_adamw_")
    size = math.prod(shape)
    if INTERPRETER and (size > 1000 or (dtype != torch.float32 and layout == "contiguous" and size > 1)):
        pytest.skip("the interpreter is slow")
    state = State(kind, weight(shape, layout, dtype), axis, groups, block, backend)
    for number in range(2 if INTERPRETER else 3):
        grad = weight(shape, "contiguous" if number else layout, dtype, 10 + number)
        before, plain, norms, unscaled = state.copy(), state.copy()(grad), state.norms.clone(), grad.clone()
        there = slice(None) if state.mask is None else state.mask
        for x, (expected, error) in zip([plain.W, *plain.moments], textbook(before, plain, grad), strict=False):
            for k, (found, e, d) in enumerate(
                zip(*(state.groups(y) for y in (x, torch.from_numpy(expected), torch.from_numpy(error))), strict=True)
            ):
                if state.mask is None or state.mask[k]:
                    assert (np.abs(found - e) <= d).all()
        pairs = list(zip(state.groups(plain.W), state.groups(plain.metric()), strict=True))
        forces = np.sort([np.linalg.norm(W * D) for W, D in pairs])
        # Between the thresholds of two groups, or above that of a single one.
        price = float(forces[len(forces) // 2] + forces[(len(forces) - 1) // 2]) / 2 * 1.1 / plain.scale()[0]
        # A concave price ends in the midst of the norms.
        middle = float(np.median([np.linalg.norm(W) for W, _ in pairs]))
        gamma = 1.2 * middle / price if state.concave and price else math.inf
        state(grad, price, gamma=gamma)
        assert torch.equal(grad, unscaled)
        for found, expected in zip([*state.moments, state.steps], [*plain.moments, plain.steps], strict=True):
            assert torch.equal(found, expected)
        dead = check_shrunk(state, plain, price, gamma)
        assert dead > 0 or state.concave or len(forces) < 3
        change = torch.where(norms[0].isnan(), 0.0, state.norms[0] - norms[0])
        # The difference may have been taken before the norm was rounded.
        size = state.norms[0] + norms[0].nan_to_num(0.0)
        assert ((state.norms[1] - change).abs() <= 2 * unit(norms.dtype) * size)[there].all()
        if state.mask is not None:
            for x, y in zip([state.W, *state.moments], [before.W, *before.moments], strict=True):
                for k, (found, expected) in enumerate(zip(state.groups(x), state.groups(y), strict=True)):
                    assert state.mask[k] or np.array_equal(found, expected)
            assert torch.equal(state.norms[:, ~there].nan_to_num(-1), norms[:, ~there].nan_to_num(-1))


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("off", [-1e-6, -1e-12, 1e-12, 1e-6])
def test_next_to_the_threshold(backend, layout, kind, off):
    """In float64 the threshold is met to some units in the last place, from a cold start."""
    W, grad = weight((8, 6, 3, 3), layout, torch.float64), weight((8, 6, 3, 3), layout, torch.float64, 1)
    first = State(kind, W, backend=backend)
    plain = first.copy()(grad)
    for k in (1, 3, 5):
        W, D = plain.groups(plain.W)[k], plain.groups(plain.metric())[k]
        tau = np.linalg.norm(W * D) * (1 + off)
        U = (state := first.copy()(grad, tau / plain.scale()[0])).groups(state.W)[k]
        assert U.any() == (off < 0) == (float(state.norms[0, k]) > 0)
        np.testing.assert_allclose(U, bisected(W, D, tau), rtol=1e-9 + 1e-14 / abs(off), atol=0)


def test_float32_is_decided_as_float64(backend):
    """Sums of float32 terms err by more than what decides here."""
    W = weight((256, 16, 3, 3), "contiguous", torch.float32)
    plain = State("sgd", W, backend=backend)
    sizes = [np.linalg.norm(group) for group in plain.groups(plain.W)]
    for k in (1, 7, 15):
        for off in (-1e-9, 1e-9):
            state = plain.copy()(torch.zeros_like(W), sizes[k] * (1 + off) / LR)
            assert bool(state.norms[0, k]) == state.groups(state.W)[k].any() == (off < 0)


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # the interpreter computes with NumPy
@pytest.mark.parametrize("gamma", [math.inf, 2.0, 0.02])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_nan_spoils_its_group_alone(backend, kind, bad, gamma, warm):
    W, grad = weight((8, 6, 3, 3), "contiguous", torch.float32), torch.randn(8, 6, 3, 3)
    state = State(kind, W, backend=backend)
    if warm:
        state(grad, 3.0, gamma=gamma)
    good = state.copy()(grad, 3.0, gamma=gamma)
    grad[2, 3, 1, 1] = bad
    state(grad, 3.0, gamma=gamma)
    others = [0, 1, 2, 4, 5]
    assert state.W[:, 3].isnan().all()
    assert torch.equal(state.W[:, others], good.W[:, others])
    assert state.norms[:, 3].isnan().all() == warm
    assert state.norms[0, 3].isnan()
    assert torch.equal(state.norms[:, others], good.norms[:, others])
    # And it stays so.
    state(torch.ones_like(grad), 3.0, gamma=gamma)
    assert state.W[:, 3].isnan().all()
    assert state.norms[0, 3].isnan()
    assert state.norms[1, 3] == 0
    assert state.W[:, others].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_infinite_gradient_somewhere_changes_nothing(backend, kind):
    state = State(kind, weight((6, 4, 3, 3), "channels_last", torch.float32), backend=backend)
    grad, one = torch.randn(6, 4, 3, 3), torch.ones(())
    state(grad, 1.0)
    before = state.copy()
    state(grad, 1.0, found_inf=one, grad_scale=2 * one)
    for found, expected in zip(state.tensors(), before.tensors(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    scaled = grad * 4
    state(scaled, 1.0, found_inf=0 * one, grad_scale=4 * one)
    assert torch.equal(scaled, grad)
    before(grad, 1.0)
    for found, expected in zip(state.tensors(), before.tensors(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_scale_that_is_no_power_of_two(backend, kind):
    W, grad = weight((6, 4, 3, 3), "contiguous", torch.float32), torch.randn(6, 4, 3, 3)
    state = State(kind, W, backend=backend)
    other, scaled = state.copy()(grad, 1.0), grad * 3
    state(scaled, 1.0, grad_scale=torch.tensor(3.0), maximize=False)
    torch.testing.assert_close(scaled, grad, rtol=4 * unit(torch.float32), atol=0)
    for found, expected in zip(state.tensors(), other.tensors(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_learning_rate_in_a_tensor(backend, kind, dtype):
    """As on a GPU, where it is read when the step runs."""
    W, grad = weight((6, 4, 3, 3), "contiguous", torch.float64), torch.randn(6, 4, 3, 3, dtype=torch.float64)
    state = State(kind, W, backend=backend)
    lr = torch.tensor(0.3, dtype=dtype)
    other = state.copy()(grad, 1.0, lr=float(lr))
    after = (0, [1], 1, None, None, backend)
    if kind == "adamw":
        (m, v), n = state.moments, state.numbers
        library.OPS.prox_adamw_(
            [state.W], [grad], [m], [v], [], [state.steps], [state.norms], [], [1.0],
            0.0, lr, *BETAS, n["eps"], n["weight_decay"], False, math.inf, *after,
        )  # fmt: skip
    else:
        library.OPS.prox_sgd_(
            [state.W], [grad], [], [state.norms], [], [], [1.0],
            0.0, lr, 0.0, 0.0, 0.0, False, False, math.inf, *after,
        )  # fmt: skip
    for found, expected in zip(state.tensors(), other.tensors(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("gamma", [math.inf, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_size_zero(backend, kind, gamma):
    W, grad = weight((6, 4, 3, 3), "contiguous", torch.float32), torch.randn(6, 4, 3, 3)
    state = State(kind, W.clone(), backend=backend)(grad, 5.0, lr=0.0, gamma=gamma)
    assert torch.equal(state.W, W)
    if state.adam or "momentum" in state.numbers:
        assert state.moments[0].any()
    for k, group in enumerate(state.groups(W)):
        if state.mask is None or state.mask[k]:
            assert float(state.norms[0, k]) == pytest.approx(np.linalg.norm(group), rel=1e-6)
            assert state.norms[1, k] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_without_a_price_it_is_adamw(backend, dtype, amsgrad):
    W = weight((6, 4, 3, 3), "channels_last", dtype)
    theirs = torch.nn.Parameter(W.clone())
    optimizer = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1, amsgrad=amsgrad, foreach=False)
    m, v, most = (torch.zeros_like(W) for _ in range(3))
    step, norms = torch.zeros(()), new_norms(W)
    for _ in range(5):
        theirs.grad = torch.randn_like(W)
        optimizer.step()
        prox_adamw_(
            [W], [theirs.grad], [m], [v], [step], [norms], [0.0],
            max_exp_avg_sqs=[most] if amsgrad else [], lr=0.01, weight_decay=0.1, backend=backend,
        )  # fmt: skip
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(W, theirs.detach(), rtol=40 * eps, atol=20 * eps)
    assert step == 5
    torch.testing.assert_close(norms[0], W.double().square().sum((0, 2, 3)).sqrt().to(dtype), rtol=4 * eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("nesterov", [False, True])
def test_without_a_price_it_is_sgd(backend, dtype, nesterov):
    W = weight((6, 4, 3, 3), "contiguous", dtype)
    theirs = torch.nn.Parameter(W.clone())
    how = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": nesterov}
    optimizer = torch.optim.SGD([theirs], foreach=False, **how)
    buffer, norms = torch.full_like(W, torch.nan), new_norms(W)
    for number in range(5):
        theirs.grad = torch.randn_like(W)
        optimizer.step()
        prox_sgd_([W], [theirs.grad], [buffer], [norms], [0.0], fresh=[number == 0], backend=backend, **how)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(W, theirs.detach(), rtol=40 * eps, atol=20 * eps)


@pytest.mark.parametrize(
    ("shape", "axis"), [((1, 6), "in"), ((6, 1), "out"), ((5, 1, 3, 3), "in"), ((1, 5, 3, 3), "out")]
)
@pytest.mark.parametrize("kind", ["adamw", "adamw-amsgrad-maximize-masked-concave", "sgd-nesterov-concave"])
def test_groups_of_one_weight_and_single_groups(backend, kind, shape, axis):
    generator = torch.Generator().manual_seed(3)
    W, grad = (torch.randn(shape, generator=generator) for _ in range(2))
    state = State(kind, W, axis, backend=backend)
    for _ in range(3):
        plain = state.copy()(grad)
        state(grad, 4.0, gamma=0.3)
        check_shrunk(state, plain, 4.0, 0.3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gamma", [math.inf, 1e3])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_all_dead_and_back(backend, kind, gamma, dtype):
    available(backend, dtype=dtype, operation="prox_adamw_")
    W, grad = weight((6, 4, 3, 3), "contiguous", dtype), weight((6, 4, 3, 3), "contiguous", dtype, 1)
    grad[:, 0] = W[:, 0] = 0.5
    state = State(kind, W, backend=backend)
    for number in range(3):
        state(grad, 1e4, gamma=gamma)
        assert not state.W.any()
        assert not state.W.signbit().any()
        assert not state.norms[0].any()
        assert not state.norms[1].any() or number == 1
    state(grad, 0.0)
    assert state.W.any()
    sizes = torch.tensor([np.linalg.norm(group) for group in state.groups(state.W)])
    torch.testing.assert_close(state.norms[0].double(), sizes.double(), rtol=1e-6, atol=0)
    assert torch.equal(state.norms[0], state.norms[1])


def test_what_is_rounded_to_zeros_is_dead(backend):
    """A norm that is not 0, of weights that all are once they are rounded."""
    W = torch.full((64, 3), 1e-4, dtype=torch.float16)
    for k in range(3):
        W[:, k] *= k + 1
    norm = float(np.linalg.norm(W[:, 1].double().numpy()))
    state = State("sgd", W, backend=backend)(torch.zeros_like(W), norm * (1 - 1e-4) / LR)
    assert not state.W[:, :2].any()
    assert state.norms[0, :2].tolist() == [0, 0]
    assert state.W[:, 2].any()
    assert state.norms[0, 2] > 0


@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (4, 0, 3, 3), (4, 4, 0, 3), (0, 0)])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_nothing_to_do(backend, kind, shape):
    for axis in ("in", "out"):
        state = State(kind, torch.zeros(shape), axis, backend=backend)(torch.zeros(shape), 1.0)
        assert not state.norms.any()
        assert state.steps == state.adam
    step, numbers, _ = KINDS[kind]
    step(*([] for _ in range(7 if state.adam else 5)), **numbers, backend=backend)


@pytest.mark.parametrize("kind", ["adamw", "sgd-nesterov-concave"])
def test_many_at_once_are_each_alone(backend, kind):
    shapes = [((4, 6, 3, 3), "contiguous", 1), ((6, 2, 3, 3), "channels_last", 3), ((5, 4), "contiguous", 1)]
    ones, masks = [], [None, torch.tensor([True, False, True]), torch.tensor([True, False])]
    for (shape, layout, groups), mask in zip(shapes, masks, strict=True):
        ones.append(State(kind, weight(shape, layout, torch.float32), "in", groups, 2, backend))
        ones[-1].mask = mask
    all_ = [one.copy() for one in ones]
    grads, prices = [torch.randn_like(one.W) for one in ones], [3.0, 1.0, 0.5]
    for one, grad, price in zip(ones, grads, prices, strict=True):
        one(grad, price, gamma=1.0)
    step, numbers, _ = KINDS[kind]
    lists = [[x.W for x in all_], grads, *map(list, zip(*(x.moments for x in all_), strict=True))]
    lists += [[x.steps for x in all_]] if ones[0].adam else []
    more = {} if ones[0].adam else {"fresh": [True] * 3}
    step(
        *lists, [x.norms for x in all_], prices, **numbers, **more,
        gamma=1.0, groups=[1, 3, 1], block=2, computed=masks, backend=backend,
    )  # fmt: skip
    for found, expected in zip(all_, ones, strict=True):
        for x, y in zip(found.tensors(), expected.tensors(), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


def test_threads_change_nothing():
    available("native", operation="prox_adamw_")
    shapes = [((64, 512, 3, 3), "channels_last"), ((300, 70, 3, 3), "contiguous"), ((256, 400), "contiguous")]
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append([])
            for kind in ("adamw", "sgd-nesterov-concave"):
                for axis in ("in", "out"):
                    for shape, layout in shapes:
                        state = State(kind, weight(shape, layout, torch.float32), axis, backend="native")
                        for number in range(2):
                            state(weight(shape, layout, torch.float32, number + 1), 20.0, gamma=2.0)
                        found[-1] += state.tensors()
    finally:
        torch.set_num_threads(1)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


def test_every_instruction_set_agrees(instruction_sets):
    binary, names = instruction_sets
    results = {}
    for name in names:
        binary.use_instruction_set(name)
        results[name] = []
        for kind in KINDS:
            for dtype in DTYPES:
                for layout in ("contiguous", "channels_last"):
                    for axis in ("in", "out"):
                        state = State(kind, weight((24, 37, 3, 3), layout, dtype), axis, backend="native")
                        grad = weight((24, 37, 3, 3), layout, dtype, 1)
                        plain = state.copy()(grad)
                        state(grad, 8.0, gamma=1.0)
                        check_shrunk(state, plain, 8.0, 1.0)
                        results[name].append((dtype, [*plain.tensors()[:-1], state.norms[0, :]]))
    for name in names[1:]:
        for (dtype, found), (_, expected) in zip(results[name], results[names[0]], strict=True):
            for x, y in zip(found, expected, strict=True):
                eps = torch.finfo(dtype).eps
                torch.testing.assert_close(x, y, rtol=8 * eps, atol=8 * eps, equal_nan=True, check_dtype=False)


def arguments(**changed):
    W = changed.pop("W", torch.ones(4, 6))
    lists = {"grads": [W], "exp_avgs": [W], "exp_avg_sqs": [W], "steps": [torch.zeros(())]}
    return {"weights": [W], **lists, "norms": [torch.full((2, 6), torch.nan)], "prices": [1.0]} | changed


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"W": torch.ones(4, 6, dtype=torch.int64)}, TypeError, "not of torch.int64"),
        ({"W": torch.ones(6)}, ValueError, "no channels to group"),
        ({"grads": []}, ValueError, "0 grads for 1 weights"),
        ({"grads": [torch.ones(4, 5)]}, ValueError, r"grads has a tensor of \(4, 5\)"),
        ({"exp_avgs": [torch.ones(4, 6).double()]}, ValueError, "exp_avgs has a tensor of .* of torch.float64"),
        ({"max_exp_avg_sqs": [torch.ones(1)]}, ValueError, "max_exp_avg_sqs has"),
        ({"steps": []}, ValueError, "0 steps for 1 weights"),
        ({"norms": [torch.ones(6)]}, ValueError, "make them by new_norms"),
        ({"norms": [torch.ones(2, 6).double()]}, ValueError, "make them by new_norms"),
        ({"prices": []}, ValueError, "0 prices"),
        ({"prices": [-1.0]}, ValueError, "a price of -1.0"),
        ({"prices": [math.nan]}, ValueError, "a price of nan"),
        ({"computed": [torch.ones(5, dtype=torch.bool)]}, ValueError, r"a mask of shape \(5,\) for 6 groups"),
        ({"lr": -1.0}, ValueError, "lr=-1.0"),
        ({"lr": torch.tensor(math.nan)}, ValueError, "lr=nan"),
        ({"eps": -1.0}, ValueError, "eps=-1.0"),
        ({"betas": (0.9, 1.0)}, ValueError, "betas="),
        ({"gamma": 0.0}, ValueError, "gamma=0.0"),
        ({"gamma": math.nan}, ValueError, "gamma=nan"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay=-1.0"),
        ({"axis": "both"}, ValueError, "unknown axis 'both'"),
        ({"block": 4}, ValueError, "block=4 does not divide"),
        ({"groups": [1, 1]}, ValueError, "2 groups"),
        ({"backend": "cudnn"}, ValueError, "there are cuda, triton, native, reference"),
    ],
)
def test_bad_input_is_one_clear_line(changed, kind, words):
    with pytest.raises(kind, match=words) as error:
        prox_adamw_(**arguments(**changed))
    assert "\n" not in str(error.value)


def test_bad_input_of_sgd():
    W, norms = torch.ones(4, 6), torch.full((2, 6), torch.nan)
    with pytest.raises(ValueError, match=r"momentum=0\.9 with 0 buffers"):
        prox_sgd_([W], [W], [], [norms], [1.0], momentum=0.9)
    with pytest.raises(ValueError, match="make one call for each kind"):
        prox_sgd_([W, W.double()], [W, W.double()], [], [norms, norms.double()], [1.0, 1.0])


@pytest.mark.parametrize("name", ["native", "triton"])
def test_a_fast_backend_was_tested(name):
    """No native or no Triton test would make all of the above say nothing of them."""
    if (name == "triton") != INTERPRETER:
        pytest.skip("in the other process")
    from lomt_kernels import registry

    assert registry._refusal("prox", name, "cpu", torch.float32) is None


test_a_fast_backend_was_tested = pytest.mark.interpreter(test_a_fast_backend_was_tested)
