"""The short way into ``_C``: the same bits as the long way has, or None where there is more to do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lomt_kernels import group_alive, group_norms, group_shrink, masked_conv2d, registry
from lomt_kernels import native as binary
from lomt_kernels.layout import AXES, group_count
from lomt_kernels.shrink import native
from tests.kernels.weights import DTYPES, SHAPES, weight


@pytest.fixture(autouse=True)
def _told_of_poison(_poisoned):
    """``_C`` keeps torch's functions: here, those that hand out poisoned memory."""
    if reason := native.refusal("cpu", torch.float32):
        pytest.skip(reason)
    if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        pytest.skip("this torch has no table of DLPack's functions, so there is no short way")
    binary.binary().set_torch(torch)


@pytest.fixture(scope="module", autouse=True)
def _told_of_torch():
    """Afterwards it has the ordinary functions again."""
    yield
    if binary.why_not() is None:
        binary.binary().set_torch(torch)


def short(operation, *arguments):
    return native.in_short(operation, None, *arguments)


def long(operation, weight, *arguments):
    *taus, axis, groups, block = arguments
    tensors = [tau if isinstance(tau, torch.Tensor) else torch.tensor(tau, dtype=torch.float64) for tau in taus]
    given = [*tensors, None, None] if taus else []
    return getattr(native, operation)(weight, *given, AXES.index(axis), groups, block)


def same(found, expected):
    assert type(found) is torch.Tensor
    assert not found.requires_grad
    assert (found.dtype, found.stride()) == (expected.dtype, expected.stride())
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(("shape", "layout", "groups", "block"), SHAPES)
def test_it_is_the_long_way(shape, layout, groups, block, axis, dtype):
    W = weight(shape, layout, dtype)
    if axis == "out" and (shape[0] // groups) % block:
        pytest.skip("blocks of output channels do not fit")
    how = (axis, groups, block)
    if layout in ("sliced", "permuted", "expanded"):
        assert short("group_norms", W, *how) is None
        return
    for operation in ("group_norms", "group_alive"):
        same(short(operation, W, *how), long(operation, W, *how))
    norms = group_norms(W, axis=axis, groups=groups, block=block)
    middle = norms.median()
    each = middle.double() * torch.linspace(0, 2, len(norms), dtype=torch.float64)
    for tau in (0.0, float(middle), middle.double(), middle.float(), middle.double().reshape(1), each):
        same(short("group_shrink", W, tau, *how), long("group_shrink", W, tau, *how)[0])


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    groups=st.integers(1, 3),
    block=st.integers(1, 3),
    axis=st.sampled_from(AXES),
    last=st.booleans(),
)
def test_any_size(sizes, groups, block, axis, last):
    out, inner, *kernel = sizes
    shape = (out * groups * block, inner * block, *kernel)
    W = torch.randn(shape)
    if last and len(shape) in (4, 5):
        W = W.contiguous(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)
    tau = torch.rand(group_count(W, AXES.index(axis), groups, block), dtype=torch.float64) * 2
    how = (axis, groups, block)
    same(short("group_norms", W, *how), long("group_norms", W, *how))
    same(short("group_shrink", W, tau, *how), long("group_shrink", W, tau, *how)[0])


W = torch.randn(4, 6, 3, 3)


