"""Could Torch-Pruning's dependency graph do the cutting? Told what is dead, on the random networks of the tests.

Run: python benchmarks/surgery.py [--networks 200]

Compaction says which output channels of each layer are dead for all of their readers. Torch-Pruning's graph is asked
for the group of each such layer, and prunes it; then both networks' outputs are compared with the original's.
"""

import argparse
import collections
import copy
import sys
import warnings
from pathlib import Path

import torch
import torch_pruning as pruning
from torch import nn

from lomt.compaction import compact

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/unit/compaction"))
from random_network import random_network

CUTS = {
    nn.Conv2d: pruning.prune_conv_out_channels,
    nn.ConvTranspose2d: pruning.prune_conv_out_channels,
    nn.Linear: pruning.prune_linear_out_channels,
}


def ours(network: nn.Module, example: torch.Tensor) -> tuple[nn.Module, dict[str, list[int]]]:
    """The network compacted, and which output channels of which layers it has lost."""
    small = compact(network, example, gather=False, for_training=True)
    lost = {}
    for name, cut in small.record.cuts.items():
        layer = network.get_submodule(name.rpartition(".")[0]) if name.endswith(".weight") else None
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        if type(layer) in CUTS and axis in cut.axes:
            kept = set(cut.axes[axis].tolist())
            gone = [channel for channel in range(layer.weight.shape[axis]) if channel not in kept]
            if gone:
                lost[name.removesuffix(".weight")] = gone
    return small, lost


def theirs(network: nn.Module, example: torch.Tensor, lost: dict[str, list[int]]) -> nn.Module:
    """The network with the same channels removed by Torch-Pruning; groups that a cut has taken along are done."""
    network = copy.deepcopy(network)
    before = {name: network.get_submodule(name).weight.shape for name in lost}
    for name, channels in lost.items():
        layer = network.get_submodule(name)
        if layer.weight.shape[0] != before[name][0]:
            continue
        graph = pruning.DependencyGraph().build_dependency(network, example)
        graph.get_pruning_group(layer, CUTS[type(layer)], channels).prune()
    return network


def judge(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> str:
    """Whether the outputs are the same."""
    if any(expected[name].shape != found[name].shape for name in expected):
        return "other shapes"
    worst = max(float((expected[name] - found[name]).abs().max()) for name in expected)
    return "exact" if worst < 1e-8 else "other outputs"


def main() -> None:
    """Count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=200)
    wanted = parser.parse_args().networks
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    counts: dict[str, collections.Counter[str]] = {
        "lomt": collections.Counter(),
        "Torch-Pruning": collections.Counter(),
    }
    seed = done = 0
    while done < wanted:
        seed += 1
        network, example = random_network(seed, 6, 0.0).eval(), torch.randn(2, 3, 8, 8).double()
        small, lost = ours(network, example[:1])
        if not lost:
            continue
        done += 1
        with torch.no_grad():
            expected = network(example)
            counts["lomt"][judge(expected, small(example))] += 1
        try:
            cut = theirs(network, example[:1], lost)
            with torch.no_grad():
                counts["Torch-Pruning"][judge(expected, cut(example))] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            counts["Torch-Pruning"][type(error).__name__] += 1
    for name, found in counts.items():
        print(f"{name}: " + ", ".join(f"{how} {count}" for how, count in found.most_common()))


if __name__ == "__main__":
    main()
