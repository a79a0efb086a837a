"""What only a GPU can show: bfloat16, streams, graphs, no word to the host. Run by ``pytest -m gpu``."""

import math

import pytest
import torch

from lomt_kernels import LiveList, group_alive, group_norms, group_shrink, prox_adamw_, prox_sgd_
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
