"""The channel-masked convolution of every backend against the dense one, on all layouts, dtypes and corners."""

import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lomt_kernels import (
    LiveList,
    gather_channels,
    group_shrink,
    masked_conv2d,
    masked_conv2d_readers,
    registry,
    shrunk_conv2d,
)
from tests.kernels import maps
from tests.kernels.conftest import INTERPRETER, available
from tests.kernels.maps import CASES, DTYPES, NAMES, SETTINGS, Case, Setting, assert_right, laid, problem

BACKENDS = ["native", pytest.param("triton", marks=pytest.mark.interpreter), "reference"]
WINDOW = Case((2, 6, 5, 6), (6, 3, 3, 2), (2, 1), (1, 2), (1, 2), 2)
"""A small convolution of every complication."""


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Every backend that works on this machine's processor."""
    available(request.param, operation="masked_conv2d")
    return request.param


def run(made, backend):
    """Output and gradients."""
    arguments, how = made.arguments
    inputs = [None if v is None else v.detach().requires_grad_() for v in (*arguments[:3], how["scale"])]
    y = masked_conv2d(*inputs[:3], *arguments[3:], **how | {"scale": inputs[3]}, backend=backend)
    wanted = {name: v for name, v in zip(NAMES[1:], inputs, strict=True) if v is not None}
    return {"y": y.detach()} | dict(zip(wanted, torch.autograd.grad(y, list(wanted.values()), made.grad), strict=True))


def slow(backend, wanted):
    """Skip what Triton's interpreter would take too long for, unless it is wanted there."""
    if backend == "triton" and not wanted:
        pytest.skip("slow in the interpreter")


# In float32 all cases in all settings, in other dtypes each third.
PROBLEMS = [
    (case, setting, dtype)
    for i, case in enumerate(CASES)
    for j, setting in enumerate(SETTINGS)
    for k, dtype in enumerate(DTYPES)
    if k == 0 or (i + j + k) % 3 == 0
]
SMALL = [case for case, each in CASES.items() if math.prod(each.x) * math.prod(each.weight) < 300_000]
FOR_THE_INTERPRETER = {
    (case, list(SETTINGS)[(i + k) % len(SETTINGS)], dtype)
    for i, case in enumerate(SMALL)
    for k, dtype in enumerate(DTYPES)
    if i % 2 == 0 and (k == 0 or i % 3 == 0)
}


@pytest.mark.parametrize(("case", "setting", "dtype"), PROBLEMS, ids=str)
def test_output_and_gradients(backend, case, setting, dtype):
    available(backend, dtype=dtype, operation="masked_conv2d")
    slow(backend, (case, setting, dtype) in FOR_THE_INTERPRETER)
    made = problem(CASES[case], SETTINGS[setting], dtype)
    found = run(made, backend)
    assert_right(found, made)
    assert_dead(found, made)
    for name, tensor in zip(NAMES[1:], (made.x, made.weight, made.bias, made.scale), strict=True):
        assert tensor is None or found[name].dtype == tensor.dtype


def assert_dead(found, made):
    """Exactly zero, and a dead output its bias."""
    ins, outs, how = made.ins, made.outs, made.setting
    channel = made.x.ndim - made.case.dims - 1
    assert not found["x"].movedim(channel, 0)[~ins].any()
    dead = found["y"].movedim(channel, 0)[~outs]
    if made.bias is None or how.dead_out == "zero":
        assert not dead.any()
    else:
        assert torch.equal(dead, made.bias[~outs].reshape(-1, *[1] * (dead.ndim - 1)).expand_as(dead))
    if how.dead_out == "zero":
        assert made.bias is None or not found["bias"][~outs].any()
        assert not found["weight"][~outs].any()
    if not how.revive:
        assert not found["weight"][~made.pairs()].any()
        assert made.scale is None or not found["scale"][~ins].any()


def test_number_by_number(backend):
    case = Case((2, 4, 4, 5), (6, 2, 2, 3), (2, 1), (1, 2), (1, 2), 2)
    for dead_out in ("bias", "zero"):
        made = problem(case, Setting(outs="half", scaled=True, dead_out=dead_out), torch.float64)
        arguments, how = made.arguments
        y = masked_conv2d(*arguments, **how, backend=backend)
        by_hand = maps.by_loops(*arguments[:3], made.scale, case, made.ins, made.outs, dead_out)
        torch.testing.assert_close(y, by_hand, rtol=1e-12, atol=1e-12)


def test_every_instruction_set(instruction_sets):
    available("native", operation="masked_conv2d")
    binary, names = instruction_sets
    for name in names:
        binary.use_instruction_set(name)
        for case in ("1x1-wide", "3x3-wide", "groups", "depthwise", "1d"):
            for setting in ("channels_last", "narrow-zero", "sliced", "permuted", "expanded"):
                for dtype in DTYPES:
                    made = problem(CASES[case], SETTINGS[setting], dtype, seed=1)
                    found = run(made, "native")
                    assert_right(found, made)
                    assert_dead(found, made)


