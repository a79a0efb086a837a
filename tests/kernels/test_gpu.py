"""What only a GPU can show: bfloat16, streams, graphs, no word to the host. Run by ``pytest -m gpu``."""

import math

import pytest
import torch

from lomt_kernels import LiveList, group_alive, group_norms, group_shrink, prox_adamw_, prox_sgd_
from lomt_kernels.conv import gather_channels, masked_conv2d, masked_conv2d_readers
from lomt_kernels.prox.function import new_norms
from tests.kernels.conftest import available
from tests.kernels.weights import DTYPES, SHAPES, fits, weight

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]
SMALL = [case for case in SHAPES if torch.Size(case[0]).numel() < 3000]


@pytest.fixture(params=["cuda", "triton"])
def gpu(request):
    """Every GPU backend that works here."""
    available(request.param, device="cuda")
    return request.param


def agree(gpu, case, axis, dtype, in_metric):
    shape, layout, groups, block = case
    how = {"axis": axis, "groups": groups, "block": block}
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    W = weight(shape, layout, dtype)
    D = weight(shape, layout, torch.float64, 1).abs().add(0.1).to(wide) if in_metric else None
    sizes = group_norms((W.double() if D is None else W.double() * D), **how, backend="reference")
    tau = sizes * torch.tensor([(1.5, 0.3, 0.9, 0.0)[i % 4] for i in range(sizes.numel())])
    g = torch.randn(shape).to(dtype)
    results = []
    for device, backend in (("cpu", "reference"), ("cuda", gpu)):
        copies = [None if x is None else x.to(device).requires_grad_() for x in (W, tau, D)]
        U = group_shrink(*copies, **how, backend=backend)
        gradients = torch.autograd.grad(U, [x for x in copies if x is not None], g.to(device))
        found = (U, group_norms(copies[0].detach(), **how, backend=backend), *gradients)
        results.append([x.detach().cpu() for x in found])
        results[-1].append(group_alive(U.detach(), **how, backend=backend).cpu())
    for found, expected in zip(results[1], results[0], strict=True):
        scale = float(expected.double().abs().max()) if expected.numel() else 0.0
        torch.testing.assert_close(
            found, expected, rtol=8 * torch.finfo(dtype).eps, atol=64 * torch.finfo(wide).eps * scale
        ) if found.is_floating_point() else torch.testing.assert_close(found, expected)
    assert torch.equal(results[0][0] == 0, results[1][0] == 0)


