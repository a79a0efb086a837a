"""What only a GPU can show: bfloat16, streams, graphs, no word to the host. Run by ``pytest -m gpu``."""

import pytest
import torch

from lomt_kernels import LiveList, group_alive, group_norms, group_shrink
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
