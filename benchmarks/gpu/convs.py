"""The channel-masked convolution on a GPU: python -m benchmarks.gpu.convs --json FILE.

The distinct convolutions of a ResNet-50 at 256 x 256 and the dilated one of a DeepLab head, batch 32, bfloat16,
channels_last; forward, and forward with backward. Blocks of 8 adjacent channels live, or single ones. Against cuDNN's
dense convolution, against its compacted one (which is the limit), against index_select and a convolution; for single
channels also a gather before cuDNN's compacted convolution, as frozen layers have it. Then four readers of one map.
Everything is replayed from a CUDA graph, without the host's part; "eager" is with it. Prints losses, too.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.timing import measure, write
from lomt_kernels import LiveList
from lomt_kernels.conv import gather_channels, masked_conv2d, masked_conv2d_readers

Step = Callable[[], object]
SHARES = (0.75, 0.5, 0.25, 0.1)
LAST = torch.channels_last
BATCH, READERS = 32, 4


class Layer(NamedTuple):
    """A convolution: channels in and out, size of the kernel and of its input, stride, dilation."""

    ins: int
    outs: int
    kernel: int
    size: int
    stride: int = 1
    dilation: int = 1

    @property
    def name(self) -> str:
        """For the table."""
        more = f"/{self.stride}" * (self.stride > 1) + f" dilated {self.dilation}" * (self.dilation > 1)
        return f"{self.ins}-{self.outs} {self.kernel}x{self.kernel}{more} at {self.size}"

    @property
    def how(self) -> dict[str, int]:
        """Stride, padding, dilation."""
        return {"stride": self.stride, "padding": self.dilation * (self.kernel // 2), "dilation": self.dilation}


def layers() -> list[Layer]:
    """A ResNet-50's, each once, but for the stem, whose input has three channels; a DeepLab head's."""
    found, channels, size = [], 64, 64
    for i, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            stride = 2 if i and not block else 1
            found += [Layer(channels, width, 1, size), Layer(width, width, 3, size, stride)]
            found += [Layer(width, 4 * width, 1, size // stride)]
            if not block:
                found.append(Layer(channels, 4 * width, 1, size, stride))
            channels, size = 4 * width, size // stride
    found.append(Layer(2048, 256, 3, 16, dilation=12))
    return list(dict.fromkeys(found))


def some(channels: int, share: float, run: int) -> Tensor:
    """A mask with so many live ones, in aligned runs."""
    runs = channels // run
    alive = torch.randperm(runs, generator=torch.Generator().manual_seed(channels)) < max(1, round(share * runs))
    return alive.repeat_interleave(run).cuda()


def numbers(*shape: int, of: float = 1.0) -> Tensor:
    """Such as weights and maps are."""
    return (torch.randn(shape, device="cuda") * of).to(torch.bfloat16, memory_format=LAST)


def replayed(call: Step) -> Step:
    """The same in a graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def with_backward(call: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Step:
    """Forward, and all gradients of it."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    pull = torch.ones_like(call(x, weight))
    return lambda: torch.autograd.grad(call(x, weight), (x, weight), pull)


def check() -> None:
    """Refuse to measure what differs from the reference."""
    for layer in (Layer(64, 96, 3, 12), Layer(128, 64, 1, 10), Layer(64, 64, 3, 9, 2), Layer(64, 64, 3, 16, 1, 4)):
        for run in (8, 1):
            x, weight = numbers(2, layer.ins, layer.size, layer.size), numbers(layer.outs, layer.ins, layer.kernel, 1)
            weight = weight.expand(-1, -1, -1, layer.kernel).contiguous(memory_format=LAST)
            live = {"live_in": some(layer.ins, 0.5, run), "live_out": some(layer.outs, 0.5, run)}
            results = []
            for backend in ("reference", "triton"):
                both = x.detach().requires_grad_(), weight.detach().requires_grad_()
                y = masked_conv2d(*both, **layer.how, **live, backend=backend)
                results.append([y, *torch.autograd.grad(y, both, torch.ones_like(y))])
            for expected, found in zip(*results, strict=True):
                error = float((found.double() - expected.double()).abs().max() / expected.double().abs().max())
                if not error < 2e-2:
                    raise SystemExit(f"{layer.name}, runs of {run}: differs from the reference by {error:.1e}")


def compared(layer: Layer, share: float, run: int, rounds: int) -> list[dict[str, object]]:
    """Forward, then forward with backward."""
    x = numbers(BATCH, layer.ins, layer.size, layer.size)
    weight = numbers(layer.outs, layer.ins, layer.kernel, layer.kernel, of=1 / math.sqrt(layer.ins))
    masks = some(layer.ins, share, run), some(layer.outs, share, run)
    live_in, live_out = (LiveList.of(mask, len(mask)) for mask in masks)
    ins, outs = (mask.nonzero()[:, 0] for mask in masks)
    narrow = x[:, ins].contiguous(memory_format=LAST), weight[outs][:, ins].contiguous(memory_format=LAST)
    lists = {"live_in": live_in, "live_out": live_out, "backend": "triton"}

    def masked(x: Tensor, weight: Tensor) -> Tensor:
        return masked_conv2d(x, weight, **layer.how, **lists)

    def dense(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, **layer.how)

    def selected(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x.index_select(1, ins), weight.index_select(0, outs).index_select(1, ins), **layer.how)

    def gathered(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(gather_channels(x, ins, backend="triton"), weight, **layer.how)

    packed = narrow[1]
    ways: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]] = {
        "triton": (masked, x, weight),
        "dense": (dense, x, weight),
        "compacted": (dense, *narrow),
        "index_select": (selected, x, weight),
    }
    if run == 1:
        ways["gathered"] = (gathered, x, packed)
    found = []
    for backward in (False, True):
        calls = {
            name: with_backward(call, *both) if backward else lambda call=call, both=both: call(*both)
            for name, (call, *both) in ways.items()
        }
        variants: dict[str, Step] = {name: replayed(call) for name, call in calls.items()}
        variants["triton, eager"] = calls["triton"]
        times = measure(variants, rounds, warmup=1)
        what = {"layer": layer.name, **layer._asdict(), "share": share, "run": run, "backward": backward}
        found.append({**what, "seconds": times})
        said(found[-1], times)
    return found


def readers(layer: Layer, share: float, rounds: int) -> list[dict[str, object]]:
    """Several readers of one map: one call, a call each, as many dense ones."""
    x = numbers(BATCH, layer.ins, layer.size, layer.size)
    weights = [numbers(layer.outs, layer.ins, layer.kernel, layer.kernel, of=0.05) for _ in range(READERS)]
    runs = layer.ins // 8
    masks = [torch.randperm(runs, device="cuda").lt(max(1, round(share * runs))).repeat_interleave(8) for _ in weights]
    live = [LiveList.of(mask, layer.ins) for mask in masks]

    def together(x: Tensor, *weights: Tensor) -> Sequence[Tensor]:
        return masked_conv2d_readers(x, weights, **layer.how, live_in=live, backend="triton")

    def each(x: Tensor, *weights: Tensor) -> Sequence[Tensor]:
        pairs = zip(weights, live, strict=True)
        return [masked_conv2d(x, w, **layer.how, live_in=some, backend="triton") for w, some in pairs]

    def dense(x: Tensor, *weights: Tensor) -> Sequence[Tensor]:
        return [F.conv2d(x, w, **layer.how) for w in weights]

    def step(call: Callable[..., Sequence[Tensor]], backward: bool) -> Step:
        tensors = [t.detach().requires_grad_(backward) for t in (x, *weights)]
        if not backward:
            return lambda: call(*tensors)
        pulls = [torch.ones_like(y) for y in call(*tensors)]
        return lambda: torch.autograd.grad(call(*tensors), tensors, pulls)

    found = []
    for backward in (False, True):
        calls = {"triton": together, "a call each": each, "dense": dense}
        variants = {name: replayed(step(call, backward)) for name, call in calls.items()}
        times = measure(variants, rounds, warmup=1)
        what = {"layer": f"{READERS} x {layer.name}", **layer._asdict(), "share": share, "run": 8}
        found.append({**what, "readers": READERS, "backward": backward, "seconds": times})
        said(found[-1], times)
    return found


def said(row: dict[str, object], times: dict[str, list[float]]) -> None:
    """One line."""
    ours = times["triton"][0]
    kind = "forward + backward" if row["backward"] else "forward"
    others = ", ".join(f"{ours / t[0]:.2f} x {name}" for name, t in times.items() if name != "triton")
    print(f"{row['layer']}, {row['share']} live in {row['run']}s, {kind}: {1e6 * ours:.0f} us = {others}", flush=True)


def summary(rows: list[dict[str, object]]) -> None:
    """Geometric means over layers."""
    for run in (8, 1):
        for backward in (False, True):
            for share in SHARES:
                of = [r["seconds"] for r in rows if (r["run"], r["backward"], r["share"]) == (run, backward, share)]
                of = [times for times in of if "compacted" in times]  # type: ignore[operator]
                if not of:
                    continue
                means = {
                    name: statistics.geometric_mean(t["triton"][0] / t[name][0] for t in of)  # type: ignore[index]
                    for name in of[0]  # type: ignore[attr-defined]
                    if name != "triton"
                }
                ratios = ", ".join(f"{value:.2f} x {name}" for name, value in means.items())
                print(f"runs of {run}, backward {backward}, {share} live, {len(of)} layers: {ratios}")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/gpu/convs.json"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=70, help="begin no further layer after so many")
    asked = parser.parse_args()
    begin = time.monotonic()
    check()
    rows: list[dict[str, object]] = []
    for layer in (Layer(256, 64, 3, 64), Layer(2048, 256, 1, 16)):
        rows += readers(layer, 0.25, asked.rounds)
    for share, run in ((0.5, 8), (0.5, 1), (0.25, 8), (0.25, 1), (0.1, 8), (0.75, 8), (0.1, 1), (0.75, 1)):
        for layer in layers():
            if time.monotonic() - begin < asked.seconds:
                rows += compared(layer, share, run, asked.rounds)
        write(asked.json, rows)
    summary(rows)


if __name__ == "__main__":
    main()
