"""The block-sparse feed-forward network on a GPU at LLaMA2-7B's sizes: python -m benchmarks.gpu.ffn --json FILE.

bfloat16; one token, and 2, 4 and 8 with masks of their own; half and a fifth of the blocks active. Everything in CUDA
graphs, also the dense network to which it compares. Layers take turns, so that weights come from memory.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.timing import measure, write
from lomt_kernels import pack_ffn, sparse_ffn

D, NEURONS, BLOCK, LAYERS = 4096, 11008, 32, 6
BLOCKS = NEURONS // BLOCK


def captured(call: Callable[[], object]) -> Callable[[], None]:
    """A call as a graph."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def compared(weights: list[tuple[Tensor, ...]], rows: int, live: float) -> dict[str, object]:
    """All layers, one after the other; refuses to measure what differs from the reference."""
    packed = [pack_ffn(*each, BLOCK) for each in weights]
    xs = [torch.randn(rows, D, device="cuda", dtype=torch.bfloat16) for _ in weights]
    masks = []
    for _ in weights:
        order = torch.rand(rows, BLOCKS, device="cuda").argsort(1)
        masks.append(order < round(live * BLOCKS))
    found = sparse_ffn(xs[0], *packed[0], masks[0], backend="triton")
    expected = sparse_ffn(xs[0], *packed[0], masks[0], backend="reference")
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2 * float(expected.abs().max()))
    every = torch.ones_like(masks[0])

    def sparse() -> None:
        for x, network, mask in zip(xs, packed, masks, strict=True):
            sparse_ffn(x, *network, mask, backend="triton")

    def all_active() -> None:
        for x, network in zip(xs, packed, strict=True):
            sparse_ffn(x, *network, every, backend="triton")

    def dense() -> None:
        for x, (gate, up, down) in zip(xs, weights, strict=True):
            F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

    times = measure({"sparse": captured(sparse), "all active": captured(all_active), "dense": captured(dense)})
    union = float(torch.stack([mask.any(0) for mask in masks]).float().mean())
    size = sum(weight.numel() * weight.element_size() for each in weights for weight in each)
    ours, cublas = times["sparse"][0], times["dense"][0]
    print(
        f"{rows} rows, {live:.0%} active each, {union:.0%} in all: {1e6 * ours / LAYERS:.1f} µs a layer, "
        f"{union * size / ours / 1e9:.0f} GB/s; dense {1e6 * cublas / LAYERS:.1f} µs, {size / cublas / 1e9:.0f} GB/s; "
        f"{ours / cublas - 1:+.0%}"
    )
    return {"rows": rows, "live": live, "union": union, "layers": LAYERS, "bytes": union * size, "seconds": times}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/gpu/ffn.json"))
    asked = parser.parse_args()

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, device="cuda", dtype=torch.bfloat16) * shape[1] ** -0.5

    weights = [(random(NEURONS, D), random(NEURONS, D), random(D, NEURONS)) for _ in range(LAYERS)]
    rows = []
    with torch.inference_mode():
        for live in (0.5, 0.2):
            for many in (1, 2, 4, 8):
                rows.append(compared(weights, many, live))
                write(asked.json, rows)


if __name__ == "__main__":
    main()
