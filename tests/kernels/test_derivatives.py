"""Derivatives of group shrinkage: finite differences, and every backend against the reference."""

import pytest
import torch

from lomt_kernels import group_norms, group_shrink
from tests.kernels.conftest import available
from tests.kernels.weights import DTYPES, SHAPES, fits, weight

CASES = [
    pytest.param(*case, axis, id=f"{'x'.join(map(str, case[0]))}-{case[1]}-g{case[2]}-b{case[3]}-{axis}")
    for case in SHAPES
    for axis in ("in", "out")
    if fits(case[0], axis, case[2], case[3])
]


def thresholds(W, D, **how):
    """Dead and alive groups in turn, none near its threshold."""
    sizes = group_norms((W if D is None else W * D).detach(), **how)
    shares = torch.tensor([(0.3, 1.5, 0.7)[i % 3] for i in range(sizes.numel())])
    return (sizes * shares).clamp(min=1e-3)


@pytest.mark.parametrize("in_metric", [False, True], ids=["euclidean", "metric"])
@pytest.mark.parametrize("scalar", [False, True], ids=["tau-each", "tau-one"])
@pytest.mark.parametrize(
    ("shape", "layout", "groups", "block", "axis"),
    [
        ((4, 6, 2, 2), "contiguous", 1, 1, "in"),
        ((4, 6, 2, 2), "channels_last", 1, 2, "in"),
        ((6, 2, 3), "contiguous", 2, 1, "in"),
        ((6, 4), "contiguous", 1, 1, "out"),
        ((6, 2, 2, 2), "channels_last", 1, 3, "out"),
    ],
)
def test_finite_differences(backend, shape, layout, groups, block, axis, scalar, in_metric):
    how = {"axis": axis, "groups": groups, "block": block}
    W = weight(shape, layout, torch.float64)
    D = weight(shape, layout, torch.float64, 1).abs().add(0.2).requires_grad_() if in_metric else None
    tau = thresholds(W, D, **how)
    tau = (tau[1] if scalar else tau).detach().requires_grad_()
    inputs = (W.requires_grad_(), tau, *([] if D is None else [D]))
    assert torch.autograd.gradcheck(lambda *args: group_shrink(*args, **how, backend=backend), inputs)


@pytest.mark.parametrize("in_metric", [False, True], ids=["euclidean", "metric"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "layout", "groups", "block", "axis"), CASES)
def test_against_the_reference(backend, shape, layout, groups, block, axis, dtype, in_metric):
    available(backend, dtype=dtype)
    how = {"axis": axis, "groups": groups, "block": block}
    generator = torch.Generator().manual_seed(3)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    W = weight(shape, layout, dtype)
    D = weight(shape, "contiguous", wide, 1).abs() + 0.2 if in_metric else None
    tau = thresholds(W.double(), None if D is None else D.double(), **how).to(wide)
    # A gradient of other strides than the weight's.
    g = torch.randn((2, *shape), generator=generator).to(dtype).movedim(0, -1)[..., 1]
    results = []
    for name, number in ((backend, dtype), ("reference", torch.float64)):
        inputs = [x.to(number if x is W else torch.promote_types(wide, number)).requires_grad_() for x in (W, tau)]
        inputs += [] if D is None else [D.to(torch.promote_types(wide, number)).requires_grad_()]
        U = group_shrink(*inputs, **how, backend=name)
        results.append(torch.autograd.grad(U, inputs, g.to(number)))
    n = W.numel() / tau.numel()
    eps = torch.finfo(dtype).eps
    for found, expected, one in zip(*results, ("W", "tau", "D"), strict=False):
        # θ is kept in the wide type, and what the sums cancel is lost: √n roundings of the largest term.
        scale = float(expected.abs().max()) if expected.numel() else 0.0
        each = torch.finfo(wide).eps if one == "tau" else eps
        torch.testing.assert_close(
            found.double(), expected, rtol=8 * each, atol=scale * torch.finfo(wide).eps * (8 + n**0.5)
        )


def test_dead_groups_have_no_gradient(backend):
    W = weight((6, 4, 3, 3), "contiguous", torch.float32).requires_grad_()
    tau = torch.full((4,), 1e3, requires_grad=True)
    D = torch.ones_like(W).requires_grad_()
    for metric in (None, D):
        U = group_shrink(W, tau, metric, backend=backend)
        for gradient in torch.autograd.grad(U.sum(), [W, tau] if metric is None else [W, tau, D]):
            assert not gradient.any()


def test_only_what_is_asked_for():
    W, tau = torch.randn(4, 3), torch.tensor(0.5, requires_grad=True)
    group_shrink(W, tau).sum().backward()
    assert tau.grad.shape == ()
    with torch.no_grad():
        assert not group_shrink(W, tau).requires_grad


def test_no_second_derivative():
    W = torch.randn(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(group_shrink(W, 0.5).square().sum(), W, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
