"""A whole training step with converted convolutions on a GPU: python -m benchmarks.gpu.training --json FILE.

The network of benchmarks.training_step, a ResNet-50 with four DeepLab heads, at 256 x 256, batch 16, in bfloat16 by
autocast, channels_last; dead channels lie in blocks of 8. As it was, converted in several ways, and compacted, which is
the limit. The masked convolution is Triton's, unless LOMT_KERNELS_BACKEND says otherwise.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lomt
from benchmarks.gpu.timing import measure, write
from benchmarks.training_step import network, step, variants
from lomt_kernels import registry

BATCH, SIZE, BLOCK = 16, 256, 8


def rows(dead: float, device: str, size: int = SIZE) -> dict[str, nn.Module]:
    """The network in all variants, on a device."""
    images = torch.randn(2, 3, size, size).to(memory_format=torch.channels_last)
    plain = network(images, dead, BLOCK)
    nets = variants(plain, images) | {"compacted": lomt.compact(plain, images, for_training=True)}
    return {name: net.to(device).train() for name, net in nets.items()}


def measured(dead: float, rounds: int) -> dict[str, Any]:
    """Seconds of a step of each variant."""
    nets = rows(dead, "cuda")
    images = torch.randn(BATCH, 3, SIZE, SIZE, device="cuda").to(memory_format=torch.channels_last)

    def call(net: nn.Module) -> Any:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0)

        def run() -> None:
            with torch.autocast("cuda", torch.bfloat16):
                step(net, optimizer, images)

        return run

    found = measure({name: call(net) for name, net in nets.items()}, rounds)
    for name, (median, *_) in found.items():
        print(f"{dead:.0%} dead, {name}: {1e3 * median:.1f} ms, {found['dense'][0] / median:.2f} x as fast as dense")
    return {"dead": dead, "rounds": rounds, "seconds (median, quartiles)": found}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    registry.ASKED = registry.ASKED or "triton"
    logging.getLogger("lomt").setLevel(logging.ERROR)
    done: list[dict[str, Any]] = []
    for dead in (0.5, 0.75, 0.0):
        done.append(measured(dead, options.rounds))
        write(options.json, done)  # what there is, if time runs out


if __name__ == "__main__":
    main()