@pytest.mark.parametrize("in_metric", [False, True], ids=["euclidean", "metric"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize(
    "case", SHAPES, ids=lambda case: f"{'x'.join(map(str, case[0]))}-{case[1]}-g{case[2]}-b{case[3]}"
)
def test_against_the_reference(gpu, case, axis, dtype, in_metric):
    if not fits(case[0], axis, case[2], case[3]):
        pytest.skip("blocks of output channels do not fit")
    if gpu == "triton" and dtype in (torch.float64, torch.float16) and case[0] != SHAPES[0][0]:
        pytest.skip("each dtype takes long to compile: tested on one shape")
    agree(gpu, case, axis, dtype, in_metric)


@pytest.mark.parametrize("in_metric", [False, True], ids=["euclidean", "metric"])
def test_small_ones_for_the_sanitizer(gpu, in_metric):
    for case in SMALL[:6]:
        agree(gpu, case, "in", torch.float32, in_metric)


def test_more_than_two_to_the_31_numbers(gpu):
    """Offsets of 64 bits, on a real memory."""
    if torch.cuda.mem_get_info()[0] < 24e9:
        pytest.skip("less than 24 GB are free")
    W = torch.zeros(2**16, 2**15 + 64, device="cuda", dtype=torch.bfloat16)
    W[-1, -1] = 3.0
    assert group_norms(W, backend=gpu)[-1] == 3.0
    assert group_alive(W, axis="out", backend=gpu).nonzero().tolist() == [[2**16 - 1]]
    assert group_shrink(W, 1.0, backend=gpu)[-1, -1] == 2.0


def test_the_current_stream(gpu):
    W = torch.randn(512, 512, 3, 3, device="cuda")
    tau = group_norms(W, backend="reference").median()
    expected = group_shrink(2 * W, tau, backend="reference")
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        found = group_shrink(W.mul(2), tau, backend=gpu)
    stream.synchronize()
    torch.testing.assert_close(found, expected)


def test_a_graph_replays_with_other_weights(gpu):
    W, D = torch.randn(64, 48, 3, 3, device="cuda"), torch.rand(64, 48, 3, 3, device="cuda") + 0.1
    tau = torch.full((48,), 9.0, device="cuda", dtype=torch.float64)
    group_shrink(W, tau, D, backend=gpu), group_alive(W, backend=gpu)  # compiled before the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        U = group_shrink(W, tau, D, backend=gpu)
        live = LiveList.of(group_alive(U, backend=gpu), 48)
    for share in (0.3, 1.0, 1.7):
        W.copy_(torch.randn_like(W) * share)
        graph.replay()
        torch.testing.assert_close(U, group_shrink(W, tau, D, backend="reference"))
        assert torch.equal(live.mask, group_alive(U, backend="reference"))


def test_no_word_to_the_host(gpu):
    W = torch.randn(64, 48, 3, 3, device="cuda", requires_grad=True)
    tau = torch.tensor(9.0, device="cuda", requires_grad=True)
    group_shrink(W, tau, backend=gpu).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        group_shrink(W, tau, backend=gpu).sum().backward()
        LiveList.of(group_alive(W.detach(), backend=gpu), 48)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_same_bits_again(gpu):
    W, D = torch.randn(256, 512, 3, 3, device="cuda"), torch.rand(256, 512, 3, 3, device="cuda") + 0.1
    first = group_shrink(W, 20.0, D, backend=gpu)
    for _ in range(3):
        assert torch.equal(group_shrink(W, 20.0, D, backend=gpu), first)


# --- The optimizers' steps.

LR = 0.05
KINDS = ["adamw", "amsgrad", "sgd", "momentum"]


@pytest.fixture(params=["cuda", "triton"])
def prox(request):
    """Every GPU backend of the optimizers' steps that works here."""
    available(request.param, device="cuda", operation="prox_adamw_")
    return request.param


class Steps:
    """Weights and what their optimizer keeps of them, on one device."""

    def __init__(self, weights, kind, **how):
        self.kind, self.how = kind, how
        self.weights = list(weights)
        self.moments = [[torch.zeros_like(w) for w in self.weights] for _ in range(3)]
        self.steps = [torch.zeros((), device=w.device) for w in self.weights]
        one = {name: how[name] for name in ("axis", "groups", "block") if name in how}
        self.norms = [new_norms(w, **one) for w in self.weights]
        self.fresh = True

    def copy(self, device):
        """The same, elsewhere; strides are kept."""
        new = Steps.__new__(Steps)
        new.kind, new.how, new.fresh = self.kind, self.how, self.fresh
        new.weights, new.steps, new.norms = (_there(x, device) for x in (self.weights, self.steps, self.norms))
        new.moments = [_there(x, device) for x in self.moments]
        return new

    def step(self, grads, prices, backend, lr=LR, **more):
        more = {**self.how, **more, "lr": lr, "backend": backend, "weight_decay": 0.1}
        if self.kind in ("adamw", "amsgrad"):
            if self.kind == "amsgrad":
                more["max_exp_avg_sqs"] = self.moments[2]
            prox_adamw_(self.weights, grads, *self.moments[:2], self.steps, self.norms, prices, **more)
            return
        if self.kind == "momentum":
            more |= {"momentum": 0.9, "dampening": 0.0, "nesterov": True, "fresh": [self.fresh] * len(self.weights)}
        self.fresh = False
        prox_sgd_(self.weights, grads, self.moments[0], self.norms, prices, **more)

    def state(self):
        return [*self.weights, *self.steps, *self.norms, *(m for moments in self.moments for m in moments)]


def _there(tensors, device):
    copies = [torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device) for x in tensors]
    for copy, x in zip(copies, tensors, strict=True):
        copy.copy_(x)
    return copies


def thresholds(steps, grads, **more):
    """What each group's price may be at most, if it is to survive the next step."""
    tried = steps.copy("cpu")
    tried.step([g.clone() for g in grads], [0.0] * len(grads), "reference", **more)
    one = {name: steps.how[name] for name in ("axis", "groups", "block") if name in steps.how}
    found = []
    for i, W in enumerate(tried.weights):
        D = torch.ones_like(W, dtype=torch.float64)
        if steps.kind in ("adamw", "amsgrad"):
            v = tried.moments[2 if steps.kind == "amsgrad" else 1][i].double()
            D = (v / (1 - 0.999 ** float(tried.steps[i]))).sqrt() + 1e-8
        found.append(group_norms((W.double() * D).contiguous(), **one, backend="reference") / LR)
    return found


def between(found):
    """A price in the widest gap of the middle, so that rounding decides nothing."""
    found = found[found.isfinite() & (found > 0)].sort().values
    if len(found) < 2:
        return float(0.7 * found.sum())
    first = len(found) // 4
    some = found[first : max(first + 2, 3 * len(found) // 4)]
    place = int((some[1:] / some[:-1]).argmax())
    return float((some[place] * some[place + 1]).sqrt())


def same(found, expected, dtype):
    eps = torch.finfo(dtype).eps
    part = 64 * eps if eps < 1e-6 else eps
    for a, b in zip(found, expected, strict=True):
        scale = float(b.double().nan_to_num().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a.cpu(), b, rtol=8 * eps, atol=part * scale + 1e-7, equal_nan=True)


def follow(backend, case, axis, dtype, kind, gamma=math.inf, masked=False, count=3):
    """Some steps, each from where the reference is."""
    shape, layout, groups, block = case
    how = {"axis": axis, "groups": groups, "block": block, "gamma": gamma, "maximize": masked}
    steps = Steps([weight(shape, layout, dtype)], kind, **how)
    generator = torch.Generator().manual_seed(1)
    for i in range(count):
        g = [torch.randn(shape, generator=generator, dtype=torch.float64).mul(10).to(dtype)]  # in float16, v is coarse
        price = [between(thresholds(steps, g)[0])]
        more = {}
        if masked:
            mask = torch.rand(steps.norms[0].shape[1], generator=generator) < 0.6
            more = {"computed": [mask], "grad_scale": torch.tensor(4.0), "found_inf": torch.tensor(0.0)}
        there = steps.copy("cuda")
        g_there = _there(g, "cuda")
        moved = {k: [x.cuda() for x in v] if isinstance(v, list) else v.cuda() for k, v in more.items()}
        steps.step(g, price, "reference", **more)
        there.step(g_there, price, backend, **moved)
        same([*there.state(), *g_there], [*steps.state(), *g], dtype)
        assert torch.equal(there.norms[0][0].cpu() == 0, steps.norms[0][0] == 0), f"step {i}"


def can(backend, case, axis, dtype):
    if case[1] == "expanded":
        pytest.skip("what overlaps can't be changed in place")
    if not fits(case[0], axis, case[2], case[3]):
        pytest.skip("blocks of output channels do not fit")
    if backend == "triton" and dtype in (torch.float64, torch.float16) and case[0] != SHAPES[0][0]:
        pytest.skip("each dtype takes long to compile: tested on one shape")


IDS = {"ids": lambda case: f"{'x'.join(map(str, case[0]))}-{case[1]}-g{case[2]}-b{case[3]}"}


@pytest.mark.parametrize("kind", ["adamw", "momentum"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("case", SHAPES, **IDS)
def test_steps_against_the_reference(prox, case, axis, dtype, kind):
    can(prox, case, axis, dtype)
    follow(prox, case, axis, dtype, kind)


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("gamma", [math.inf, 30.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [SHAPES[0], SHAPES[5], SHAPES[8]], **IDS)
def test_more_of_the_steps(prox, case, kind, gamma, masked):
    follow(prox, case, "in", torch.float32, kind, gamma, masked, count=4)
    follow(prox, case, "out" if fits(case[0], "out", *case[2:]) else "in", torch.float32, kind, gamma, masked, count=2)


@pytest.mark.parametrize("case", [((9000, 16), "contiguous", 1, 1), ((600, 24, 3, 3), "channels_last", 1, 1)], **IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_groups_that_do_not_fit_on_chip(prox, case, dtype):
    for axis in ("in", "out"):
        follow(prox, case, axis, dtype, "adamw", count=2)
    follow(prox, ((3, 70_000), "contiguous", 1, 1), "out", dtype, "momentum", count=2)


def test_small_steps_for_the_sanitizer(prox):
    for case in SMALL[:6]:
        for kind, gamma in (("adamw", math.inf), ("momentum", 0.1)):
            follow(prox, case, "in", torch.float32, kind, gamma, count=2)


def several(device="cuda", kind="adamw", **how):
    shapes = [(64, 48, 3, 3), (48, 64, 1, 1), (31, 17), (12, 5, 5, 5)]
    generator = torch.Generator().manual_seed(2)
    steps = Steps([torch.randn(shape, generator=generator) for shape in shapes], kind, **how)
    grads = [[torch.randn(shape, generator=generator).to(device) for shape in shapes] for _ in range(4)]
    prices = [0.7 * float(x.median()) for x in thresholds(steps, [g.cpu() for g in grads[0]])]
    return steps.copy(device), grads, prices


@pytest.mark.parametrize("gamma", [math.inf, 0.5])
@pytest.mark.parametrize("kind", ["adamw", "momentum"])
def test_a_graph_replays_steps(prox, kind, gamma):
    captured, grads, prices = several(kind=kind, gamma=gamma)
    eager = captured.copy("cuda")
    lr = torch.tensor(LR, device="cuda")
    still = [torch.zeros_like(g) for g in grads[0]]
    for steps in (captured, eager):  # compiled, and past the first step of a momentum buffer
        steps.step([g.clone() for g in grads[0]], prices, prox, lr=lr)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured.step(still, prices, prox, lr=lr)
    for i, g in enumerate(grads[1:]):
        lr.fill_(LR * (1 + i))
        for to, new in zip(still, g, strict=True):
            to.copy_(new)
        garbage = torch.full((1 << 20,), 7, device="cuda")  # where a table that was freed would be
        del garbage
        graph.replay()
        eager.step([x.clone() for x in g], prices, prox, lr=lr)
        assert all(torch.equal(a, b) for a, b in zip(captured.state(), eager.state(), strict=True))
    assert kind != "adamw" or all(float(step) == 4 for step in captured.steps)


def test_steps_on_the_current_stream(prox):
    steps, grads, prices = several()
    expected = steps.copy("cpu")
    expected.step([2 * g.cpu() for g in grads[0]], prices, "reference")
    steps.copy("cuda").step([g.clone() for g in grads[0]], prices, prox)  # compiled
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        steps.step([2 * g for g in grads[0]], prices, prox)
    stream.synchronize()
    same(steps.state(), expected.state(), torch.float32)


@pytest.mark.parametrize("kind", ["adamw", "momentum"])
def test_infinite_gradients_change_nothing(prox, kind):
    steps, grads, prices = several(kind=kind)
    steps.step(grads[0], prices, prox)
    before = steps.copy("cuda")
    scaled = [8 * g for g in grads[1]]
    kept = [g.clone() for g in scaled]
    more = {"grad_scale": torch.tensor(8.0, device="cuda"), "found_inf": torch.tensor([1.0], device="cuda")}
    steps.step(scaled, prices, prox, **more)
    assert all(torch.equal(a, b) for a, b in zip(steps.state() + scaled, before.state() + kept, strict=True))
    more["found_inf"].zero_()
    steps.step(scaled, prices, prox, **more)
    before.step(grads[1], prices, prox)
    assert all(torch.equal(a, b) for a, b in zip(steps.state() + scaled, before.state() + grads[1], strict=True))


def test_no_word_of_steps_to_the_host(prox):
    steps, grads, prices = several(gamma=2.0)
    more = {"lr": torch.tensor(LR, device="cuda"), "found_inf": torch.zeros((), device="cuda")}
    steps.step(grads[0], prices, prox, **more)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps.step(grads[1], prices, prox, **more)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_nan_spoils_its_own_group(prox):
    steps, grads, prices = several()
    expected = steps.copy("cuda")
    grads[0][0][5, 7] = torch.nan
    steps.step(grads[0], prices, prox)
    expected.step([g.nan_to_num() for g in grads[0]], prices, prox)
    assert steps.weights[0][:, 7].isnan().all()
    assert steps.norms[0][0, 7].isnan()
    others = torch.arange(48, device="cuda") != 7
    assert torch.equal(steps.weights[0][:, others], expected.weights[0][:, others])
    assert torch.equal(steps.weights[1], expected.weights[1])


def test_two_thousand_tensors_in_one_call(prox):
    small = Steps([torch.randn(4 + i, 3 + i % 3, 3, 3) for i in range(8)], "adamw")
    grads = [torch.randn_like(w) for w in small.weights]
    prices = [between(found) for found in thresholds(small, grads)]
    many = Steps([w.cuda() for _ in range(250) for w in small.weights], "adamw")
    many.step([g.cuda() for _ in range(250) for g in grads], prices * 250, prox)
    small.step(grads, prices, "reference")
    same(many.weights[-8:], small.weights, torch.float32)
    for i in range(8):
        every = torch.stack(many.weights[i::8])
        assert torch.equal(every, every[-1:].expand_as(every))
    assert torch.stack(many.steps).eq(1).all()


def test_the_same_bits_of_steps(prox):
    first, grads, prices = several(gamma=1.0)
    again = first.copy("cuda")
    for g in grads:
        first.step([x.clone() for x in g], prices, prox)
        again.step([x.clone() for x in g], prices, prox)
    assert all(torch.equal(a, b) for a, b in zip(first.state(), again.state(), strict=True))


# --- The channel-masked convolution.

CONVS = [
    # input, outputs, kernel, stride, padding, dilation, groups
    ((2, 64, 16, 16), 96, 3, 1, 1, 1, 1),
    ((2, 256, 16, 8), 160, 1, 1, 0, 1, 1),
    ((2, 37, 13, 11), 29, 3, 2, 1, 1, 1),
    ((2, 48, 15, 17), 40, 3, 1, 4, 4, 1),
    ((2, 64, 17, 16), 64, 1, 2, 0, 1, 1),
    ((3, 24, 9, 9), 72, (2, 4), (3, 2), (0, 2), (1, 3), 1),
    ((2, 32, 9, 9), 64, 3, 2, 1, 1, 32),
    ((2, 24, 9, 9), 12, 3, 1, 1, 1, 2),
    ((1, 1, 1, 1), 1, 1, 1, 0, 1, 1),
    ((0, 16, 8, 8), 16, 3, 1, 1, 1, 1),
]
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


@pytest.fixture(params=["cuda", "triton"])
def conv(request):
    """Every GPU backend of the convolution that works here; in float32 it computes in float32."""
    available(request.param, device="cuda", operation="masked_conv2d")
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield request.param
    torch.backends.cudnn.allow_tf32 = before


def some(channels, kind, generator):
    """Live channels: none, one, every one, single ones, or runs of eight."""
    if kind == "runs":
        return (torch.rand((channels + 7) // 8, generator=generator) < 0.6).repeat_interleave(8)[:channels]
    share = {"none": 0.0, "all": 1.1, "single": 0.5}[kind]
    return torch.rand(channels, generator=generator) < share


def convolved(case, dtype, kind, layout, readers=1, scaled=False, dead_out="bias", revive=False):
    """A call's tensors on the CPU, in float64 but rounded to a dtype, and its other arguments."""
    shape, outs, kernel, stride, padding, dilation, groups = case
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    generator = torch.Generator().manual_seed(3)

    def numbers(*size):
        found = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype).double()
        return found.contiguous(memory_format=layout) if len(size) == 4 else found

    tensors = [numbers(*shape)]
    tensors += [numbers(outs, shape[1] // groups, *kernel) for _ in range(readers)]
    tensors += [numbers(outs) for _ in range(readers)]
    tensors += [numbers(shape[1]) for _ in range(readers if scaled else 0)]
    masks = [[some(n, kind, generator) for _ in range(readers)] for n in (shape[1], outs)]
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return tensors, masks, how | {"dead_out": dead_out, "revive": revive}


def gradients(tensors, masks, how, backend, device, dtype):
    """Outputs and all gradients."""
    readers = len(masks[0])
    x, *rest = (t.to(device, dtype).requires_grad_() for t in tensors)
    parts = [rest[i : i + readers] for i in range(0, len(rest), readers)]
    live_in, live_out = ([mask.to(device) for mask in part] for part in masks)
    scales = parts[2] if len(parts) > 2 else None
    lists = {"live_in": live_in, "live_out": live_out, "scales": scales}
    outputs = masked_conv2d_readers(x, *parts[:2], **how, **lists, backend=backend)
    generator = torch.Generator().manual_seed(4)
    pulls = []
    for y in outputs:
        pull = torch.randn(y.shape, generator=generator).to(torch.bfloat16).to(device, dtype)  # the same in all dtypes
        pulls.append(pull.contiguous(memory_format=torch.channels_last) if y.stride(1) == 1 else pull)
    return [*outputs, *torch.autograd.grad(outputs, [x, *rest], pulls)]


def convolves(backend, case, dtype, kind, layout=torch.channels_last, **more):
    tensors, masks, how = convolved(case, dtype, kind, layout, **more)
    expected = gradients(tensors, masks, how, "reference", "cpu", torch.float64)
    found = gradients(tensors, masks, how, backend, "cuda", dtype)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        if b.numel():
            error = float((a.detach().cpu().double() - b.detach()).abs().max())
            assert error <= CLOSE[dtype] * float(b.detach().abs().max()), (error, a.shape)
    zeros = len(masks[0])  # outputs, then the input's gradient
    assert torch.equal(found[zeros].cpu() == 0, expected[zeros].to(dtype) == 0)


LAYOUTS = [(case, torch.channels_last, torch.bfloat16) for case in CONVS]
LAYOUTS += [(case, torch.contiguous_format, torch.bfloat16) for case in CONVS[:3]]
LAYOUTS += [(case, torch.channels_last, torch.float32) for case in CONVS[:3]]
"""Not all of all: each kind takes seconds to compile."""


@pytest.mark.parametrize("kind", ["runs", "single"])
@pytest.mark.parametrize(("case", "layout", "dtype"), LAYOUTS, ids=str)
def test_convolutions_against_the_reference(conv, case, layout, dtype, kind):
    if kind == "single" and case[0][1] % 8:
        pytest.skip("there are no runs to differ from")
    convolves(conv, case, dtype, kind, layout)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_other_dtypes_of_convolutions(conv, dtype):
    convolves(conv, CONVS[0], dtype, "runs")
    convolves(conv, CONVS[2], dtype, "single", torch.contiguous_format)


@pytest.mark.parametrize("kind", ["none", "all", "runs", "single"])
def test_more_of_convolutions(conv, kind):
    for dead_out in ("bias", "zero"):
        for revive in (False, True):
            convolves(conv, CONVS[0], torch.bfloat16, kind, scaled=True, dead_out=dead_out, revive=revive)
    convolves(conv, CONVS[0], torch.bfloat16, kind, readers=5)


def test_small_convolutions_for_the_sanitizer(conv):
    for case in (CONVS[2], CONVS[5], CONVS[7]):
        for kind in ("runs", "single"):
            convolves(conv, case, torch.bfloat16, kind)


def test_a_graph_replays_with_another_mask(conv):
    tensors, masks, how = convolved(CONVS[0], torch.bfloat16, "runs", torch.channels_last, scaled=True)
    x, W, bias, scale = (t.to("cuda", torch.bfloat16).requires_grad_() for t in tensors)
    lists = [LiveList.of(mask[0].cuda(), len(mask[0])) for mask in masks]
    pull = torch.randn(2, 96, 16, 16, device="cuda", dtype=torch.bfloat16)

    def step(live, backend):
        y = masked_conv2d(x, W, bias, **how, live_in=live[0], live_out=live[1], scale=scale, backend=backend)
        return y, *torch.autograd.grad(y, (x, W, bias, scale), pull)

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step(lists, conv)  # compiled before the capture
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step(lists, conv)
    generator = torch.Generator().manual_seed(5)
    for kind in ("single", "none", "runs", "all"):
        for to, mask in zip(lists, masks, strict=True):
            new = LiveList.of(some(len(mask[0]), kind, generator).cuda(), len(mask[0]))
            to.indices.copy_(new.indices)
            to.count.copy_(new.count)
        graph.replay()
        for a, b in zip(found, step(lists, "reference"), strict=True):
            assert float((a - b).abs().max()) <= 2e-2 * float(b.abs().max()), kind


def test_no_word_of_convolutions_to_the_host(conv):
    tensors, masks, how = convolved(CONVS[0], torch.bfloat16, "single", torch.channels_last, scaled=True)
    x, W, bias, scale = (t.to("cuda", torch.bfloat16).requires_grad_() for t in tensors)
    live_in, live_out = (mask[0].cuda() for mask in masks)
    for mode in ("default", "error"):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(mode)
        try:
            y = masked_conv2d(
                x, W, bias, **how | {"dead_out": "zero"}, live_in=live_in, live_out=live_out, scale=scale, backend=conv
            )
            y.sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_the_same_bits_of_convolutions(conv):
    tensors, masks, how = convolved(CONVS[0], torch.bfloat16, "single", torch.channels_last)
    first = gradients(tensors, masks, how, conv, "cuda", torch.bfloat16)
    for _ in range(3):
        again = gradients(tensors, masks, how, conv, "cuda", torch.bfloat16)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_dead_channels_are_not_read(conv):
    tensors, masks, how = convolved(CONVS[0], torch.bfloat16, "single", torch.channels_last)
    expected = gradients(tensors, masks, how, conv, "cuda", torch.bfloat16)
    dead_in, dead_out = ~masks[0][0], ~masks[1][0]
    tensors[0][:, dead_in] = math.nan
    tensors[1][:, dead_in] = math.nan
    tensors[1][dead_out] = math.nan
    found = gradients(tensors, masks, how, conv, "cuda", torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_map_of_more_than_two_to_the_31_numbers(conv):
    if torch.cuda.mem_get_info()[0] < 40e9:
        pytest.skip("less than 40 GB are free")
    how = {"device": "cuda", "dtype": torch.bfloat16}
    x = torch.zeros(9, 64, 2048, 2048, **how).contiguous(memory_format=torch.channels_last).requires_grad_()
    W, mask = torch.zeros(64, 64, 1, 1, **how), torch.zeros(64, device="cuda", dtype=torch.bool)
    mask[-8:] = True
    W[-1, -1] = 2.0
    with torch.no_grad():
        x[-1, -1, -1, -1] = 3.0
    y = masked_conv2d(x, W, live_in=mask, live_out=mask, backend=conv)
    assert y[-1, -1, -1, -1] == 6.0
    (to_x,) = torch.autograd.grad(y, x, y.detach())
    assert to_x[-1, -1, -1, -1] == 12.0
    assert gather_channels(x.detach(), mask.nonzero()[:, 0], backend=conv)[-1, -1, -1, -1] == 3.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("shape", [(2, 64, 16, 16), (2, 37, 5, 7), (2, 1024, 4, 8), (1, 1, 3, 3)], ids=str)
def test_gathered_channels(conv, shape, layout, dtype):
    x = torch.randn(shape).to(dtype).contiguous(memory_format=layout)
    scale, shift = torch.randn(shape[1]), torch.randn(shape[1])
    indices = torch.randperm(shape[1])[: (shape[1] + 1) // 2]
    results = []
    for device, backend in (("cpu", "reference"), ("cuda", conv)):
        moved = [t.to(device).requires_grad_() for t in (x, scale)]
        y = gather_channels(
            moved[0], indices.to(device), scale=moved[1], shift=shift.to(device), rectify=True, backend=backend
        )
        results.append([y, *torch.autograd.grad(y, moved, torch.ones_like(y))])
    for a, b in zip(results[1], results[0], strict=True):
        assert a.stride() == b.stride()
        torch.testing.assert_close(a.cpu(), b, rtol=8 * torch.finfo(dtype).eps, atol=8 * torch.finfo(dtype).eps)
