"""Group norms, liveness and shrinkage of every backend against brute force, on all layouts, dtypes and corners."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt_kernels import group_alive, group_norms, group_shrink
from tests.kernels.conftest import available
from tests.kernels.weights import DTYPES, SHAPES, bisected, fits, members, weight

CASES = [
    pytest.param(*case, axis, id=f"{'x'.join(map(str, case[0]))}-{case[1]}-g{case[2]}-b{case[3]}-{axis}")
    for case in SHAPES
    for axis in ("in", "out")
    if fits(case[0], axis, case[2], case[3])
]


def unit(dtype):
    """Half the distance from 1 to the next number: what one correct rounding errs by."""
    return torch.finfo(dtype).eps / 2


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "layout", "groups", "block", "axis"), CASES)
def test_norms_and_liveness(backend, shape, layout, groups, block, axis, dtype):
    available(backend, dtype=dtype)
    W = weight(shape, layout, dtype)
    how = {"axis": axis, "groups": groups, "block": block, "backend": backend}
    expected = np.array([np.linalg.norm(group) for group in members(W, axis, groups, block)])
    found = group_norms(W, **how)
    assert found.dtype == wide(dtype)
    # A sum of n squares in float64, then one rounding.
    n = W.numel() / len(expected)
    error = unit(found.dtype) + n * unit(torch.float64)
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=1.01 * error, atol=0)
    alive = group_alive(W, **how)
    assert alive.tolist() == [bool(group.any()) for group in members(W, axis, groups, block)]


@pytest.mark.parametrize("in_metric", [False, True], ids=["euclidean", "metric"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "layout", "groups", "block", "axis"), CASES)
def test_shrink(backend, shape, layout, groups, block, axis, dtype, in_metric):
    available(backend, dtype=dtype)
    W = weight(shape, layout, dtype)
    D = weight(shape, "contiguous", torch.float64, 1).abs().add(0.1).to(wide(dtype)) if in_metric else None
    how = {"axis": axis, "groups": groups, "block": block}
    of_W = members(W, axis, groups, block)
    of_D = [np.ones_like(group) for group in of_W] if D is None else members(D, axis, groups, block)
    sizes = [np.linalg.norm(w * d) for w, d in zip(of_W, of_D, strict=True)]
    # One threshold a group: dead, alive, and free of any threshold, in turn.
    shares = [(1.5, 0.3, 0.9, 0.0)[i % 4] for i in range(len(sizes))]
    tau = torch.tensor(sizes, dtype=torch.float64).mul(torch.tensor(shares)).to(wide(dtype))
    before = W.clone()
    U = group_shrink(W, tau, D, **how, backend=backend)
    assert torch.equal(W, before)
    assert U.dtype == dtype
    assert U.is_contiguous() or U.stride() == W.stride()
    assert U.data_ptr() != W.data_ptr()
    for w, d, t, u in zip(of_W, of_D, tau.double().tolist(), members(U, axis, groups, block), strict=True):
        expected = bisected(w, d, t)
        # The operator is Lipschitz; its factor and the product are rounded, and what is smaller than the smallest
        # normal number only to that.
        tolerance = 3 * unit(dtype) + 1e-9
        np.testing.assert_allclose(u, expected, rtol=tolerance, atol=float(torch.finfo(dtype).tiny))
        assert (u == 0).all() == (expected == 0).all()
        assert not np.signbit(u[expected == 0]).any() or (w[expected == 0] == 0).all()


@pytest.mark.parametrize("in_metric", [False, True], ids=["euclidean", "metric"])
@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("off", [-1e-6, -1e-12, 0.0, 1e-12, 1e-6])
def test_next_to_the_threshold(backend, layout, axis, in_metric, off):
    """In float64 the threshold is met to some units in the last place, from a cold start."""
    W = weight((64, 48, 3, 3), layout, torch.float64)
    D = weight(W.shape, layout, torch.float64, 1).abs().add(0.05) if in_metric else None
    of_W = members(W, axis, 1, 1)
    of_D = [np.ones_like(group) for group in of_W] if D is None else members(D, axis, 1, 1)
    sizes = np.array([np.linalg.norm(w * d) for w, d in zip(of_W, of_D, strict=True)])
    U = group_shrink(W, torch.tensor(sizes * (1 + off)), D, axis=axis, backend=backend)
    found = members(U, axis, 1, 1)
    if off > 0:
        assert not U.any()
    if off < 0:
        assert all(group.any() == (size > 0) for group, size in zip(found, sizes, strict=True))
        for w, d, size, u in zip(of_W, of_D, sizes, found, strict=True):
            expected = bisected(w, d, size * (1 + off))
            # A unit in the last place of the sum moves θ by that over what is left of the group.
            np.testing.assert_allclose(u, expected, rtol=1e-9 + 1e-14 / abs(off), atol=0)


def test_float32_is_decided_as_float64(backend):
    """Sums of 9216 squares in float32 err by more than what decides here."""
    W = weight((1024, 64, 3, 3), "contiguous", torch.float32)
    norms = torch.tensor([np.linalg.norm(group) for group in members(W, "in", 1, 1)])
    above = torch.nextafter(norms.float(), torch.tensor(torch.inf)).float()
    below = torch.nextafter(norms.float(), torch.tensor(0.0)).float()
    assert not group_shrink(W, above, backend=backend).any()
    alive = group_alive(group_shrink(W, below, backend=backend), backend=backend)
    assert alive.tolist() == [False] + [True] * 63  # the first channel is 0


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # the interpreter computes with NumPy
@pytest.mark.parametrize("in_metric", [False, True], ids=["euclidean", "metric"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_nan_stays_visible_in_its_group_alone(backend, bad, in_metric):
    W = weight((8, 6, 3, 3), "contiguous", torch.float32)
    W[2, 3, 1, 1] = bad
    W[:, 5] = 0
    D = torch.rand(W.shape).add(0.1) if in_metric else None
    U = group_shrink(W, 0.5, D, backend=backend)
    assert not U[:, 3].isfinite().all()
    assert U[:, [0, 1, 2, 4, 5]].isfinite().all()
    assert not U[:, 5].any()
    assert group_alive(W, backend=backend).tolist() == [False, True, True, True, True, False]


@pytest.mark.parametrize("in_metric", [False, True], ids=["euclidean", "metric"])
def test_zeros_and_no_threshold(backend, in_metric):
    """0/0 does not occur, and zeros come out as +0."""
    W = torch.zeros(4, 3)
    W[0] = -0.0
    W[:, 1] = torch.tensor([1.0, -2.0, 0.0, 3.0])
    D = torch.full_like(W, 0.3) if in_metric else None
    for tau in (0.0, 1e-30, 1e30):
        U = group_shrink(W, tau, D, backend=backend)
        assert U.isfinite().all()
        assert not U[:, [0, 2]].any()
        assert not torch.signbit(U[:, [0, 2]]).any()
        torch.testing.assert_close(U[:, 1], W[:, 1] if tau < 1 else torch.zeros(4))
    assert torch.equal(group_shrink(W, 0.0, D, backend=backend)[:, 1], W[:, 1])


@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (4, 0, 3, 3), (4, 4, 0, 3), (0, 0)])
@pytest.mark.parametrize("axis", ["in", "out"])
def test_nothing_to_do(backend, shape, axis):
    W = torch.zeros(shape)
    count = shape[1] if axis == "in" else shape[0]
    for metric in (None, torch.ones(shape)):
        assert group_shrink(W, 1.0, metric, axis=axis, backend=backend).shape == shape
    norms, alive = group_norms(W, axis=axis, backend=backend), group_alive(W, axis=axis, backend=backend)
    assert norms.tolist() == [0.0] * count
    assert alive.tolist() == [False] * count


@settings(max_examples=60)
@given(
    # The square of what is smaller is 0.
    numbers=st.lists(st.floats(-1e3, 1e3).filter(lambda x: x == 0 or abs(x) > 1e-100), min_size=1, max_size=12),
    metrics=st.lists(st.floats(1e-4, 1e4), min_size=12, max_size=12),
    share=st.floats(0.0, 1.2),
)
def test_it_is_the_minimizer(numbers, metrics, share):
    """Optimality: D (W − U) = τ U / ‖U‖ where a group lives, ‖D W‖ ≤ τ where it does not."""
    W = torch.tensor(numbers, dtype=torch.float64)[:, None]
    D = torch.tensor(metrics[: len(numbers)], dtype=torch.float64)[:, None]
    force = float((D * W).norm())
    tau = share * force
    U = group_shrink(W, tau, D)
    if not U.any():
        assert force <= tau * (1 + 1e-12) or force == 0
    else:
        torch.testing.assert_close(D * (W - U), tau * U / U.norm(), rtol=1e-6, atol=1e-9 * force)


def test_against_a_convex_solver(backend):
    cvxpy = pytest.importorskip("cvxpy", reason="cvxpy is not installed")
    generator = np.random.default_rng(0)
    W, D = generator.normal(size=(6, 4)), generator.uniform(0.2, 3, (6, 4))
    tau = np.array([0.5, 2.0, 4.0, 9.0])
    U = cvxpy.Variable((6, 4))
    price = sum(tau[c] * cvxpy.norm(U[:, c]) for c in range(4))
    cvxpy.Problem(cvxpy.Minimize(cvxpy.sum(cvxpy.multiply(D, cvxpy.square(U - W))) / 2 + price)).solve()
    found = group_shrink(torch.tensor(W), torch.tensor(tau), torch.tensor(D), backend=backend)
    np.testing.assert_allclose(found.numpy(), U.value, atol=1e-4)


def test_every_instruction_set_agrees(instruction_sets):
    binary, names = instruction_sets
    W = weight((96, 130, 3, 3), "channels_last", torch.float32)
    D = weight(W.shape, "contiguous", torch.float32, 1).abs() + 0.1
    results = {}
    for name in names:
        binary.use_instruction_set(name)
        assert binary.facts()["instruction_set"] == name
        results[name] = (
            group_norms(W),
            group_shrink(W, 20.0),
            group_shrink(W, 9.0, D),
            group_shrink(W, 9.0, axis="out"),
        )
    for name in names[1:]:
        for found, expected in zip(results[name], results[names[0]], strict=True):
            # Orders of summation differ in float64; float32 results by a rounding.
            torch.testing.assert_close(found, expected, rtol=2.0**-22, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((521, 1031), "contiguous"),  # rows that begin anywhere in a vector
        ((151, 453, 2, 2), "channels_last"),
        ((65, 37, 11, 11), "contiguous"),  # long runs
        ((521, 1031), "sliced"),
    ],
)
def test_large_results_that_are_written_past_the_caches(shape, layout, axis, dtype):
    available("native", dtype=dtype)
    W = weight(shape, layout, dtype)
    tau = 1.001 * group_norms(W, axis=axis, backend="reference").median().double()  # no group is at it
    expected = group_shrink(W.double(), tau, axis=axis, backend="reference")
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = group_shrink(W, tau, axis=axis, backend="native")
            assert torch.equal(found == 0, expected.to(dtype) == 0)
            torch.testing.assert_close(found.double(), expected, rtol=4 * unit(dtype), atol=1e-7)
    finally:
        torch.set_num_threads(1)


def test_threads_change_nothing():
    available("native")
    W = weight((64, 512, 3, 3), "contiguous", torch.float32)
    D = weight(W.shape, "contiguous", torch.float32, 1).abs() + 0.1
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append((group_shrink(W, 25.0), group_shrink(W, 9.0, D), group_norms(W, axis="out")))
    finally:
        torch.set_num_threads(1)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


@pytest.mark.parametrize("name", ["native", "triton"])
def test_a_fast_backend_was_tested(name):
    """No native or no Triton test would make all of the above say nothing of them."""
    from tests.kernels.conftest import INTERPRETER

    if (name == "triton") != INTERPRETER:
        pytest.skip("in the other process")
    from lomt_kernels import registry

    assert registry._refusal("shrink", name, "cpu", torch.float32) is None


test_a_fast_backend_was_tested = pytest.mark.interpreter(test_a_fast_backend_was_tested)