@settings(max_examples=4 if INTERPRETER else 100)
@given(data=st.data())
@pytest.mark.parametrize("name", BACKENDS)
def test_any_window_is_that_of_a_dense_convolution(name, data):
    available(name, operation="masked_conv2d")
    groups, inner, outer = (data.draw(st.integers(1, most)) for most in (3, 5, 4))
    kernel, stride, dilation, padding = (
        tuple(data.draw(st.integers(least, most)) for _ in range(2)) for least, most in ((1, 4), (1, 3), (1, 3), (0, 5))
    )
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = tuple(n + data.draw(st.integers(0, 6)) for n in least)
    case = Case(
        (data.draw(st.integers(1, 3)), groups * inner, *size),
        (groups * outer, inner, *kernel),
        *(stride, padding, dilation, groups),
    )
    layouts, shares = st.sampled_from(["contiguous", "channels_last", "sliced", "permuted", "expanded"]), [None, "half"]
    setting = Setting(
        *(data.draw(layouts) for _ in range(3)),
        *(data.draw(st.sampled_from([*shares, "one", "none", "all"])) for _ in range(2)),
        data.draw(st.sampled_from(["mask", "indices", "numbers", "live"])),
        data.draw(st.sampled_from(["bias", "zero"])),
        *(data.draw(st.booleans()) for _ in range(3)),
    )
    made = problem(case, setting, torch.float32 if name == "triton" else torch.float64, data.draw(st.integers(0, 99)))
    found = run(made, name)
    assert_right(found, made)
    assert_dead(found, made)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("revive", [False, True])
