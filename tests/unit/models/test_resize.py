import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lomt.models.resize import multiplied, resize

SIZES = [
    ((4, 4), (64, 64)),
    ((12, 16), (96, 128)),
    ((5, 9), (37, 41)),
    ((1, 1), (7, 3)),
    ((9, 7), (4, 20)),
    ((6, 6), (6, 6)),
]


def wanted(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def products(run):
    """Matrix products that autograd has noted."""
    found, stack = 0, [run().grad_fn]
    while stack:
        node = stack.pop()
        found += type(node).__name__ in ("BmmBackward0", "MmBackward0")
        stack += [next_ for next_, _ in node.next_functions if next_ is not None]
    return found


def leaf(*shape, dtype=torch.float32, last=False):
    maps = torch.randn(*shape, dtype=dtype)
    return maps.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("channels", [1, 3, 40])
@pytest.mark.parametrize("last", [False, True])
def test_products_give_what_interpolation_gives(before, after, channels, last):
    maps = leaf(2, channels, *before, last=last)
    torch.testing.assert_close(multiplied(maps, after), wanted(maps, after), rtol=0, atol=1e-6)
    gradient = torch.randn(2, channels, *after)
    found, expected = (torch.autograd.grad(way(maps, after), maps, gradient)[0] for way in (multiplied, wanted))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_gradients_of_any_order():
    maps = leaf(1, 2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: resize(x, (12, 17)), maps)
    assert torch.autograd.gradgradcheck(lambda x: resize(x, (12, 17)), maps)


@pytest.mark.parametrize(
    ("shape", "size", "last", "fast"),
    [
        ((2, 13, 8, 8), (64, 64), False, True),
        ((2, 13, 8, 8), (64, 64), True, True),
        ((2, 40, 8, 8), (64, 64), False, True),
        ((2, 40, 8, 8), (64, 64), True, False),  # torch's loop over channels wins
        ((2, 13, 16, 16), (32, 32), False, True),
        ((2, 13, 16, 16), (32, 32), True, False),
        ((2, 1, 48, 64), (384, 512), False, False),  # long lines are much work
        ((2, 3, 32, 32), (16, 16), False, False),
    ],
)
def test_products_where_they_were_measured_to_be_faster(shape, size, last, fast):
    maps = leaf(*shape, last=last)
    assert (products(lambda: resize(maps, size)) > 0) == fast


def test_none_within_autocast_nor_with_rounded_products():
    maps = leaf(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = resize(maps, (64, 64))
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, wanted(maps, (64, 64)), rtol=0, atol=0)
    torch.set_float32_matmul_precision("medium")
    try:
        assert products(lambda: resize(maps, (64, 64))) == 0
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_whoever_captures_sees_one_operation():
    class Resized(torch.nn.Module):
        def forward(self, maps):
            return resize(maps, (64, 64))

    maps = torch.randn(2, 3, 8, 8)
    exported = torch.export.export(Resized(), (maps,))
    assert [str(node.target) for node in exported.graph.nodes if node.op == "call_function"] == [
        "aten.upsample_bilinear2d.vec"
    ]
    traced = torch.fx.symbolic_trace(Resized())
    assert [node.target for node in traced.graph.nodes if node.op == "call_function"] == [F.interpolate]
    assert "upsample_bilinear2d" in str(torch.jit.trace(Resized(), maps).graph)
    with FlopCounterMode(display=False) as counter:
        resize(maps, (64, 64))
    assert counter.get_total_flops() == 0
    with FakeTensorMode() as mode:
        assert resize(mode.from_tensor(maps), (64, 64)).shape == (2, 3, 64, 64)


def test_what_was_first_used_without_gradients_can_be_trained_on():
    with torch.inference_mode(), torch.device("meta"):
        resize(torch.ones(1, 1, 7, 7, device="cpu"), (29, 29))
    maps = leaf(1, 1, 7, 7)
    resize(maps, (29, 29)).sum().backward()
    torch.testing.assert_close(maps.grad.sum(), torch.tensor(29.0 * 29.0))


def test_within_transforms_of_functions():
    maps = torch.randn(3, 1, 6, 6)
    total = torch.func.vmap(torch.func.grad(lambda one: resize(one[None], (25, 25)).square().sum()))(maps)
    maps.requires_grad_()
    resize(maps, (25, 25)).square().sum().backward()
    torch.testing.assert_close(total, maps.grad)
