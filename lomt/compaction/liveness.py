"""Liveness: which channels somebody reads, from the outputs back."""

from torch import Tensor, fx

from lomt.channels.layers import pads_with_zeros
from lomt.channels.wire import Kind, Wiring, any_along
from lomt.compaction.constants import Constants

Live = dict[fx.Node, Tensor]


def liveness(wiring: Wiring, known: Constants | None) -> Live:
    """For each node, the channels whose values matter to the outputs; ``(channels,)`` bool.

    A reader's input channel matters if a weight from it to an output channel that matters is not 0. Everything
    between is passed through; what is not channel-wise, the outputs included, has pinned its inputs already.

    Args:
        wiring: the graph's wires.
        known: constants that a reader may take into its bias instead of reading them; None: none.
    """
    wanted = {node: wire.pinned.clone() for node, wire in wiring.wires.items()}
    for node, wire in reversed(wiring.wires.items()):
        if wire.kind is Kind.READER:
            source = node.all_input_nodes[0]
            if source in wanted:
                wanted[source] |= read_channels(wiring, node, wanted[node], known)
            continue
        needs = wanted[node] & ~known[node].alone if known is not None else wanted[node]
        for source, index in wire.links:
            wanted[source][index[needs & (index >= 0)]] = True
    return wanted


def read_channels(wiring: Wiring, node: fx.Node, wanted: Tensor, known: Constants | None) -> Tensor:
    """The input channels that a reader needs in order to give its ``wanted`` output channels; ``(in,)`` bool."""
    layer = wiring.module(node)
    reads = wiring.reads(node)
    groups = reads.shape[0]
    if not wanted.all():
        reads = reads[:, wanted] if groups == 1 else reads & wanted.view(groups, -1, 1)
    needed = any_along(reads, 1).flatten()
    source = node.all_input_nodes[0]
    if known is not None:
        emitted = known[source]
        # The bias of a layer that is called twice can't take what one of the calls reads.
        folds = not pads_with_zeros(layer) and wiring.alone(node)
        foldable = emitted.known & (emitted.value.eq(0) | folds)
        needed = needed & ~foldable
    return needed
