"""Readers of a wide stream that need few of its channels: they get those picked out first."""

import torch
from torch import Tensor, fx, nn

from lomt.channels.wire import Wiring
from lomt.compaction.constants import Constants
from lomt.compaction.demand import Demand, read_channels
from lomt.compaction.keep import Keep

PAYS_BELOW = 0.75
"""Share of channels up to which picking them out first was faster in every case of ``benchmarks/gather.py``."""


def gathers(wiring: Wiring, known: Constants | None, wanted: Demand, kept: Keep, round_to: int) -> Keep:
    """For each reader that should gather, the channels of its source that it then reads; ``(channels,)`` bool.

    Args:
        wiring: the graph's wires.
        known: constants, which were folded.
        wanted: what is read of each node.
        kept: what stays of each node.
        round_to: counts are multiples of it, by reading zeros too.
    """
    chosen: Keep = {}
    for node, _ in wiring.readers():
        source, layer = node.all_input_nodes[0], wiring.module(node)
        grouped = not isinstance(layer, nn.Linear) and layer.groups > 1
        if source not in wiring or grouped or not wiring.alone(node) or not kept[node].any():
            continue
        reads = read_channels(wiring, node, wanted[node], known) & kept[source]
        count, total = int(reads.sum()), int(kept[source].sum())
        count = max(1, -(-count // round_to) * round_to)
        if count <= PAYS_BELOW * total:
            spare = (kept[source] & ~reads).nonzero().flatten()
            reads[spare[: count - int(reads.sum())]] = True
            chosen[node] = reads
    return chosen


def insert_gathers(wiring: Wiring, kept: Keep, chosen: Keep) -> None:
    """Put the picking before the readers, in place; readers of the same channels share it."""
    made: dict[tuple[fx.Node, tuple[int, ...]], fx.Node] = {}
    for node, reads in chosen.items():
        source = node.all_input_nodes[0]
        index = positions(kept[source])[reads]
        key = (source, tuple(index.tolist()))
        if key not in made:
            with wiring.graph.inserting_after(source):
                tensor = wiring.graph.get_attr(_hang(wiring, node, index))
            with wiring.graph.inserting_after(tensor):
                made[key] = wiring.graph.call_function(torch.index_select, (source, wiring[source].axis, tensor))
        node.replace_input_with(source, made[key])


def positions(kept: Tensor) -> Tensor:
    """Where each kept channel is among the kept ones."""
    return kept.long().cumsum(0) - 1


def _hang(wiring: Wiring, node: fx.Node, index: Tensor) -> str:
    if "gathered" not in wiring.root._modules:
        wiring.root.add_module("gathered", nn.Module())
    holder, name = wiring.root.get_submodule("gathered"), node.name
    while hasattr(holder, name):
        name += "_"
    holder.register_buffer(name, index.to(wiring.module(node).weight.device))
    return f"gathered.{name}"