@pytest.mark.parametrize("dead_out", ["bias", "zero"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_several_readers_of_one_map(backend, layout, dead_out, revive, groups):
    """Of other widths and lists, one without a live channel, one of all, and one whose output nobody uses."""
    slow(backend, (layout, dead_out, groups) == ("channels_last", "zero", 1))
    how = [
        Setting(layout, ins="half", outs="half", scaled=True, dead_out=dead_out, revive=revive),
        Setting(layout, ins="none", outs=None, kind="live", dead_out=dead_out, revive=revive),
        Setting(layout, ins=None, outs="one", kind="numbers", scaled=True, dead_out=dead_out, revive=revive),
        Setting(layout, ins="half", outs="none", kind="indices", biased=False, dead_out=dead_out, revive=revive),
        Setting(layout, ins="one", outs="half", dead_out=dead_out, revive=revive),
    ]
    cases = [Case((2, 8, 6, 5), (width, 8 // groups, 3, 3), 1, 1, 1, groups) for width in (6, 4, 2, 10, 8)]
    problems = [problem(case, s, torch.float32, i) for i, (case, s) in enumerate(zip(cases, how, strict=True))]
    # What one reader must not read another may: only what is dead to all holds NaNs.
    x = problem(cases[0], Setting(layout, ins="all", revive=True), torch.float32).x.clone()
    problems = [p._replace(x=x) for p in problems]
    unused = 4
    leaves, inputs = [], []
    for p in problems:
        inputs.append([None if v is None else v.clone().requires_grad_() for v in (p.weight, p.bias, p.scale)])
        leaves += [v for v in inputs[-1] if v is not None]
    shared = x.clone().requires_grad_()
    weights, biases, scales = zip(*inputs, strict=True)
    outputs = masked_conv2d_readers(
        *(shared, weights, biases, *cases[0].window),
        live_in=[p.arguments[1]["live_in"] for p in problems],
        live_out=[p.arguments[1]["live_out"] for p in problems],
        scales=scales,
        dead_out=dead_out,
        revive=revive,
        backend=backend,
    )
    assert len({y.untyped_storage().data_ptr() for y in outputs}) == len(outputs)
    loss = sum((y * p.grad).sum() for y, p in zip(outputs[:unused], problems, strict=False))
    to_x, *grads = torch.autograd.grad(loss, [shared, *leaves], allow_unused=True, materialize_grads=True)
    total, bound = 0.0, 0.0
    grads = iter(grads)
    for i, (p, y, parts) in enumerate(zip(problems, outputs, inputs, strict=True)):
        p = p._replace(grad=torch.zeros_like(p.grad)) if i == unused else p
        found = {"y": y.detach()}
        found |= {n: next(grads) for n, v in zip(NAMES[2:], parts, strict=True) if v is not None}
        assert_right(found, p)
        values = [None if v is None else v.double() for v in (p.x, p.weight, p.bias, p.scale, p.grad)]
        total = total + maps.expected(p, values, torch.float64)["x"]
        bound = bound + maps.expected(p, [None if v is None else v.abs() for v in values], torch.float64)["x"]
    assert ((to_x - total).abs() <= 1e-6 * bound + 1e-7).all()
    dead = ~torch.stack([p.ins for p in problems[:unused] if p.setting.outs != "none"]).any(0)
    assert not to_x[:, dead].any()


def test_readers_read_nothing_that_is_dead_to_all(backend):
    x = torch.randn(2, 6, 5, 5)
    x[:, [1, 4]] = torch.nan
    x.requires_grad_()
    weights = [torch.randn(4, 6, 3, 3, requires_grad=True) for _ in range(2)]
    lists = [torch.tensor([0, 2]), torch.tensor([2, 3, 5])]
    outputs = masked_conv2d_readers(x, weights, padding=1, live_in=lists, backend=backend)
    loss = sum(y.square().sum() for y in outputs)
    for grad in (loss, *torch.autograd.grad(loss, (x, *weights))):
        assert grad.isfinite().all()


def test_a_reader_out_of_the_loss_has_no_gradient(backend):
    x = torch.randn(2, 6, 5, 5, requires_grad=True)
    parts = [(torch.randn(4, 6, 3, 3, requires_grad=True), torch.randn(4, requires_grad=True)) for _ in range(3)]
    weights, biases = zip(*parts, strict=True)
    live = [torch.tensor([0, 2]), torch.tensor([2, 3, 5]), None]
    outputs = masked_conv2d_readers(x, weights, biases, padding=1, live_in=live, backend=backend)
    alone = masked_conv2d(x, weights[1], biases[1], padding=1, live_in=live[1], backend=backend)
    wanted = torch.autograd.grad(alone.square().sum(), (x, *parts[1]))
    found = torch.autograd.grad(outputs[1].square().sum(), (x, *weights, *biases), allow_unused=True)
    assert [each is None for each in found] == [False, True, False, True, True, False, True]
    for ours, theirs in zip((found[0], found[2], found[5]), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "permuted", "expanded"])
@pytest.mark.parametrize("weight_layout", ["contiguous", "channels_last", "sliced", "permuted"])
@pytest.mark.parametrize(
    "case", ["1x1", "3x3", "1x1-one-pixel", "one-channel", "depthwise", "1d", "unbatched", "7x7-stride2"]
)
def test_outputs_lie_in_memory_as_torch_puts_them(backend, case, layout, weight_layout):
    slow(backend, case in ("1x1", "3x3") and layout == weight_layout)
    if case == "1d" and "channels_last" in (layout, weight_layout):
        pytest.skip("of 1-D maps torch has no channels_last")
    case = CASES[case]
    made = problem(case, Setting(layout, weight_layout, outs="half", revive=True), torch.float32)
    arguments, how = made.arguments
    x = made.x.detach().requires_grad_()
    y = masked_conv2d(x, *arguments[1:], **how, backend=backend)
    expected = maps.convolution(made.x, made.weight, made.bias, case)
    # Strides of dimensions of size 1 mean nothing.
    significant = [d for d in range(y.ndim) if y.shape[d] > 1]
    assert [y.stride(d) for d in significant] == [expected.stride(d) for d in significant]
    (grad,) = torch.autograd.grad(y, x, made.grad)
    assert grad.numel() == 0 or sum((n - 1) * s for n, s in zip(grad.shape, grad.stride(), strict=True)) < grad.numel()


@pytest.mark.parametrize("case", ["3x3", "1x1", "depthwise", "1d", "same-even"])
@pytest.mark.parametrize("setting", ["channels_last", "sliced", "expanded", "unmasked"])
def test_inputs_are_left_alone_and_results_are_new(backend, case, setting):
    slow(backend, (case, setting) in (("3x3", "channels_last"), ("depthwise", "sliced")))
    made = problem(CASES[case], SETTINGS[setting], torch.float32)
    given = [v for v in (made.x, made.weight, made.bias, made.scale, made.grad) if v is not None]
    before = [v.clone() for v in given]
    found = run(made, backend)
    for tensor, old in zip(given, before, strict=True):
        torch.testing.assert_close(tensor, old, rtol=0, atol=0, equal_nan=True)
    places = [v.untyped_storage().data_ptr() for v in (*given, *found.values())]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("case", ["3x3-wide", "1x1-wide", "resnext", "7x7-stride2"])
@pytest.mark.parametrize("setting", ["channels_last", "narrow-zero", "plain", "expanded"])
def test_two_runs_are_equal_and_threads_agree(backend, case, setting):
    slow(backend, (case, setting) == ("1x1-wide", "channels_last"))
    made = problem(CASES[case], SETTINGS[setting], torch.float32)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            first, second = run(made, backend), run(made, backend)
            for name, value in first.items():
                assert torch.equal(value, second[name]), name
            assert_right(first, made)
            assert_dead(first, made)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_all_dtypes_of_scale(backend, layout):
    """A gate may be of another dtype than the weights, and its gradient has the gate's."""
    slow(backend, layout == "contiguous")
    for dtype, gate in (
        (torch.float32, torch.float64),
        (torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float32),
    ):
        if registry._refusal("conv", backend, "cpu", dtype):
            continue
        made = problem(CASES["groups"], Setting(layout, outs="half", scaled=True), dtype)
        made = made._replace(scale=made.scale.to(gate))
        found = run(made, backend)
        assert found["scale"].dtype == gate
        assert_right(found, made)


@pytest.mark.parametrize(
    "live", [None, True, torch.tensor([True, False, True]), torch.tensor([2, 0]), [2, 0], (0, 2), range(0, 3, 2)]
)
def test_whatever_tells_live_channels(backend, live):
    x, weight = torch.randn(2, 3, 4, 4), torch.randn(3, 3, 3, 3)
    mask = torch.ones(3, dtype=torch.bool) if live is None else torch.tensor([True, False, True])
    given = LiveList.of(mask, 3) if live is True else live
    expected = maps.dense(x, weight, None, None, Case(x.shape, weight.shape), mask, mask, "bias")
    torch.testing.assert_close(masked_conv2d(x, weight, live_in=given, live_out=given, backend=backend), expected)


@pytest.mark.parametrize("revive", [False, True])
def test_nothing_alive_leaves_the_bias(backend, revive):
    x, weight, bias, scale = (
        t.requires_grad_() for t in (torch.randn(2, 3, 4, 4), torch.randn(5, 3, 3, 3), torch.randn(5), torch.randn(3))
    )
    for none in ([], torch.zeros(0, dtype=torch.int64), torch.zeros(3, dtype=torch.bool)):
        y = masked_conv2d(x, weight, bias, live_in=none, scale=scale, revive=revive, backend=backend)
        assert torch.equal(y, bias[None, :, None, None].expand_as(y))
        to_x, to_weight, to_bias, to_scale = torch.autograd.grad(y.sum(), (x, weight, bias, scale))
        assert not to_x.any()
        assert to_bias.tolist() == [8.0] * 5
        assert bool(to_weight.any()) == bool(to_scale.any()) == revive
    y = masked_conv2d(x, weight, bias, live_out=[], dead_out="zero", backend=backend)
    assert not y.any()
    assert not any(grad.any() for grad in torch.autograd.grad(y.sum(), (x, weight, bias)))


def test_a_revived_channel_has_the_gradient_that_brings_it_back(backend):
    """One step of descent on a dead channel alone lowers what the dense convolution's loss is."""
    x, weight = torch.randn(4, 3, 5, 5, dtype=torch.float64), torch.randn(2, 3, 3, 3, dtype=torch.float64)
    target = torch.conv2d(x, weight)
    weight[:, 1] = 0
    weight.requires_grad_()
    y = masked_conv2d(x, weight, live_in=[0, 2], revive=True, backend=backend)
    (grad,) = torch.autograd.grad((y - target).square().sum(), weight)
    assert grad[:, 1].any()
    (dense,) = torch.autograd.grad((torch.conv2d(x, weight) - target).square().sum(), weight)
    torch.testing.assert_close(grad, dense)


@pytest.mark.parametrize("needs", range(1, 16))
def test_only_what_is_asked_for(backend, needs):
    slow(backend, needs == 12)
    made = problem(WINDOW, Setting(outs="half", scaled=True), torch.float32)
    everything = run(made, backend)
    inputs = [
        v.clone().requires_grad_(bool(needs >> i & 1))
        for i, v in enumerate((made.x, made.weight, made.bias, made.scale))
    ]
    arguments, how = made.arguments
    y = masked_conv2d(*inputs[:3], *arguments[3:], **how | {"scale": inputs[3]}, backend=backend)
    y.backward(made.grad)
    for name, value in zip(NAMES[1:], inputs, strict=True):
        assert (value.grad is not None) == value.requires_grad
        if value.requires_grad:
            torch.testing.assert_close(value.grad, everything[name])
    with torch.no_grad():
        assert not masked_conv2d(*inputs[:3], *arguments[3:], **how, backend=backend).requires_grad


@pytest.mark.parametrize("case", ["3x3", "groups", "1d"])
def test_nothing_is_saved_but_what_was_given(case):
    """No narrow copy: the input is there anyway, for the layer before it saved it."""
    made = problem(CASES[case], Setting("channels_last", outs="half", scaled=True), torch.float32)
    arguments, how = made.arguments
    given = [v.requires_grad_() for v in (made.x, made.weight, made.scale)]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        masked_conv2d(given[0], given[1], *arguments[2:], **how)
    floats = {t.untyped_storage().data_ptr() for t in saved if t.is_floating_point()}
    assert floats == {t.untyped_storage().data_ptr() for t in given}
    assert sum(t.numel() for t in saved if not t.is_floating_point()) <= made.case.channels + made.case.weight[0] + 2


GRADCHECKS = [
    ("complicated", WINDOW, "contiguous"),
    ("channels_last", Case((2, 4, 4, 3), (3, 4, 2, 2), 1, 1), "channels_last"),
    ("depthwise", Case((1, 3, 4, 4), (3, 1, 3, 3), 2, 1, 1, 3), "contiguous"),
    ("1d", Case((2, 4, 6), (4, 2, 3), 1, "same", 1, 2, "circular"), "contiguous"),
    ("unbatched", Case((3, 4, 4), (2, 3, 2, 2), 1, "same"), "contiguous"),
]


@pytest.mark.parametrize(("case", "layout"), [each[1:] for each in GRADCHECKS], ids=[each[0] for each in GRADCHECKS])
@pytest.mark.parametrize("dead_out", ["bias", "zero"])
def test_finite_differences(backend, case, layout, dead_out):
    available(backend, dtype=torch.float64, operation="masked_conv2d")
    slow(backend, False)
    made = problem(
        case, Setting(layout, layout, outs="half", scaled=True, dead_out=dead_out, revive=True), torch.float64
    )
    arguments, how = made.arguments
    how |= {"revive": False, "backend": backend}
    inputs = [v.requires_grad_() for v in (made.x, made.weight, made.bias, made.scale)]

    def function(x, weight, bias, scale):
        return masked_conv2d(x, weight, bias, *arguments[3:], **how | {"scale": scale})

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_second_derivatives_of_readers(backend):
    available(backend, dtype=torch.float64, operation="masked_conv2d")
    slow(backend, False)
    x = torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = [torch.randn(out, 3, 2, 2, dtype=torch.float64, requires_grad=True) for out in (2, 3)]

    def function(x, *weights):
        return tuple(masked_conv2d_readers(x, weights, live_in=[[0, 2], [1]], live_out=[None, [1]], backend=backend))

    assert torch.autograd.gradcheck(function, (x, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (x, *weights), fast_mode=True)


SHRUNK = [
    ("scalar", Case((2, 6, 5, 4), (4, 6, 3, 2), (2, 1), 1), 1, True),
    ("each", Case((2, 6, 5, 4), (4, 6, 3, 2), (2, 1), 1), 1, False),
    ("blocks", Case((2, 6, 4, 4), (4, 6, 2, 2), 1, 1), 3, False),
    ("groups", Case((2, 8, 4, 4), (4, 4, 2, 2), 1, "same", 1, 2), 2, False),
    ("depthwise", Case((2, 4, 4, 4), (4, 1, 3, 3), 1, 1, 1, 4), 1, True),
    ("1d", Case((2, 4, 6), (4, 2, 3), 1, 1, 1, 2), 1, False),
]


def shrinking(case, block, scalar, layout="contiguous", dtype=torch.float64):
    """Tensors, of which half the groups die; none is near its threshold."""
    made = problem(case, Setting(layout, layout, ins="all", revive=True), dtype)
    parts = made.weight.double().reshape(case.groups, -1, case.weight[1] // block, block, *case.weight[2:])
    norms = parts.square().sum((1, *range(3, parts.ndim))).sqrt().reshape(-1)
    if scalar:
        ranked = norms.sort().values
        tau = ranked[(len(norms) - 1) // 2 : (len(norms) - 1) // 2 + 2].mean()
    else:
        tau = norms * torch.tensor([(0.3, 1.5)[i % 2] for i in range(len(norms))])
    return made, tau.to(torch.promote_types(dtype, torch.float32))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("case", "block", "scalar"), [e[1:] for e in SHRUNK], ids=[e[0] for e in SHRUNK])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_shrunk_is_the_convolution_of_the_shrunk_weight(backend, case, block, scalar, layout, dtype):
    available(backend, dtype=dtype, operation="masked_conv2d")
    slow(backend, (block, layout, dtype) == (2, "channels_last", torch.float32))
    made, tau = shrinking(case, block, scalar, layout, dtype)
    results = []
    for fused in (True, False):
        inputs = [v.detach().clone().requires_grad_() for v in (made.x, made.weight, made.bias, tau)]
        x, weight, bias, price = inputs
        if fused:
            y = shrunk_conv2d(x, weight, bias, *case.window, tau=price, block=block, backend=backend)
        else:
            shrunk = group_shrink(weight, price, groups=case.groups, block=block, backend="reference")
            y = maps.convolution(x, shrunk, bias, case)
        results.append((y, *torch.autograd.grad(y, inputs, made.grad)))
    assert any(not results[1][2].select(1, c).any() for c in range(case.weight[1])) or case.groups > 1
    for found, expected in zip(*results, strict=True):
        size = float(expected.detach().abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=size * 40 * torch.finfo(dtype).eps)
    fused, plain = results[0][2], results[1][2]
    assert torch.equal(fused == 0, plain == 0)


@pytest.mark.parametrize(("case", "block", "scalar"), [e[1:] for e in SHRUNK], ids=[e[0] for e in SHRUNK])
def test_finite_differences_of_shrunk(backend, case, block, scalar):
    available(backend, dtype=torch.float64, operation="masked_conv2d")
    slow(backend, False)
    made, tau = shrinking(case, block, scalar)
    inputs = [v.requires_grad_() for v in (made.x, made.weight, made.bias, tau)]

    def function(x, weight, bias, tau):
        return shrunk_conv2d(x, weight, bias, *case.window, tau=tau, block=block, backend=backend)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_shrunk_by_nothing_and_by_everything(backend):
    x, weight, bias = torch.randn(2, 4, 5, 5), torch.randn(3, 4, 3, 3), torch.randn(3)
    torch.testing.assert_close(shrunk_conv2d(x, weight, bias, tau=0.0, backend=backend), torch.conv2d(x, weight, bias))
    y = shrunk_conv2d(x, weight, bias, tau=1e9, backend=backend)
    assert torch.equal(y, bias[None, :, None, None].expand_as(y))
    weight[:, 2], x[:, 2] = 0, torch.nan
    weight.requires_grad_()
    tau = torch.tensor(0.0, requires_grad=True)
    y = shrunk_conv2d(x, weight, bias, tau=tau, backend=backend)
    assert y.isfinite().all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(y.sum(), (weight, tau)))
    with torch.no_grad():
        weight[0, 1] = torch.nan
    assert shrunk_conv2d(x, weight, bias, tau=1.0, backend=backend).isnan().any()


class Layer(nn.Module):
    def __init__(self, backend):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 6, 3, 3)), nn.Parameter(torch.randn(4))
        self.backend = backend

    def forward(self, x):
        return masked_conv2d(x, self.weight, self.bias, live_in=[0, 2, 5], live_out=[1, 2], backend=self.backend)


def test_functional_transforms(backend):
    layer, x = Layer(backend), torch.randn(2, 6, 5, 5)
    parameters = dict(layer.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,)).square().sum()

    found = torch.func.grad(loss)(parameters, x)
    expected = torch.autograd.grad(layer(x).square().sum(), list(parameters.values()))
    for name, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(found[name], value)
    value, pull = torch.func.vjp(lambda x: layer(x), x)
    torch.testing.assert_close(value, layer(x))
    assert not pull(torch.ones_like(value))[0][:, [1, 3, 4]].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(backend, dtype):
    """A narrow map with float32 weights: the convolution is narrow, and gradients are of their tensors' dtypes."""
    available(backend, dtype=dtype, operation="masked_conv2d")
    made = problem(CASES["3x3"], Setting("channels_last", outs="half", scaled=True), torch.float32)
    arguments, how = made.arguments
    for own in (torch.float32, dtype):
        x, weight, bias, scale = inputs = [
            v.detach().clone().requires_grad_() for v in (made.x.to(own), made.weight, made.bias, made.scale)
        ]
        with torch.autocast("cpu", dtype):
            y = masked_conv2d(x, weight, bias, *arguments[3:], **how | {"scale": scale}, backend=backend)
            torchs = torch.conv2d(x, weight, bias, *arguments[3:])
            assert y.dtype == torchs.dtype == dtype
            loss = (y.float() * made.grad).sum()
        grads = torch.autograd.grad(loss, inputs)
        assert [g.dtype for g in grads] == [own, torch.float32, torch.float32, torch.float32]
        narrow = made._replace(
            x=made.x.to(dtype), weight=made.weight.to(dtype), bias=made.bias.to(dtype), grad=made.grad.to(dtype)
        )
        assert_right(dict(zip(NAMES, (y.detach(), *grads), strict=True)), narrow)
    with torch.autocast("cpu", dtype):
        x, weight = torch.randn(1, 2, 3, 3, dtype=torch.float64), torch.randn(1, 2, 3, 3, dtype=torch.float64)
        assert masked_conv2d(x, weight, backend="reference").dtype == torch.conv2d(x, weight).dtype == torch.float64


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "permuted", "expanded"])
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_gathered_channels(backend, layout, rectify, scaled, dtype):
    available(backend, dtype=dtype, operation="gather_channels")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 37, 4, 5, generator=generator, dtype=torch.float64)
    kept = torch.tensor([36, 0, 7, 8, 9, 20])
    dead = torch.ones(37, dtype=torch.bool).index_fill(0, kept, False)
    x[:, dead] = torch.nan
    x = laid(x.to(dtype), layout)
    scale, shift = (torch.randn(37, generator=generator) if scaled else None for _ in range(2))
    inputs = [None if v is None else v.detach().requires_grad_() for v in (x, scale, shift)]
    found = gather_channels(inputs[0], kept, scale=inputs[1], shift=inputs[2], rectify=rectify, backend=backend)
    assert found.dtype == dtype
    assert found.is_contiguous(
        memory_format=torch.channels_last if layout == "channels_last" else torch.contiguous_format
    )
    exact = [None if v is None else v.detach().double().requires_grad_() for v in inputs]
    expected = exact[0][:, kept]
    if scaled:
        expected = expected * exact[1][kept][None, :, None, None] + exact[2][kept][None, :, None, None]
    expected = expected.relu() if rectify else expected
    unit = torch.finfo(dtype).eps
    if not scaled:
        assert torch.equal(found.double(), expected)
    torch.testing.assert_close(found.double(), expected, rtol=2 * unit, atol=8 * unit)
    grad = laid(torch.randn(found.shape, generator=generator, dtype=torch.float64).to(dtype), "sliced")
    wanted = [i for i, v in enumerate(inputs) if v is not None]
    grads = torch.autograd.grad(found, [inputs[i] for i in wanted], grad)
    exacts = torch.autograd.grad(expected, [exact[i] for i in wanted], grad.double())
    for i, one, other in zip(wanted, grads, exacts, strict=True):
        assert one.dtype == inputs[i].dtype
        other = other.nan_to_num()
        error = 4 * max(torch.finfo(one.dtype).eps, unit)
        torch.testing.assert_close(one.double(), other, rtol=error, atol=error * float(other.abs().max()))
        assert not one.movedim(1 if i == 0 else 0, 0)[dead].any()


