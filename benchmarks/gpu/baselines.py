"""What the next kernels have to beat on a GPU: python -m benchmarks.gpu.baselines --json FILE.

torch's AdamW, fused and foreach, on ResNet-50's weights; cuDNN's convolutions dense, compacted to half of the input
channels, and index_select before the compacted one, forward and backward, bfloat16 and TF32, both memory formats.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.timing import measure, write
from benchmarks.kernels.layers import resnet50

# Input height and width, stride, of distinct convolutions of a ResNet-50 at 256², and a dilated one of a DeepLab head.
CONVOLUTIONS = [
    ((64, 64, 3, 3), 64, 1, 1),
    ((256, 64, 1, 1), 64, 1, 1),
    ((128, 128, 3, 3), 64, 2, 1),
    ((256, 256, 3, 3), 16, 1, 1),
    ((1024, 256, 1, 1), 16, 1, 1),
    ((512, 512, 3, 3), 8, 1, 1),
    ((2048, 512, 1, 1), 8, 1, 1),
    ((256, 2048, 3, 3), 16, 1, 12),
]
BATCH = 32


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/gpu/baselines.json"))
    asked = parser.parse_args()
    rows = [adamw()]
    write(asked.json, rows)
    torch.backends.cudnn.benchmark = True
    for dtype in (torch.bfloat16, torch.float32):
        torch.backends.cudnn.allow_tf32 = dtype == torch.float32
        for layout in (torch.channels_last, torch.contiguous_format):
            for shape, size, stride, dilation in CONVOLUTIONS:
                rows.append(convolution(shape, size, stride, dilation, dtype, layout))
                write(asked.json, rows)


def adamw() -> dict[str, object]:
    """A step of each of torch's implementations."""
    variants = {}
    for name in ("fused", "foreach"):
        weights = [torch.randn(shape, device="cuda", requires_grad=True) for shape in resnet50()]
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        variants[name] = torch.optim.AdamW(weights, lr=1e-3, **{name: True}).step
    times = measure(variants)
    moved = 28 * sum(w.numel() for w in weights)
    for name, found in times.items():
        print(f"AdamW, {name}: {1e3 * found[0]:.3f} ms, {moved / found[0] / 1e9:.0f} GB/s")
    return {"what": "AdamW, ResNet-50", "bytes": moved, "seconds": times}


def convolution(
    shape: tuple[int, int, int, int],
    size: int,
    stride: int,
    dilation: int,
    dtype: torch.dtype,
    layout: torch.memory_format,
) -> dict[str, object]:
    """One layer, forward and backward."""
    out, channels, kernel, _ = shape
    live = torch.randperm(channels, device="cuda")[: channels // 2].sort().values

    def tensor(*sizes: int) -> Tensor:
        return torch.randn(sizes, device="cuda", dtype=dtype).contiguous(memory_format=layout).requires_grad_()

    x, W = tensor(BATCH, channels, size, size), tensor(*shape)
    narrow_x, narrow_W = tensor(BATCH, channels // 2, size, size), tensor(out, channels // 2, kernel, kernel)
    how = {"stride": stride, "padding": dilation * (kernel // 2), "dilation": dilation}
    gradient = torch.randn_like(F.conv2d(x, W, **how))

    def both(image: Tensor, weight: Tensor, output: Tensor) -> None:
        torch.autograd.grad(output, (image, weight), gradient)

    variants = {
        "dense": lambda: both(x, W, F.conv2d(x, W, **how)),
        "compacted": lambda: both(narrow_x, narrow_W, F.conv2d(narrow_x, narrow_W, **how)),
        "index_select": lambda: both(x, W, F.conv2d(x.index_select(1, live), W.index_select(1, live), **how)),
    }
    times = measure(variants, rounds=8)
    name = f"{shape}, {size}², stride {stride}, dilation {dilation}, {dtype}, {layout}"
    print(f"{name}: " + ", ".join(f"{what} {1e3 * found[0]:.3f} ms" for what, found in times.items()))
    return {"what": name, "live": 0.5, "batch": BATCH, "seconds": times}


if __name__ == "__main__":
    main()
