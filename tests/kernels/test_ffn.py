"""The block-sparse feed-forward network of every backend against brute force; packing; whose result depends on what."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt_kernels import pack_ffn, registry, sparse_ffn, unpack_ffn
from lomt_kernels.ffn.native import MANY
from tests.kernels.conftest import INTERPRETER, available
from tests.kernels.networks import ACTIVATIONS, SIZES, Network
from tests.kernels.weights import DTYPES

ROWS = (1, 2, MANY, MANY + 3)
"""Alone, two that share what they read, the most that do, and many, by dense products."""


CASES = [
    (size, activation, gated, biased)
    for size in SIZES
    for i, activation in enumerate(ACTIVATIONS)
    for gated in (False, True)
    for biased in (False, True)
    if size == SIZES[1] or i == 2 * gated + biased
]


def masks(rows, blocks, seed=0):
    """Half of the blocks, of many rows most; of two rows or more, none for the first and all for the last."""
    share = 0.5 if rows <= MANY else 0.9
    active = torch.rand(rows, blocks, generator=torch.Generator().manual_seed(seed)) < share
    if rows > 1:
        active[0], active[-1] = False, True
    return active


def unit(dtype):
    """Half the distance from 1 to the next number."""
    return torch.finfo(dtype).eps / 2


def agrees(found, network, x, active, activation, dense):
    """Within the roundings of what is computed with, and of the result."""
    dtype = network.up.dtype
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    expected, error = network.expected(x, active, activation, unit(wide), unit(dtype) if dense else 0.0)
    assert found.dtype == x.dtype
    assert found.shape == expected.shape
    allowed = error + 1.01 * unit(found.dtype) * expected.abs() + torch.finfo(dtype).tiny
    assert ((found.double() - expected).abs() <= allowed).all()


def on_here(backend, dtype):
    available(backend, dtype=dtype, operation="sparse_ffn")


@pytest.mark.parametrize(("size", "activation", "gated", "biased"), CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_against_brute_force(backend, size, dtype, activation, gated, biased):
    on_here(backend, dtype)
    network = Network.random(size, dtype, gated, biased)
    gate_up, down_t = network.packed()
    for rows in ROWS:
        x = torch.randn(rows, size[0], generator=torch.Generator().manual_seed(rows), dtype=torch.float64).to(dtype)
        active = masks(rows, size[2])
        how = {"activation": activation, **network.biases(), "backend": backend}
        kept = [t.clone() for t in (x, gate_up, down_t, active)]
        found = sparse_ffn(x, gate_up, down_t, active, **how)
        assert all(torch.equal(a, b) for a, b in zip(kept, (x, gate_up, down_t, active), strict=True))
        between = backend == "triton" or (backend == "native" and rows > MANY)
        agrees(found, network, x, active, activation, between)


def test_a_whole_layer(backend):
    """Several chunks, tiles and neurons at a time, in float32."""
    on_here(backend, torch.float32)
    size = (512, 640, 8 if INTERPRETER else 96, 32)
    network = Network.random(size, torch.float32)
    x, active = torch.randn(3, 512), masks(3, size[2])
    agrees(
        sparse_ffn(x, *network.packed(), active, **network.biases(), backend=backend), network, x, active, "silu", False
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_neighbours_change_no_bit(size, dtype):
    """For Triton it is tested on a GPU: its interpreter multiplies matrices with NumPy, whose bits depend on places."""
    on_here("native", dtype)
    network = Network.random(size, dtype)
    gate_up, down_t = network.packed()
    x, active = torch.randn(MANY, size[0]).to(dtype), masks(MANY, size[2])

    def run(rows):
        return sparse_ffn(x[rows], gate_up, down_t, active[rows], **network.biases(), backend="native")

    alone = torch.cat([run([i]) for i in range(MANY)])
    for rows in ([0, 1], [5, 3, 2], list(range(7)), list(range(MANY))[::-1]):
        assert torch.equal(run(rows), alone[rows])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 5])
def test_threads_change_no_bit(rows, dtype):
    available("native", operation="sparse_ffn")
    network = Network.random((256, 260, 90, 32), dtype)
    gate_up, down_t = network.packed()
    x, active, found = torch.randn(rows, 256).to(dtype), masks(rows, 90), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found += [sparse_ffn(x, gate_up, down_t, active, backend="native") for _ in range(3)]
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(other, found[0]) for other in found[1:])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_instruction_set_agrees(instruction_sets, dtype):
    binary, names = instruction_sets
    network = Network.random((130, 67, 5, 9), dtype)
    for rows in (1, 3):
        x, active = torch.randn(rows, 130).to(dtype), masks(rows, 5)
        for name in names:
            binary.use_instruction_set(name)
            found = sparse_ffn(x, *network.packed(), active, **network.biases(), backend="native")
            agrees(found, network, x, active, "silu", False)


@pytest.mark.parametrize("active", ["none", "one", "all"])
@pytest.mark.parametrize("rows", ROWS)
def test_none_one_and_all(backend, rows, active):
    on_here(backend, torch.float32)
    network = Network.random((20, 12, 6, 4), torch.float32)
    mask = torch.full((rows, 6), active == "all")
    mask[:, 2] |= active == "one"
    x = torch.randn(rows, 20)
    found = sparse_ffn(x, *network.packed(), mask, **network.biases(), backend=backend)
    agrees(found, network, x, mask, "silu", rows > MANY)
    if active == "none":
        assert torch.equal(found, network.down_bias.expand(rows, -1))
        nothing = sparse_ffn(x, *network.packed(), mask, backend=backend)
        assert torch.equal(nothing, torch.zeros(rows, 12))
        assert not nothing.signbit().any()


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # the interpreter computes with NumPy
@pytest.mark.parametrize("rows", [1, 3, MANY + 1])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_nan_stays_visible_where_it_is_used_alone(backend, rows, bad):
    on_here(backend, torch.float32)
    if backend == "triton" and rows > MANY:
        pytest.skip("dense products of a GPU read all weights, and nobody looks at what comes of it")
    network = Network.random((20, 12, 6, 4), torch.float32, biased=False)
    active = masks(rows, 6)
    active[0] = torch.tensor([True, False, True, False, True, True])
    if rows > 1:
        active[1], active[2:] = ~active[0], active[0].clone()
    x = torch.randn(rows, 20)
    clean = sparse_ffn(x, *network.packed(), active, backend=backend)
    for weight in (network.gate, network.up, network.down.T):
        kept = weight.clone()
        weight[5:8] = bad  # of the second block
        spoiled = sparse_ffn(x, *network.packed(), active, backend=backend)
        weight.copy_(kept)
        rest = [i for i in range(rows) if i != 1]
        assert spoiled[rest].isfinite().all()
        if rows <= MANY:
            assert torch.equal(spoiled[rest], clean[rest])
        if rows > 1:
            assert not spoiled[1].isfinite().any()
    x[rows // 2, 3] = bad
    spoiled = sparse_ffn(x, *network.packed(), active, backend=backend)
    finite = torch.arange(rows) != rows // 2
    assert spoiled[finite].isfinite().all()
    assert not spoiled[rows // 2].isfinite().any()


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_relu_keeps_a_nan(backend):
    on_here(backend, torch.float32)
    network = Network.random((20, 12, 6, 4), torch.float32, gated=False)
    x = torch.full((1, 20), torch.nan)
    found = sparse_ffn(x, *network.packed(), torch.ones(1, 6, dtype=torch.bool), activation="relu", backend=backend)
    assert found.isnan().all()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0), (2, 3, 4)])
def test_leading_dimensions(backend, shape):
    on_here(backend, torch.float32)
    network = Network.random((20, 12, 6, 4), torch.float32)
    rows = torch.Size(shape).numel()
    x, active = torch.randn(rows, 20), masks(rows, 6)
    flat = sparse_ffn(x, *network.packed(), active, backend=backend)
    found = sparse_ffn(x.view(*shape, 20), *network.packed(), active.view(*shape, 6), backend=backend)
    assert found.shape == (*shape, 12)
    assert torch.equal(found.reshape(rows, 12), flat)


@pytest.mark.parametrize(
    ("d", "out", "blocks", "block"), [(0, 5, 3, 2), (5, 0, 3, 2), (5, 4, 0, 2), (5, 4, 3, 0), (0, 0, 0, 0)]
)
@pytest.mark.parametrize("rows", ROWS[1:])
def test_nothing_to_do(backend, rows, d, out, blocks, block):
    on_here(backend, torch.float32)
    gate_up, down_t, bias = torch.randn(blocks, 2, block, d), torch.randn(blocks, block, out), torch.randn(out)
    active = torch.ones(rows, blocks, dtype=torch.bool)
    found = sparse_ffn(torch.randn(rows, d), gate_up, down_t, active, down_bias=bias, backend=backend)
    assert torch.equal(found, bias.expand(rows, -1))  # silu(0) is 0


def test_strides(backend):
    on_here(backend, torch.float32)
    network = Network.random((20, 12, 6, 4), torch.float32)
    gate_up, down_t = network.packed()
    x, active = torch.randn(5, 20), masks(5, 6)
    expected = sparse_ffn(x, gate_up, down_t, active, **network.biases(), backend=backend)
    apart = {name: torch.stack([t, t], -1)[..., 0] for name, t in network.biases().items()}
    strided = (x.T.contiguous().T, gate_up, down_t, torch.stack([active, ~active], -1)[..., 0])
    assert torch.equal(sparse_ffn(*strided, **apart, backend=backend), expected)
    one = sparse_ffn(x[:1].expand(5, -1), gate_up, down_t, active[:1].expand(5, -1), backend=backend)
    assert torch.equal(one, one[:1].expand(5, -1))


def test_inputs_of_another_dtype(backend):
    """As autocast has them: the weights' dtype is computed with, the input's is returned."""
    on_here(backend, torch.float32)
    network = Network.random((20, 12, 6, 4), torch.float32)
    x, active = torch.randn(2, 20).bfloat16(), masks(2, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found = sparse_ffn(x, *network.packed(), active, backend=backend)
    expected = sparse_ffn(x.float(), *network.packed(), active, backend=backend)
    assert torch.equal(found, expected.bfloat16())


@settings(max_examples=60, deadline=None)
@given(
    d=st.integers(1, 70),
    out=st.integers(1, 70),
    blocks=st.integers(1, 9),
    block=st.integers(1, 17),
    rows=st.integers(1, 6),
    gated=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_inactive_blocks_might_as_well_not_be_there(d, out, blocks, block, rows, gated, seed):
    """The compacted network computes the same; all of its blocks are active."""
    network = Network.random((d, out, blocks, block), torch.float32, gated, seed=seed)
    gate_up, down_t = network.packed()
    x, active = torch.randn(rows, d, generator=torch.Generator().manual_seed(seed)), masks(rows, blocks, seed)
    found = sparse_ffn(x, gate_up, down_t, active, **network.biases())
    agrees(found, network, x, active, "silu", False)
    for i in range(rows):
        kept = active[i]
        alone = sparse_ffn(
            *(x[i], gate_up[kept], down_t[kept], kept[kept]), bias=network.bias[kept], down_bias=network.down_bias
        )
        _, error = network.expected(x[i], kept, "silu", unit(torch.float32))
        assert ((alone - found[i]).abs() <= 2 * error).all()


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_unpacking_gives_back_every_bit(dtype, gated):
    network = Network.random((48, 40, 12, 32), dtype, gated)
    strided = [None if t is None else t.T.contiguous().T for t in network[:3]]
    for gate, up, down in (network[:3], strided):
        gate_up, down_t = pack_ffn(gate, up, down)
        assert gate_up.shape == (12, 1 + gated, 32, 48)
        assert down_t.shape == (12, 32, 40)
        assert gate_up.is_contiguous()
        assert down_t.is_contiguous()
        found = unpack_ffn(gate_up, down_t)
        for a, b in zip(found, (gate, up, down), strict=True):
            assert (a is None and b is None) or (torch.equal(a, b) and a.is_contiguous())
        memory = {t.untyped_storage().data_ptr() for t in (up, down, gate_up, down_t)}
        assert len(memory) == 4
        assert all(t is None or t.untyped_storage().data_ptr() not in memory for t in found)


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_many_rows_agree_with_few(share):
    """A prompt's rows, and the same ones a few at a time: the same bits, or other sums of the same numbers."""
    available("native", operation="sparse_ffn")
    network = Network.random((48, 40, 12, 32), torch.float32)
    x, active = torch.randn(5 * MANY + 1, 48), torch.rand(5 * MANY + 1, 12) < share
    how = network.biases()
    whole = sparse_ffn(x, *network.packed(), active, **how)
    for part in torch.arange(len(x)).split(7):
        few = sparse_ffn(x[part], *network.packed(), active[part], **how)
        _, error = network.expected(x[part], active[part], "silu", unit(torch.float32))
        assert ((few - whole[part]).abs() <= 2 * error).all()
        assert share > 0.5 or torch.equal(few, whole[part])


@pytest.mark.parametrize("name", ["native", "triton"])
def test_a_fast_backend_was_tested(name):
    """No native or no Triton test would make all of the above say nothing of them."""
    if (name == "triton") != INTERPRETER:
        pytest.skip("in the other process")
    assert registry._refusal("ffn", name, "cpu", torch.float32) is None


test_a_fast_backend_was_tested = pytest.mark.interpreter(test_a_fast_backend_was_tested)