@pytest.mark.parametrize("scaled", [False, True])
def test_finite_differences_of_a_gather(backend, scaled):
    available(backend, dtype=torch.float64, operation="gather_channels")
    slow(backend, False)
    x = torch.randn(2, 5, 2, 3, dtype=torch.float64, requires_grad=True)
    values = [torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2 * scaled)]
    kept = torch.tensor([4, 0, 1])

    def function(x, scale=None, shift=None):
        return gather_channels(x, kept, scale=scale, shift=shift, rectify=scaled, backend=backend)

    assert torch.autograd.gradcheck(function, (x, *values))
    assert torch.autograd.gradgradcheck(function, (x, *values))


def test_whatever_tells_gathered_channels(backend):
    x = torch.randn(2, 4, 3, 3)
    mask = torch.tensor([False, True, False, True])
    for live in (mask, LiveList.of(mask, 4), torch.tensor([1, 3]), torch.tensor([1, 3], dtype=torch.int32)):
        assert torch.equal(gather_channels(x, live, backend=backend), x[:, mask])
    assert torch.equal(gather_channels(x, torch.tensor([3, 1]), backend=backend), x[:, [3, 1]])
    assert gather_channels(x, torch.zeros(4, dtype=torch.bool), backend=backend).shape == (2, 0, 3, 3)
    assert gather_channels(x[:0], mask, backend=backend).shape == (0, 2, 3, 3)
    none = x.clone().requires_grad_()
    gather_channels(none, torch.zeros(4, dtype=torch.bool), backend=backend).sum().backward()
    assert not none.grad.any()


