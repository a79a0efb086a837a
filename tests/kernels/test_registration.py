"""The operations as torch sees them: opcheck, tensors without data, compilation, choice of a backend, bad input."""

import json
import subprocess
import sys
import warnings

import pytest
import torch
from torch import fx, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lomt_kernels import (
    LiveList,
    gather_channels,
    group_alive,
    group_norms,
    group_shrink,
    info,
    library,
    masked_conv2d,
    masked_conv2d_readers,
    registry,
    shrunk_conv2d,
)
from lomt_kernels.__main__ import lines, main
from lomt_kernels.prox import new_norms, prox_adamw_, prox_sgd_
from tests.kernels.conftest import available
from tests.kernels.maps import laid
from tests.kernels.weights import SHAPES, weight


def place(axis):
    return 1 if axis == "out" else 0


@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize(("shape", "layout", "groups", "block"), SHAPES[:6] + SHAPES[12:15])
@pytest.mark.parametrize("name", ["native", "reference"])
def test_opcheck(name, shape, layout, groups, block, axis):
    if axis == "out" and (shape[0] // groups) % block:
        pytest.skip("blocks of output channels do not fit")
    W, D = weight(shape, layout, torch.float32), torch.rand(shape) + 0.1
    how = (place(axis), groups, block, name)
    count = group_norms(W, axis=axis, groups=groups, block=block).numel()
    tau, start = torch.rand(count), torch.rand(count)
    theta = library.OPS.group_shrink(W, tau, None, None, *how)[1]
    theta_in_metric = library.OPS.group_shrink(W, tau, D, None, *how)[1]
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    for op, arguments in (
        (library.OPS.group_norms, (W, *how)),
        (library.OPS.group_alive, (W, *how)),
        (library.OPS.group_shrink, (W, tau, None, None, *how)),
        (library.OPS.group_shrink, (W, tau, D, start, *how)),
        (library.OPS.group_shrink_backward, (W.clone(), W, tau, None, theta, *how)),
        (library.OPS.group_shrink_backward, (W.clone(), W, tau, D, theta_in_metric, *how)),
    ):
        torch.library.opcheck(op, arguments, test_utils=checks)


@pytest.mark.parametrize("concave", [False, True])
@pytest.mark.parametrize("name", ["native", "reference"])
def test_opcheck_of_steps(name, concave):
    """In place, on lists; one mask is missing, and one weight is laid out otherwise."""
    Ws = [
        weight(shape, layout, torch.float32) for shape, layout in (((6, 4, 3, 3), "channels_last"), ((5, 2), "sliced"))
    ]
    grads, first, second, most = ([torch.rand_like(W) for W in Ws] for _ in range(4))
    steps, norms = [torch.zeros(()) for _ in Ws], [new_norms(W).fill_(1.0) for W in Ws]
    masks, gamma = [torch.tensor([True, False, True, True]), None], 1.0 if concave else float("inf")
    scale, found = torch.tensor(2.0), torch.tensor(0.0)
    after = (gamma, 0, [1, 1], 1, scale, found, name)
    adamw = (Ws, grads, first, second, most, steps, norms, masks, [0.1, 0.2], 1e-3, None, 0.9, 0.99, 1e-8, 0.1, False)
    sgd = (
        Ws,
        grads,
        first,
        norms,
        masks,
        [False, True],
        [0.1, 0.2],
        1e-3,
        torch.tensor(0.1),
        0.9,
        0.1,
        0.1,
        False,
        True,
    )
    # What autograd is told is tested where the functions are: operations in place on lists know nothing of it.
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(library.OPS.prox_adamw_, (*adamw, *after), test_utils=checks)
    torch.library.opcheck(library.OPS.prox_sgd_, (*sgd, *after), test_utils=checks)


def test_a_step_without_data():
    with FakeTensorMode():
        W = torch.empty(8, 6, 3, 3, device="cuda")
        norms, step = new_norms(W, axis="out"), torch.empty((), device="cuda")
        assert norms.shape == (2, 8)
        assert norms.device.type == "cuda"
        prox_adamw_([W], [W], [W], [W], [step], [norms], [1.0], axis="out", backend="reference")
        prox_sgd_([W], [W], [], [norms], [1.0], axis="out", backend="reference")


def test_a_step_is_seen_by_autograd():
    """A backward pass that needs the old weight says so."""
    W = torch.ones(3, 2, requires_grad=True)
    loss = (W * W).sum()
    prox_sgd_([W], [torch.ones(3, 2)], [], [new_norms(W)], [0.1])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_without_data():
    """Shapes, dtypes, strides and devices of tensors on a GPU that is not there."""
    with FakeTensorMode():
        W = torch.empty(8, 6, 3, 3, device="cuda", dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        U = group_shrink(W, 0.5, backend="reference")
        assert U.device.type == "cuda"
        assert U.dtype == torch.bfloat16
        assert U.is_contiguous(memory_format=torch.channels_last)
        norms = library.OPS.group_norms(W, 1, 1, 2, "cuda")
        assert norms.shape == (4,)
        assert norms.dtype == torch.float32
    assert group_shrink(torch.empty(4, 3, device="meta"), 0.5, backend="reference").shape == (4, 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("dynamic", [False, True])
def test_it_compiles_whole(dynamic):
    def step(W, tau):
        return group_shrink(W, tau) * 2

    compiled = torch.compile(step, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in (6, 9):
        W = torch.randn(size, 5, 3, 3, requires_grad=True)
        tau = torch.tensor(1.5, requires_grad=True)
        found, expected = compiled(W, tau), step(W, tau)
        torch.testing.assert_close(found, expected)
        for a, b in zip(*(torch.autograd.grad(U.sum(), (W, tau)) for U in (found, expected)), strict=True):
            torch.testing.assert_close(a, b)


def lists():
    """Two readers of eight channels: one with lists, one without."""
    mask = torch.tensor([True, False, True, True, False, False, True, False])
    outs = torch.tensor([False, True, True, False, True, True])
    return [*LiveList.of(mask, 8), *LiveList.of(outs, 6), None, None, None, None]


@pytest.mark.parametrize(
    ("groups", "layout"),
    [(1, "contiguous"), (1, "channels_last"), (1, "sliced"), (1, "expanded"), (2, "channels_last"), (2, "permuted")],
)
@pytest.mark.parametrize("name", ["native", "reference"])
def test_opcheck_of_convolutions(name, groups, layout):
    available(name, operation="masked_conv2d")
    x = laid(torch.randn(2, 8, 7, 6), layout)
    weights = [laid(torch.randn(out, 8 // groups, 3, 2), layout) for out in (6, 4)]
    scales, window = [torch.rand(8), None], ([2, 1], [1, 0], [1, 2], groups)
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    arguments = (x, weights, [torch.randn(6), None], lists(), scales, *window, groups == 2, name)
    torch.library.opcheck(library.OPS.masked_conv2d, arguments, test_utils=checks)
    grads = [laid(torch.randn_like(y), layout) for y in library.OPS.masked_conv2d(*arguments)]
    for how in ([True, False, True, True, True, True], [False, True, False, True, False, True]):
        arguments = (grads, x, weights, lists(), scales, *window, *how, name)
        torch.library.opcheck(library.OPS.masked_conv2d_backward, arguments, test_utils=checks)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "permuted", "expanded"])
@pytest.mark.parametrize("name", ["native", "reference"])
def test_opcheck_of_gathers(name, layout):
    available(name, operation="gather_channels")
    x, kept, values = laid(torch.randn(2, 8, 3, 4), layout), torch.tensor([6, 0, 3], dtype=torch.int32), torch.rand(8)
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    for arguments in ((x, kept, None, None, False, name), (x, kept, values, values, True, name)):
        torch.library.opcheck(library.OPS.gather_channels, arguments, test_utils=checks)
    narrow = laid(torch.randn(2, 3, 3, 4), layout)
    for scale in (None, values):
        torch.library.opcheck(library.OPS.scatter_channels, (narrow, kept, scale, 8, name), test_utils=checks)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_without_data(memory_format):
    with FakeTensorMode():
        x = torch.empty(2, 8, 9, 7, device="cuda", dtype=torch.bfloat16).to(memory_format=memory_format)
        W = torch.empty(6, 4, 3, 3, device="cuda", dtype=torch.bfloat16)
        bias, scale = torch.empty(6, device="cuda", dtype=torch.bfloat16), torch.empty(8, device="cuda")
        mask = torch.empty(8, device="cuda", dtype=torch.bool)
        how = {"live_in": mask, "live_out": [0, 3], "scale": scale, "backend": "reference"}
        y = masked_conv2d(x, W, bias, 2, 1, 1, 2, **how)
        assert y.shape == (2, 6, 5, 4)
        assert y.device.type == "cuda"
        assert y.dtype == torch.bfloat16
        assert y.is_contiguous(memory_format=memory_format)
        live = [*LiveList.of(mask, 8), None, None]
        of = library.OPS.masked_conv2d_backward(
            *([y], x, [W], live, [scale], [2, 2], [1, 1], [1, 1], 2, False, False, True, True, True, True, "reference")
        )
        grads = (of[0], of[1][0], of[2][0], of[3][0])
        for grad, tensor in zip(grads, (x, W, bias, scale), strict=True):
            assert (grad.shape, grad.dtype, grad.device) == (tensor.shape, tensor.dtype, tensor.device)
            assert grad.stride() == tensor.stride()
        narrow = gather_channels(x, torch.empty(3, dtype=torch.int32, device="cuda"), backend="reference")
        assert narrow.shape == (2, 3, 9, 7)
        assert narrow.is_contiguous(memory_format=memory_format)
        assert shrunk_conv2d(x, W, tau=0.5, groups=2, backend="reference").shape == (2, 6, 7, 5)
    meta = torch.empty(1, 4, 5, 5, device="meta")
    assert masked_conv2d(meta, torch.empty(2, 4, 3, 3, device="meta"), backend="reference").shape == (1, 2, 3, 3)


class Masked(nn.Module):
    """A layer whose mask is in its weight, or given as a buffer or as numbers."""

    def __init__(self, live="own", groups=1, live_out=None, dead_out="bias", scaled=False):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 12 // groups, 3, 3)), nn.Parameter(torch.randn(8))
        with torch.no_grad():
            self.weight[:, 2::3] = 0
        self.scale = nn.Parameter(torch.rand(12)) if scaled else None
        mask = torch.zeros(12, dtype=torch.bool).index_fill(0, torch.tensor([1, 4, 7]), True)
        self.register_buffer("mask", mask if live == "mask" else None)
        self.live, self.groups, self.live_out, self.dead_out = live, groups, live_out, dead_out

    def forward(self, x):
        live = {"mask": self.mask, "numbers": [1, 4, 7]}.get(self.live)
        if self.live == "own":
            live = group_alive(self.weight, groups=self.groups)
        how = {"live_in": live, "live_out": self.live_out, "dead_out": self.dead_out, "scale": self.scale}
        return masked_conv2d(x, self.weight, self.bias, 1, 1, 1, self.groups, **how)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_compiles_whole(groups, dynamic):
    """With a mask that each call makes of the weight, and in either layout; other masks and sizes compile nothing."""
    torch._dynamo.reset()
    layer, counter = Masked(groups=groups, live_out=[0, 2, 3], scaled=True), CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend=counter)
    for size, memory_format in ((6, torch.contiguous_format), (9, torch.contiguous_format), (7, torch.channels_last)):
        x = torch.randn(2, 12, size, size + 2).to(memory_format=memory_format).requires_grad_()
        for dead in range(2):
            with torch.no_grad():
                layer.weight[:, (size + dead) % 6] = 0
            found, expected = compiled(x), layer(x)
            torch.testing.assert_close(found, expected)
            assert found.stride() == expected.stride()
            inputs = [x, *layer.parameters()]
            grads = (torch.autograd.grad(y.square().sum(), inputs) for y in (found, expected))
            for one, other in zip(*grads, strict=True):
                torch.testing.assert_close(one, other)
    assert counter.frame_count == (2 if dynamic else 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_readers_shrinking_and_gathers_compile_whole():
    torch._dynamo.reset()

    def step(x, weights, tau):
        first, second = masked_conv2d_readers(x, weights, live_in=[[0, 2], None])
        narrow = gather_channels(x, torch.tensor([3, 1]), rectify=True)
        return first.sum() + second.square().sum() + narrow.sum() + shrunk_conv2d(x, weights[0], tau=tau).square().sum()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    weights = [torch.randn(out, 4, 3, 3, requires_grad=True) for out in (3, 5)]
    tau = torch.tensor(3.0, requires_grad=True)
    inputs = (x, *weights, tau)
    for one, other in zip(*(torch.autograd.grad(f(x, weights, tau), inputs) for f in (compiled, step)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("live", ["own", "mask", "numbers"])
def test_export_keeps_one_node(live):
    layer, x = Masked(live).eval(), torch.randn(2, 12, 6, 6)
    program = torch.export.export(layer, (x,))
    nodes = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert nodes.count(library.OPS.masked_conv2d) == 1
    assert not any("conv" in str(target) for target in nodes if target != library.OPS.masked_conv2d)
    torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.parametrize("live", ["mask", "numbers"])
def test_a_symbolic_trace_keeps_one_call(live):
    layer, x = Masked(live, groups=2, live_out=[0, 1, 7], scaled=True), torch.randn(2, 12, 6, 6)
    traced = fx.symbolic_trace(layer)
    calls = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert calls == [masked_conv2d]
    assert "masked_conv2d(" in traced.code
    assert torch.equal(traced(x), layer(x))


def test_a_symbolic_trace_keeps_the_other_calls():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.other = nn.Parameter(torch.randn(3, 4, 3, 3)), nn.Parameter(torch.randn(5, 4, 3, 3))
            self.register_buffer("kept", torch.tensor([3, 1]))

        def forward(self, x):
            outputs = masked_conv2d_readers(x, [self.weight, self.other], live_in=[[0], None])
            return outputs[0].sum() + outputs[1], shrunk_conv2d(x, self.weight, tau=2.0), gather_channels(x, self.kept)

    whole, x = Whole(), torch.randn(2, 4, 5, 5)
    traced = fx.symbolic_trace(whole)
    calls = {node.target for node in traced.graph.nodes if node.op == "call_function"}
    assert {masked_conv2d_readers, shrunk_conv2d, gather_channels} <= calls
    for one, other in zip(traced(x), whole(x), strict=True):
        assert torch.equal(one, other)


def flops(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("groups", [1, 2])
def test_flops_are_those_of_live_channels(groups):
    x, W = torch.randn(2, 8, 6, 6, requires_grad=True), torch.randn(6, 8 // groups, 3, 3, requires_grad=True)
    window = (None, 1, 1, 1, groups)

    def both(**how):
        return masked_conv2d(x, W, *window, **how).sum().backward()

    # All alive: as torch counts its own; backward, it counts groups otherwise.
    assert flops(lambda: masked_conv2d(x, W, *window)) == flops(lambda: torch.conv2d(x, W, *window))
    assert groups == 2 or flops(both) == flops(lambda: torch.conv2d(x, W, *window).sum().backward())
    # Of group 0, channels 0 to 3 feed outputs 0 to 2.
    ins, outs = [0, 2, 5], [0, 1, 5]
    pairs = 9 if groups == 1 else 2 * 2 + 1 * 1
    one = 2 * (2 * 6 * 6) * pairs * 9
    dense = 2 * (2 * 6 * 6) * (48 // groups) * 9
    how = {"live_in": ins, "live_out": outs}
    assert flops(lambda: masked_conv2d(x.detach(), W.detach(), *window, **how)) == one
    assert flops(lambda: both(**how)) == 3 * one
    assert flops(lambda: both(**how, revive=True)) == 2 * one + dense
    assert flops(lambda: both(live_in=[])) == 0
    assert flops(lambda: masked_conv2d(x.detach(), W, *window, **how).sum().backward()) == 2 * one
    readers = masked_conv2d_readers
    assert flops(lambda: readers(x.detach(), [W.detach()] * 2, None, 1, 1, 1, groups, live_in=[ins, None])) > dense
    assert flops(lambda: masked_conv2d(x, torch.randn(0, 8, 3, 3))) == 0


def onnx_of(module, x, program=None):
    """The file's graph, and what ONNX Runtime makes of it."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(program or module, (x,), dynamo=True, verbose=False, opset_version=18)
    proto = made.model_proto
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), module(x).detach(), rtol=1e-4, atol=1e-5)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    kinds = [node.op_type for node in proto.graph.node]
    kernels = [tuple(each.dims) for each in proto.graph.initializer if len(each.dims) == 4]
    return kinds, [shape for shape in kernels if shape[2:] == (3, 3)]


@pytest.mark.parametrize(
    ("way", "groups", "live_out", "dead_out"),
    [
        ("module", 1, None, "bias"),
        ("module", 2, [0, 3], "zero"),
        ("program", 1, [0, 3], "bias"),
        ("program", 2, None, "bias"),
    ],
)
def test_onnx_of_a_mask_is_a_dense_convolution_with_zeros(way, groups, live_out, dead_out):
    from lomt_kernels.conv.onnx import decomposed

    layer, x = Masked("mask", groups, live_out, dead_out).eval(), torch.randn(2, 12, 7, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = decomposed(torch.export.export(layer, (x,))) if way == "program" else None
    kinds, kernels = onnx_of(layer, x, program)
    assert kinds == ["Conv"]
    assert kernels == [(8, 12 // groups, 3, 3)]


@pytest.mark.parametrize(
    ("live_out", "dead_out", "kernel"),
    [(None, "bias", (8, 3, 3, 3)), ([0, 3], "bias", (2, 3, 3, 3)), ([0, 3], "zero", (2, 3, 3, 3))],
)
def test_onnx_of_few_numbers_is_a_narrow_convolution(live_out, dead_out, kernel):
    layer = Masked("numbers", 1, live_out, dead_out, scaled=True).eval()
    kinds, kernels = onnx_of(layer, torch.randn(2, 12, 7, 6))
    assert "Gather" in kinds
    assert kinds.count("Conv") == 1
    assert kernels == [kernel]


def test_onnx_of_numbers_in_groups_is_dense():
    kinds, kernels = onnx_of(Masked("numbers", 2, scaled=True).eval(), torch.randn(2, 12, 7, 6))
    assert kinds == ["Conv"]
    assert kernels == [(8, 6, 3, 3)]


class Shrinking(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.tau = nn.Parameter(torch.randn(8, 12, 3, 3)), nn.Parameter(torch.tensor(8.0))

    def forward(self, x):
        return shrunk_conv2d(x, self.weight, tau=self.tau)


@pytest.mark.parametrize("way", ["module", "program"])
@pytest.mark.parametrize("layer", [Masked("own"), Shrinking()], ids=["mask", "factors"])
def test_onnx_of_what_is_made_of_the_weight(layer, way):
    from lomt_kernels.conv.onnx import decomposed

    x = torch.randn(2, 12, 7, 6)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = decomposed(torch.export.export(layer.eval(), (x,))) if way == "program" else None
    kinds, _ = onnx_of(layer, x, program)
    assert kinds.count("Conv") == 1


def test_autocast_leaves_weights_alone():
    W = torch.randn(6, 5, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        U = group_shrink(W, 1.0)
    assert U.dtype == torch.float32
    torch.testing.assert_close(U, group_shrink(W, 1.0))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: group_norms([[1.0]]), TypeError, "a weight is a tensor, not list"),
        (lambda: group_norms(torch.ones(3, 3, dtype=torch.int64)), TypeError, "not of torch.int64"),
        (lambda: group_norms(torch.ones(3, 3, dtype=torch.complex64)), TypeError, "not of torch.complex64"),
        (lambda: group_norms(torch.eye(3).to_sparse()), TypeError, "torch.sparse_coo has no strides"),
        (lambda: group_norms(torch.ones(3)), ValueError, r"shape \(3,\) has no channels to group"),
        (lambda: group_norms(torch.ones(3, 3), axis="both"), ValueError, "unknown axis 'both'"),
        (lambda: group_norms(torch.ones(3, 3), groups=2), ValueError, "groups=2 does not divide the weight's 3"),
        (lambda: group_norms(torch.ones(3, 3), groups=0), ValueError, "groups=0"),
        (lambda: group_norms(torch.ones(4, 3), block=2), ValueError, "block=2 does not divide the 3 input"),
        (
            lambda: group_norms(torch.ones(4, 3), axis="out", block=3),
            ValueError,
            "block=3 does not divide the 4 output",
        ),
        (lambda: group_alive(torch.ones(4, 3), axis="out", groups=2, block=4), ValueError, "the 2 output"),
        (lambda: group_shrink(torch.ones(3, 3), -1.0), ValueError, "tau=-1.0"),
        (lambda: group_shrink(torch.ones(3, 3), float("nan")), ValueError, "tau=nan"),
        (lambda: group_shrink(torch.ones(3, 3), torch.tensor([1.0, -2, 0])), ValueError, "tau has -2"),
        (lambda: group_shrink(torch.ones(3, 3), torch.tensor([1.0, torch.nan, 0])), ValueError, "tau has nan"),
        (lambda: group_shrink(torch.ones(3, 3), torch.ones(2)), ValueError, "for each of the 3 groups"),
        (lambda: group_shrink(torch.ones(3, 3), torch.ones(3, dtype=torch.int32)), TypeError, "tau is of torch.int32"),
        (lambda: group_shrink(torch.ones(3, 3), 1.0, torch.zeros(3, 3)), ValueError, "the metric has 0"),
        (lambda: group_shrink(torch.ones(3, 3), 1.0, -torch.ones(3, 3)), ValueError, "the metric has -1"),
        (lambda: group_shrink(torch.ones(3, 3), 1.0, torch.ones(3, 2)), ValueError, "give one number a weight"),
        (
            lambda: group_shrink(torch.ones(3, 3), 1.0, torch.ones(3, 3).long()),
            TypeError,
            "the metric is of torch.int64",
        ),
        (
            lambda: group_norms(torch.ones(3, 3), backend="cudnn"),
            ValueError,
            "there are cuda, triton, native, reference",
        ),
        (lambda: group_norms(torch.ones(3, 3), backend="cuda"), ValueError, "can't be taken: CUDA code is for NVIDIA"),
    ],
)
def test_bad_input_is_one_clear_line(call, kind, words):
    with pytest.raises(kind, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_the_environment_chooses(monkeypatch):
    W = torch.ones(3, 3)
    monkeypatch.setattr(registry, "ASKED", "reference")
    assert registry.choose("group_norms", W.device, W.dtype) == "reference"
    assert registry.choose("group_norms", W.device, W.dtype, "native") == "native"
    monkeypatch.setattr(registry, "ASKED", "fastest")
    with pytest.raises(ValueError, match="LOMT_KERNELS_BACKEND=fastest: there are cuda"):
        group_norms(W)
    monkeypatch.setattr(registry, "ASKED", "cuda")
    with pytest.raises(ValueError, match="LOMT_KERNELS_BACKEND=cuda can't be taken"):
        group_norms(W)


def test_a_gpu_backend_that_no_gpu_has_run_is_not_chosen():
    refused = registry.refusals("group_shrink", "cuda", torch.float32)
    for name in ("cuda", "triton"):
        assert (("shrink", name) in registry.PROVEN) or "no GPU has run its tests yet" in refused[name] or refused[name]
    if ("shrink", "cuda") not in registry.PROVEN and ("shrink", "triton") not in registry.PROVEN:
        assert registry.choose("group_shrink", torch.device("cuda"), torch.float32) == "reference"


def test_info_says_what_is_chosen_and_why_not_the_others(capsys):
    found = info()
    for devices in found["operations"].values():
        for choice in devices.values():
            assert {choice["chosen"], *choice["why_not"]} == set(registry.BACKENDS)
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "group_shrink on cpu: native" in said
    assert max(map(len, said.splitlines())) <= 120 or "/" in said
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == found["version"]


def test_info_where_nothing_is_there():
    nothing = {"why_not": "it was never built"}
    found = info() | {"native": nothing, "cuda": nothing, "triton": None, "asked": "native"}
    text = "\n".join(lines(found))
    assert "pip install 'lomt-kernels[triton]'" in text
    assert text.count("it was never built") == 2
    assert "asked for    native" in text


def test_importing_loads_nothing():
    code = "import sys, lomt_kernels; dir(lomt_kernels); print([n for n in ('torch', 'numpy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_live_lists():
    mask = torch.tensor([False, True, True, False, True])
    live = LiveList.of(mask, 5)
    assert live.indices.tolist() == [1, 2, 4, 0, 3]
    assert live.indices.dtype == live.count.dtype == torch.int32
    assert int(live.count) == 3
    assert torch.equal(live.mask, mask)
    assert LiveList.of(live, 5) is live
    assert torch.equal(LiveList.of(torch.tensor([4, 1, 2]), 5).mask, mask)
    for none in (torch.zeros(5, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)):
        assert int(LiveList.of(none, 5).count) == 0
        assert not LiveList.of(none, 5).mask.any()
    for bad, kind, words in [
        (torch.ones(4, dtype=torch.bool), ValueError, "for 5 channels"),
        (live, ValueError, "5 channels for 6"),
        (torch.tensor([1, 1]), ValueError, "name one twice"),
        (torch.tensor([-1]), ValueError, "live channel -1 of 5"),
        (torch.tensor([5]), ValueError, "live channel 5 of 5"),
        (torch.tensor([0.5]), TypeError, "torch.float32"),
        ([1, 2], TypeError, "give a bool mask"),
    ]:
        with pytest.raises(kind, match=words):
            LiveList.of(bad, 6 if bad is live else 5)


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated
def test_a_trace_of_torch_jit_holds_the_operation_and_not_what_it_gave():
    W, other = torch.randn(2, 4, 4, 3, 3)
    for call in (group_norms, lambda W: group_shrink(W, torch.tensor(0.5))):
        traced = torch.jit.trace(call, W, check_trace=False)
        assert torch.equal(traced(other), call(other))