@pytest.mark.parametrize(
    ("weight", "tau", "how"),
    [
        ([1.0], 0.1, ("in", 1, 1)),
        (None, 0.1, ("in", 1, 1)),
        (W.int(), 0.1, ("in", 1, 1)),
        (W.to(torch.complex64), 0.1, ("in", 1, 1)),
        (W.to("meta"), 0.1, ("in", 1, 1)),
        (W.flatten(1).to_sparse(), 0.1, ("in", 1, 1)),
        (W[:0], 0.1, ("in", 1, 1)),
        (W[:, :, :0], 0.1, ("in", 1, 1)),
        (W[:, ::2], 0.1, ("in", 1, 1)),
        (W.flatten(), 0.1, ("in", 1, 1)),
        (torch._neg_view(W), 0.1, ("in", 1, 1)),
        (torch._efficientzerotensor(4, 4), 0.1, ("in", 1, 1)),
        (W.as_subclass(type("Mine", (torch.Tensor,), {})), 0.1, ("in", 1, 1)),
        (nn.Parameter(W), 0.1, ("in", 1, 1)),
        (W, torch.tensor(0.1, requires_grad=True), ("in", 1, 1)),
        (W, -0.1, ("in", 1, 1)),
        (W, float("nan"), ("in", 1, 1)),
        (W, torch.tensor(float("nan")), ("in", 1, 1)),
        (W, torch.tensor([0.1, 0.1, 0.1, 0.1, 0.1, -0.1], dtype=torch.float64), ("in", 1, 1)),
        (W, torch.full((6,), 0.1), ("in", 1, 1)),  # one a group: float64 only
        (W, torch.full((5,), 0.1, dtype=torch.float64), ("in", 1, 1)),
        (W, torch.full((6, 1), 0.1, dtype=torch.float64), ("in", 1, 1)),
        (W, torch.tensor(1), ("in", 1, 1)),
        (W, 1, ("in", 1, 1)),
        (W, "0.1", ("in", 1, 1)),
        (W, 0.1, ("side", 1, 1)),
        (W, 0.1, (0, 1, 1)),
        (W, 0.1, ("in", 0, 1)),
        (W, 0.1, ("in", 3, 1)),
        (W, 0.1, ("in", 1, 4)),
        (W, 0.1, ("out", 1, 3)),
        (W, 0.1, ("in", -1, -1)),
        (W, 0.1, ("in", 2**70, 1)),
        (W, 0.1, ("in", 1.0, 1)),
    ],
)
def test_what_is_out_of_the_ordinary_goes_the_long_way(weight, tau, how):
    assert short("group_shrink", weight, tau, *how) is None


def test_a_parameter_is_plain_where_no_derivative_is_asked_for():
    weight = nn.Parameter(W.clone())
    with torch.no_grad():
        same(short("group_shrink", weight, 0.1, "in", 1, 1), long("group_shrink", W, 0.1, "in", 1, 1)[0])
    assert group_shrink(weight, 0.1).requires_grad
    same(short("group_norms", weight, "in", 1, 1), long("group_norms", W, "in", 1, 1))


def test_nobody_who_watches_is_passed_by():
    with FakeTensorMode():
        assert group_norms(torch.empty(4, 4)).shape == (4,)
    seen = []

    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with Mode():
        group_norms(W)
        group_alive(W)
        group_shrink(W, 0.1)
    with torch.profiler.profile(acc_events=True) as profile:
        group_shrink(W, 0.1)
    names = ("group_norms", "group_alive", "group_shrink")
    assert [f"lomt_kernels.{name}.default" for name in names] == [name for name in seen if "lomt" in name]
    assert "lomt_kernels::group_shrink" in {event.key for event in profile.key_averages()}
    with FlopCounterMode(display=False):
        assert registry.traced()
    assert not registry.traced()


def test_another_backend_is_another_way(monkeypatch):
    assert native.in_short("group_norms", "reference", W, "in", 1, 1) is None
    assert native.in_short("group_norms", "native", W, "in", 1, 1) is not None
    monkeypatch.setattr(registry, "ASKED", "reference")
    assert native.in_short("group_norms", None, W, "in", 1, 1) is None
    assert native.in_short("group_norms", "native", W, "in", 1, 1) is not None


def test_without_a_table_there_is_no_short_way():
    """As in torch before 2.10."""

    class Old:
        Tensor = object

    binary.binary().set_torch(Old)
    assert short("group_norms", W, "in", 1, 1) is None
    same(group_norms(W), long("group_norms", W, "in", 1, 1))


def test_errors_are_those_of_the_long_way():
    with pytest.raises(ValueError, match="thresholds are 0 or more"):
        group_shrink(W, torch.tensor(-1.0))
    with pytest.raises(TypeError, match="5 arguments"):
        binary.binary().group_norms(W, 0.1, "in", 1, 1)


def test_a_view_that_negates_is_read_as_it_says():
    negated = torch._neg_view(W)
    same(group_shrink(negated, 0.1, backend="native"), -group_shrink(W, 0.1))
    x, layer = torch.randn(1, 6, 5, 5), torch.randn(3, 6, 3, 3)
    torch.testing.assert_close(masked_conv2d(torch._neg_view(x), layer), -masked_conv2d(x, layer))