def test_a_gather_before_a_narrow_convolution_is_the_masked_one(backend):
    made = problem(CASES["3x3"], Setting("channels_last", "channels_last"), torch.float32)
    kept = made.ins.nonzero().flatten()
    narrow = torch.conv2d(gather_channels(made.x, kept, backend=backend), made.weight[:, kept], made.bias, 1, 1)
    torch.testing.assert_close(narrow, run(made, backend)["y"])


def test_a_padding_mode_of_its_own_is_told_to_who_debugs(caplog):
    x, weight = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 3, 3)
    with caplog.at_level(logging.DEBUG, logger="lomt_kernels"):
        masked_conv2d(x, weight, padding=1)
        assert not caplog.records
        masked_conv2d(x, weight, padding=1, padding_mode="reflect")
    assert "pads a copy of the input" in caplog.text


X, W = torch.ones(1, 4, 5, 5), torch.ones(3, 4, 3, 3)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda: masked_conv2d([[1.0]], W),
            TypeError,
            "the input is a dense tensor of floating-point numbers, not list",
        ),
        (lambda: masked_conv2d(X.long(), W.long()), TypeError, "the input .* not torch.int64"),
        (lambda: masked_conv2d(X, W.to(torch.complex64)), TypeError, "a weight .* not torch.complex64"),
        (lambda: masked_conv2d(X.to_sparse(), W), TypeError, "torch.sparse_coo"),
        (lambda: masked_conv2d(X, W.double()), TypeError, "torch.float32 with a weight or bias of torch.float64"),
        (lambda: masked_conv2d(X, W, torch.ones(3).half()), TypeError, "weight or bias of torch.float16"),
        (lambda: masked_conv2d(X, W, 1.0), TypeError, "a bias is a tensor or None, not float"),
        (lambda: masked_conv2d(X, W, torch.ones(4)), ValueError, r"a bias of shape \(4,\) for 3 output channels"),
        (lambda: masked_conv2d(X, W, scale=2.0), TypeError, "a scale is a tensor or None, not float"),
        (lambda: masked_conv2d(X, W, scale=torch.ones(3)), ValueError, r"give one float an input channel, \(4,\)"),
        (lambda: masked_conv2d(X, W, scale=torch.ones(4).long()), ValueError, "torch.int64: give one float"),
        (lambda: masked_conv2d(X, torch.ones(3, 4)), ValueError, "give .out, in / groups, height, width."),
        (lambda: masked_conv2d(X[0, 0], W), ValueError, r"an input of shape \(5, 5\) for a weight"),
        (lambda: masked_conv2d(X, torch.ones(3, 5, 3, 3)), ValueError, "groups=1 does not fit 4 input channels"),
        (lambda: masked_conv2d(X, W, groups=2), ValueError, "groups=2 does not fit 4 input channels"),
        (lambda: masked_conv2d(X, W, groups=0), ValueError, "groups=0"),
        (lambda: masked_conv2d(X, W, groups=1.0), TypeError, "groups=1.0: give a whole number"),
        (lambda: masked_conv2d(X, W, stride=0), ValueError, "stride=0: give a number of 1 or more, or 2 of them"),
        (lambda: masked_conv2d(X, W, stride=(1, 2, 3)), ValueError, r"stride=\(1, 2, 3\)"),
        (lambda: masked_conv2d(X, W, stride=1.5), TypeError, "stride=1.5: give whole numbers"),
        (lambda: masked_conv2d(X, W, stride=None), TypeError, "stride=None: give whole numbers"),
        (lambda: masked_conv2d(X, W, padding=-1), ValueError, "padding=-1: give a number of 0 or more"),
        (lambda: masked_conv2d(X, W, padding="full"), ValueError, "unknown padding 'full'"),
        (lambda: masked_conv2d(X, W, stride=2, padding="same"), ValueError, "padding='same' is for stride 1"),
        (lambda: masked_conv2d(X, W, dilation=0), ValueError, "dilation=0"),
        (lambda: masked_conv2d(X, W, dilation=3), ValueError, "larger than the padded input"),
        (lambda: masked_conv2d(X, torch.ones(3, 4, 6, 1)), ValueError, r"a kernel of \(6, 1\) is larger"),
        (lambda: masked_conv2d(X, torch.ones(3, 4, 0, 1)), ValueError, "has no numbers"),
        (lambda: masked_conv2d(X, W, padding=1, padding_mode="mirror"), ValueError, "there are zeros, reflect"),
        (lambda: masked_conv2d(X, W, padding=5, padding_mode="reflect"), RuntimeError, "Padding size should be less"),
        (lambda: masked_conv2d(X, W, dead_out="nan"), ValueError, "a dead output is its 'bias' or 'zero'"),
        (lambda: masked_conv2d(X, W, live_in=torch.ones(3, dtype=torch.bool)), ValueError, "for 4 channels"),
        (lambda: masked_conv2d(X, W, live_out=torch.ones(4, dtype=torch.bool)), ValueError, "for 3 channels"),
        (lambda: masked_conv2d(X, W, live_in=[0, 0]), ValueError, r"\[0, 0\] name one twice"),
        (lambda: masked_conv2d(X, W, live_in=[4]), ValueError, "live channel 4 of 4: indices are from 0 to 3"),
        (lambda: masked_conv2d(X, W, live_in=[-1]), ValueError, "live channel -1 of 4"),
        (lambda: masked_conv2d(X, W, live_in=torch.tensor([1, 1])), ValueError, "name one twice"),
        (lambda: masked_conv2d(X, W, live_in=torch.tensor([-1])), ValueError, "live channel -1 of 4"),
        (lambda: masked_conv2d(X, W, live_out=torch.tensor([3])), ValueError, "live channel 3 of 3"),
        (lambda: masked_conv2d(X, W, live_in=torch.ones(4)), TypeError, "torch.float32: give a bool mask"),
        (lambda: masked_conv2d(X, W, live_in=[True, False, True, True]), TypeError, "a mask is a tensor of bool"),
        (lambda: masked_conv2d(X, W, live_in=[0.5]), TypeError, r"live channels \[0.5\] are no whole numbers"),
        (lambda: masked_conv2d(X, W, live_in=2), TypeError, "2 tells no live channels"),
        (lambda: masked_conv2d(X, W, live_in="all"), TypeError, "'all' tells no live channels"),
        (
            lambda: masked_conv2d(X, W, live_in=LiveList(torch.arange(4), torch.tensor(4))),
            TypeError,
            "give int32 indices and a scalar int32 count",
        ),
        (
            lambda: masked_conv2d(X, W, live_in=LiveList.of(torch.tensor([True]), 1)),
            ValueError,
            "a live list of 1 channels for 4",
        ),
        (
            lambda: masked_conv2d(X, W, live_in=torch.ones(4, dtype=torch.bool, device="meta")),
            ValueError,
            "live channels are listed on meta, and the input is on cpu",
        ),
        (
            lambda: masked_conv2d(X, W.to("meta")),
            ValueError,
            "the input is on cpu, and what it is convolved with on meta",
        ),
        (lambda: masked_conv2d(X, W, backend="cudnn"), ValueError, "there are cuda, triton, native, reference"),
        (lambda: masked_conv2d(X, W, backend="cuda"), ValueError, "backend='cuda' can't be taken"),
        (lambda: masked_conv2d_readers(X, []), ValueError, "there is no weight: give one for each reader"),
        (lambda: masked_conv2d_readers(X, [W, W], [None]), ValueError, "1 biases for 2 weights"),
        (lambda: masked_conv2d_readers(X, [W, W], live_in=[[0]]), ValueError, "1 live_in for 2 weights"),
        (lambda: masked_conv2d_readers(X, [W, W[:, :, :1]]), ValueError, "read no map together"),
        (lambda: masked_conv2d_readers(X, W), TypeError, "a list of one tensor a reader, not one tensor"),
        (lambda: shrunk_conv2d(X, W, tau=-1.0), ValueError, "tau=-1.0"),
        (lambda: shrunk_conv2d(X, W, tau=torch.ones(3)), ValueError, "for each of the 4 groups"),
        (lambda: shrunk_conv2d(X, W, tau=1.0, block=3), ValueError, "block=3 does not divide"),
        (lambda: shrunk_conv2d(X, W, tau=1.0, groups=3), ValueError, "groups=3 does not fit 4 input channels"),
        (lambda: gather_channels([1.0], torch.tensor([0])), TypeError, "a map is a tensor of floating-point"),
        (lambda: gather_channels(X.long(), torch.tensor([0])), TypeError, "not torch.int64"),
        (lambda: gather_channels(X[0], torch.tensor([0])), ValueError, "give .N, C, H, W."),
        (lambda: gather_channels(X, torch.tensor([4])), ValueError, "live channel 4 of 4"),
        (lambda: gather_channels(X, torch.tensor([1, 1])), ValueError, "name one twice"),
        (lambda: gather_channels(X, torch.ones(5, dtype=torch.bool)), ValueError, "for 4 channels"),
        (lambda: gather_channels(X, torch.tensor([0]), scale=torch.ones(3)), ValueError, r"a scale of \(3,\)"),
        (
            lambda: gather_channels(X, torch.tensor([0]), shift=torch.ones(4).long()),
            TypeError,
            "a shift of torch.int64",
        ),
    ],
)
def test_bad_input_is_one_clear_line(call, kind, words):
    with pytest.raises(kind, match=words) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_no_output_channel_at_all(backend):
    available(backend, operation="masked_conv2d")
    x, weight = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(0, 3, 3, 3)
    y = masked_conv2d(x, weight, backend=backend)
    assert y.shape == (2, 0, 2, 2)
    y.sum().backward()
    assert not x.grad.any()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("shape", "kernel", "window"),
    [
        ((2, 9, 3, 1100), (3, 5), ((1, 2), (1, 2), (1, 3))),  # rows that are cut
        ((1, 12, 1, 3000), (1, 7), (1, (0, 3), 1)),
        ((1, 5, 40, 400), (1, 1), (3, 0, 1)),
        ((3, 300, 16, 16), (3, 3), (1, 2, 2)),  # channels in parts, tiles of several images
        ((30, 7, 2, 2), (2, 2), (1, 1, 1)),
    ],
)
def test_large_maps_are_computed_in_tiles(shape, kernel, window, layout):
    available("native", operation="masked_conv2d")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else x
    x.requires_grad_()
    weight = torch.randn(20, shape[1], *kernel, generator=generator).requires_grad_()
    live = torch.rand(shape[1], generator=generator) < 0.6
    sides = []
    for backend, dtype in (("native", torch.float32), ("reference", torch.float64)):
        y = masked_conv2d(x.to(dtype), weight.to(dtype), None, *window, live_in=live, backend=backend)
        grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        sides.append((y, *torch.autograd.grad(y, (x, weight), grad)))
    for found, exact in zip(*sides, strict=True):
        torch.testing.assert_close(found, exact.float(), rtol=1e-4, atol=1e-5 * float(exact.detach().abs().max()))
