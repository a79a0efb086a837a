"""GPU kernels compile here, without a GPU: nothing spills, offsets have 64 bits, shared memory fits."""

import shutil

import pytest

from benchmarks.kernels import compiled
from tests.kernels.conftest import INTERPRETER, available


def check(rows):
    assert {row["sm"] for row in rows} == set(compiled.ARCHITECTURES)
    for row in rows:
        assert row["spilled"] <= compiled.SPILLS[row["backend"]], row
        assert row["registers"] <= 168, row
        assert row["shared"] <= 48 * 1024, row
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
