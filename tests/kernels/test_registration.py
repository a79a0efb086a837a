"""The operations as torch sees them: opcheck, tensors without data, compilation, choice of a backend, bad input."""

import json
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lomt_kernels import LiveList, group_alive, group_norms, group_shrink, info, library, registry
from lomt_kernels.__main__ import lines, main
from lomt_kernels.prox import new_norms, prox_adamw_, prox_sgd_
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
    monkeypatch.setenv(registry.VARIABLE, "reference")
    assert registry.choose("group_norms", W.device, W.dtype) == "reference"
    assert registry.choose("group_norms", W.device, W.dtype, "native") == "native"
    monkeypatch.setenv(registry.VARIABLE, "fastest")
    with pytest.raises(ValueError, match="LOMT_KERNELS_BACKEND=fastest: there are cuda"):
        group_norms(W)
    monkeypatch.setenv(registry.VARIABLE, "cuda")
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
