"""Group shrinkage on a GPU, CUDA and Triton, ResNet-50's weights: python -m benchmarks.gpu.kernels --json FILE.

Against one pass over the same memory (torch.mul), plain PyTorch and the reference backend; bytes and share of the pass.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.gpu.timing import measure, write
from benchmarks.kernels.layers import resnet50
from lomt_kernels import group_norms, group_shrink

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
DIMS = {"in": (0, 2, 3), "out": (1, 2, 3)}


def plain(weight: torch.Tensor, tau: torch.Tensor, axis: str) -> torch.Tensor:
    """The shortest way in PyTorch that is right."""
    norm = torch.linalg.vector_norm(weight, dim=DIMS[axis], keepdim=True)
    return weight * torch.where(norm > tau, 1 - tau / norm, 0)


def compared(layout: str, axis: str, in_metric: bool) -> dict[str, object]:
    """One form of the operation on all layers; refuses to measure what differs from the reference."""
    layers = [torch.randn(shape, device="cuda").contiguous(memory_format=FORMATS[layout]) for shape in resnet50()]
    metrics = [weight.abs() + 0.1 if in_metric else None for weight in layers]
    of = [w if D is None else w * D for w, D in zip(layers, metrics, strict=True)]
    taus = [group_norms(w, axis=axis, backend="reference").median() for w in of]
    work = list(zip(layers, taus, metrics, strict=True))
    for weight, tau, D in work[1:3]:
        expected = group_shrink(weight, tau, D, axis=axis, backend="reference")
        for name in ("cuda", "triton"):
            torch.testing.assert_close(group_shrink(weight, tau, D, axis=axis, backend=name), expected)

    def run(backend: str) -> list[torch.Tensor]:
        return [group_shrink(w, t, D, axis=axis, backend=backend) for w, t, D in work]

    variants = {
        "torch.mul": lambda: [torch.mul(w, 2.0) for w in layers],
        "cuda": lambda: run("cuda"),
        "triton": lambda: run("triton"),
        "reference": lambda: run("reference"),
    }
    if not in_metric:
        variants["plain PyTorch"] = lambda: [plain(w, t, axis) for w, t, _ in work]
    times = measure(variants, rounds=10)
    size = sum(weight.numel() * 4 for weight in layers)
    said = ", ".join(f"{name} {1e3 * found[0]:.2f} ms" for name, found in times.items())
    print(f"{layout}, {axis}, {'metric' if in_metric else 'euclidean'}: {said}")
    bytes_ = (3 if in_metric else 2) * size
    return {"layout": layout, "axis": axis, "metric": in_metric, "bytes": bytes_, "seconds": times}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/gpu/kernels.json"))
    asked = parser.parse_args()
    rows = []
    for layout in FORMATS:
        for axis in ("in", "out"):
            for in_metric in (False, True):
                rows.append(compared(layout, axis, in_metric))
                write(asked.json, rows)


if __name__ == "__main__":
    main()
