"""The block-sparse feed-forward network where only a GPU can show it: bfloat16, graphs, streams, neighbours' bits."""

import pytest
import torch

from lomt_kernels import sparse_ffn
from lomt_kernels.ffn.native import MANY
from tests.kernels.conftest import available
from tests.kernels.networks import ACTIVATIONS, SIZES, Network
from tests.kernels.test_ffn import agrees, masks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
LAYER = (1024, 768, 80, 32)


class Layer:
    """A network on the GPU."""

    def __init__(self, size, dtype, **how):
        available("triton", "cuda", dtype, "sparse_ffn")
        self.network = Network.random(size, dtype, **how)
        self.packed = [t.cuda() for t in self.network.packed()]
        self.biases = {name: None if t is None else t.cuda() for name, t in self.network.biases().items()}

    def __call__(self, x, active, **how):
        return sparse_ffn(x, *self.packed, active, **self.biases, backend="triton", **how)


@pytest.mark.parametrize(
    ("size", "dtype", "activation", "gated"),
    [  # each takes a second or two to compile
        *((LAYER, torch.bfloat16, activation, gated) for activation in ACTIVATIONS for gated in (False, True)),
        *((SIZES[1], dtype, "silu", True) for dtype in DTYPES),
        *((LAYER, dtype, "silu", True) for dtype in (torch.float32, torch.float16)),
    ],
)
def test_against_brute_force(size, dtype, activation, gated):
    layer = Layer(size, dtype, gated=gated)
    for rows in (1, 3, 16, MANY + 1):
        x, active = torch.randn(rows, size[0]).to(dtype), masks(rows, size[2])
        found = layer(x.cuda(), active.cuda(), activation=activation)
        agrees(found.cpu(), layer.network, x, active, activation, True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [SIZES[1], LAYER], ids=str)
def test_neighbours_change_no_bit(size, dtype):
    layer = Layer(size, dtype)
    x, active = torch.randn(16, size[0]).to(dtype).cuda(), masks(16, size[2]).cuda()
    alone = torch.cat([layer(x[i : i + 1], active[i : i + 1]) for i in range(16)])
    for rows in ([0, 1], [5, 3, 2], list(range(16))[::-1]):
        assert torch.equal(layer(x[rows], active[rows]), alone[rows])
    assert all(torch.equal(layer(x, active), alone) for _ in range(3))


def test_a_nan_stays_where_it_is_used():
    layer = Layer(LAYER, torch.bfloat16)
    active = masks(3, LAYER[2]).cuda()
    active[0, 7], active[2, 7] = False, True
    for weights in layer.packed:
        weights[7] = torch.nan
    found = layer(torch.randn(3, LAYER[0]).bfloat16().cuda(), active)
    assert found[0].isfinite().all()
    assert found[2].isnan().all()


def test_a_graph_replays_with_another_mask():
    layer = Layer(LAYER, torch.bfloat16)
    x, active = torch.randn(2, LAYER[0]).bfloat16().cuda(), masks(2, LAYER[2]).cuda()
    layer(x, active)  # compiled before the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = layer(x, active)
    for seed in range(3):
        x.copy_(torch.randn_like(x))
        active.copy_(masks(2, LAYER[2], seed))
        graph.replay()
        assert torch.equal(y, layer(x, active))


def test_no_word_to_the_host():
    layer = Layer(LAYER, torch.bfloat16)
    x, active = torch.randn(40, LAYER[0]).bfloat16().cuda(), masks(40, LAYER[2]).cuda()
    few, some = x[:2], active[:2]
    layer(few, some), layer(x, active)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        layer(few, some), layer(x, active)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_current_stream():
    layer = Layer(LAYER, torch.float32)
    x, active = torch.randn(2, LAYER[0]).cuda(), masks(2, LAYER[2]).cuda()
    expected = layer(2 * x, active)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        found = layer(x.mul(2), active)
    stream.synchronize()
    assert torch.equal(found, expected)


def test_more_than_two_to_the_31_numbers():
    """Offsets of 64 bits, on a real memory: the last block of 4.3 billion weights."""
    if torch.cuda.mem_get_info()[0] < 24e9:
        pytest.skip("less than 24 GB are free")
    available("triton", "cuda", torch.bfloat16, "sparse_ffn")
    gate_up = torch.zeros(4100, 2, 32, 2**14, device="cuda", dtype=torch.bfloat16)
    down_t = torch.zeros(4100, 32, 2**14, device="cuda", dtype=torch.bfloat16)
    gate_up[-1, :, -1, -1] = 2.0
    down_t[-1, -1, -1] = 3.0
    x = torch.ones(1, 2**14, device="cuda", dtype=torch.bfloat16)
    active = torch.zeros(1, 4100, dtype=torch.bool, device="cuda")
    active[0, -1] = True
    y = sparse_ffn(x, gate_up, down_t, active, activation="relu", backend="triton")
    assert y[0, -1] == 12.0
    assert y.count_nonzero() == 1
