"""GPU kernels compile here, without a GPU: nothing spills, offsets have 64 bits, shared memory fits."""

import shutil

import pytest

from benchmarks.kernels import compiled
from tests.kernels.conftest import INTERPRETER, available

PRODUCTS = ("product_kernel", "weight_kernel")
"""Products of tensor cores fill registers and shared memory with tiles; their shared memory is an architecture's."""
SHARED = {80: 163 * 1024, 90: 227 * 1024}


def check(rows):
    assert {row["sm"] for row in rows} == set(compiled.ARCHITECTURES)
    for row in rows:
        assert row["spilled"] <= compiled.SPILLS[row["backend"]], row
        tiled = row["kernel"].startswith((*PRODUCTS, "plain_weight_kernel", "pack_kernel"))
        assert row["registers"] <= (255 if tiled else 168), row
        assert row["shared"] <= (SHARED[row["sm"]] if tiled else 48 * 1024), row
        assert row.get("narrow_offsets", 0) == 0, row


@pytest.mark.slow
def test_triton():
    pytest.importorskip("triton", reason="triton is not installed")
    if INTERPRETER:
        pytest.skip("the interpreter compiles nothing")
    rows = list(compiled.triton_kernels())
    check(rows)
    for kernel in ("norms_kernel", "shrink_kernel", "backward_kernel", "adamw_kernel", "sgd_kernel"):
        assert any(row["kernel"].startswith(kernel) for row in rows), kernel

    names = [name for name in vars(conv_kernels()) if name.endswith("_kernel")]
    assert len(names) == 9
    for kernel in names:
        assert any(row["kernel"].startswith(kernel.strip("_")) for row in rows), kernel
    for row in rows:
        kernel = row["kernel"]
        if not kernel.startswith(PRODUCTS) or ("fp32" in kernel and "ieee" in kernel):
            continue
        assert row["wgmma" if row["sm"] == 90 else "mma"] > 0, row
        if "bf16" in kernel and "FROM=0" not in kernel:
            # Maps and packed weights go to shared memory 16 bytes at a time, and results to the map, too.
            assert row["async_16"] >= 12, row
            assert row["vectors"] >= 8, row
    for row in rows:
        if row["kernel"].startswith(("rows_kernel", "pick_kernel")):
            assert row["vectors"] > 0, row
    assert_networks_use_tensor_cores(rows)


def assert_networks_use_tensor_cores(rows):
    """At LLaMA's sizes, and read weights 16 bytes at a time."""
    found = [row for row in rows if row["kernel"].startswith(("hidden_kernel(bf16", "down_kernel(bf16"))]
    assert len(found) == 12
    for row in found:
        assert row["mma"] > 0, row
        assert ("4096" not in row["kernel"]) or row["async_16"] >= 12, row


def conv_kernels():
    from lomt_kernels.conv import triton_kernels

    return triton_kernels


@pytest.mark.slow
def test_cuda():
    if shutil.which("nvcc") is None:
        pytest.skip("there is no nvcc")
    check(list(compiled.cuda_kernels()))


def test_a_narrow_offset_is_seen():
    wide = "%1 = tt.addptr %a, %b : tensor<64x16x!tt.ptr<f32>>, tensor<64x16xi64>\n"
    also = "%1 = tt.addptr %a, %b : !tt.ptr<f32>, i64\n"
    assert compiled.narrow(wide + also) == 0
    assert compiled.narrow(wide + wide.replace("i64", "i32") + also.replace("i64", "i32")) == 2


def test_the_gpu_backends_say_why_not():
    with pytest.raises(pytest.skip.Exception, match="on cpu"):
        available("cuda")
