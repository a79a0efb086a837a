"""The block-sparse feed-forward network as torch sees it: opcheck, no data, compilation, work counted, bad input."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lomt_kernels import library, pack_ffn, sparse_ffn
from tests.kernels.conftest import available
from tests.kernels.networks import Network
from tests.kernels.test_ffn import masks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 20])
@pytest.mark.parametrize("name", ["native", "reference"])
def test_opcheck(name, rows, gated, dtype):
    available(name, dtype=dtype, operation="sparse_ffn")
    network = Network.random((20, 12, 6, 4), dtype, gated)
    x, active = torch.randn(4, 20).to(dtype)[: min(rows, 4)].repeat(-(-rows // 4), 1), masks(rows, 6)
    for biases in ((None, None), (network.bias, network.down_bias)):
        arguments = (x, *network.packed(), active, *biases, "gelu", name)
        torch.library.opcheck(library.OPS.sparse_ffn, arguments)
        strided = (x.T.contiguous().T, *network.packed(), active.T.contiguous().T, *biases, "silu", name)
        torch.library.opcheck(library.OPS.sparse_ffn, strided)


def test_without_data():
    with FakeTensorMode():
        x = torch.empty(2, 3, 64, device="cuda", dtype=torch.bfloat16)
        gate_up = torch.empty(7, 2, 32, 64, device="cuda", dtype=torch.bfloat16)
        down_t = torch.empty(7, 32, 48, device="cuda", dtype=torch.bfloat16)
        active = torch.empty(2, 3, 7, device="cuda", dtype=torch.bool)
        y = sparse_ffn(x, gate_up, down_t, active, backend="reference")
    assert (y.shape, y.dtype, y.device.type) == ((2, 3, 48), torch.bfloat16, "cuda")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("dynamic", [False, True])
def test_it_compiles_whole(dynamic):
    network = Network.random((20, 12, 6, 4), torch.float32)
    gate_up, down_t = network.packed()

    def layer(x, router):
        return sparse_ffn(2 * x, gate_up, down_t, x @ router > 0, **network.biases()) + 1

    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    router = torch.randn(20, 6)
    for rows in (2, 5, 30):
        x = torch.randn(rows, 3, 20)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x, router), layer(x, router))


def test_work_is_counted_where_blocks_are_active():
    network = Network.random((20, 12, 6, 4), torch.float32)
    active = masks(5, 6)
    with FlopCounterMode(display=False) as counter:
        sparse_ffn(torch.randn(5, 20), *network.packed(), active)
    assert counter.get_total_flops() == int(active.sum()) * 2 * 4 * (2 * 20 + 12)
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        sparse_ffn(torch.empty(5, 20), torch.empty(6, 1, 4, 20), torch.empty(6, 4, 12), torch.empty(5, 6).bool())
    assert counter.get_total_flops() == 5 * 6 * 2 * 4 * (20 + 12)


def call(**other):
    """One row of a network of 6 blocks, but for what is given."""
    arguments = {
        "x": torch.ones(1, 20),
        "gate_up": torch.ones(6, 2, 4, 20),
        "down_t": torch.ones(6, 4, 12),
        "active": torch.ones(1, 6, dtype=torch.bool),
    }
    return sparse_ffn(**(arguments | other))


@pytest.mark.parametrize(
    ("other", "kind", "words"),
    [
        ({"x": [1.0]}, TypeError, "x is of list"),
        ({"x": torch.ones(1, 20).int()}, TypeError, "x is of torch.int32: give floating-point"),
        ({"x": torch.ones(1, 21)}, ValueError, r"x has shape \(1, 21\): give \(..., 20\)"),
        ({"x": torch.tensor(1.0)}, ValueError, r"x has shape \(\)"),
        ({"gate_up": torch.ones(6, 2, 4, 20).to(torch.int8)}, TypeError, "gate_up is of torch.int8.*not quantized"),
        ({"gate_up": torch.ones(6, 3, 4, 20)}, ValueError, r"gate_up has shape \(6, 3, 4, 20\).*see pack_ffn"),
        ({"gate_up": torch.ones(48, 20)}, ValueError, r"gate_up has shape \(48, 20\)"),
        ({"gate_up": torch.ones(6, 2, 20, 4).transpose(2, 3)}, ValueError, "gate_up is not contiguous: call .contig"),
        ({"gate_up": torch.ones(6, 2, 4, 20, device="meta")}, ValueError, "down_t is on cpu, and gate_up on meta"),
        (
            {"down_t": torch.ones(6, 4, 12).double()},
            TypeError,
            "down_t is of torch.float64, and gate_up of torch.float32",
        ),
        ({"down_t": torch.ones(6, 5, 12)}, ValueError, r"down_t has shape \(6, 5, 12\): give \(6, 4, d_out\)"),
        ({"down_t": torch.ones(24, 12)}, ValueError, r"down_t has shape \(24, 12\)"),
        ({"down_t": torch.ones(6, 12, 4).mT}, ValueError, "down_t is not contiguous"),
        ({"active": torch.ones(1, 6)}, TypeError, "active is of torch.float32: give a mask of bool"),
        ({"active": torch.tensor([[0, 3]])}, TypeError, "active is of torch.int64: give a mask of bool"),
        ({"active": [0, 3]}, TypeError, "active is of list: give a mask of bool"),
        ({"active": torch.ones(1, 5, dtype=torch.bool)}, ValueError, r"active has shape \(1, 5\): give \(1, 6\)"),
        ({"active": torch.ones(6, dtype=torch.bool)}, ValueError, r"active has shape \(6,\): give \(1, 6\)"),
        ({"bias": torch.ones(6, 4)}, ValueError, r"bias has shape \(6, 4\): give \(6, 2, 4\)"),
        ({"bias": torch.ones(6, 2, 4).int()}, TypeError, "bias is of torch.int32"),
        ({"down_bias": torch.ones(13)}, ValueError, r"down_bias has shape \(13,\): give \(12,\)"),
        ({"activation": "swish"}, ValueError, "unknown activation 'swish': there are silu, gelu, gelu_tanh, relu"),
        ({"backend": "cuda"}, ValueError, "backend='cuda' can't be taken: it has no cuda code"),
        ({"x": torch.ones(1, 20).requires_grad_()}, RuntimeError, r"no gradient: call it under torch.no_grad\(\)"),
        ({"down_t": torch.ones(6, 4, 12).requires_grad_()}, RuntimeError, "no gradient"),
        ({"bias": torch.ones(6, 2, 4).requires_grad_()}, RuntimeError, "no gradient"),
    ],
)
def test_bad_input_is_one_clear_line(other, kind, words):
    with pytest.raises(kind, match=words) as error:
        call(**other)
    assert "\n" not in str(error.value)


def test_parameters_are_taken_where_no_gradient_is_asked_for():
    with torch.no_grad():
        assert call(gate_up=torch.nn.Parameter(torch.ones(6, 2, 4, 20))).shape == (1, 12)
    with torch.inference_mode():
        assert call(x=torch.ones(1, 20)).shape == (1, 12)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((None, torch.ones(60, 8), torch.ones(8, 60)), ValueError, "block=32 does not divide the 60 neurons"),
        ((None, torch.ones(64, 8), torch.ones(8, 64), 0), ValueError, "block=0"),
        ((torch.ones(64, 9), torch.ones(64, 8), torch.ones(8, 64)), ValueError, r"a gate of shape \(64, 9\)"),
        ((None, torch.ones(64, 8), torch.ones(64, 8)), ValueError, "reads 8 neurons, and up makes 64"),
        ((None, torch.ones(64), torch.ones(8, 64)), ValueError, r"up has shape \(64,\): give a matrix"),
        ((None, torch.ones(64, 8).to(torch.int8), torch.ones(8, 64)), TypeError, "up is of torch.int8.*not quantized"),
        ((None, torch.ones(64, 8), torch.ones(8, 64).half()), TypeError, "down is of torch.float16, and up of"),
        ((None, torch.ones(64, 8).to_sparse(), torch.ones(8, 64)), TypeError, "dense floating-point"),
        ((None, None, torch.ones(8, 64)), TypeError, "up is of NoneType"),
    ],
)
def test_what_can_not_be_packed(arguments, kind, words):
    with pytest.raises(kind, match=words) as error:
        pack_ffn(*arguments)
    assert "\n" not in str(error.value)
