"""Slices: layers and graph cut down to what stays, and readers of few channels of a wide stream given those alone."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvTransposeNd

from lomt.channels.wire import Kind, Wire, Wiring
from lomt.compaction.aliasing import remove_dead_code
from lomt.compaction.constants import Constants
from lomt.compaction.liveness import Live, read_channels
from lomt.compaction.record import Cut

PAYS_BELOW = 0.75
"""Share of channels up to which picking them out first was faster in every case of ``benchmarks/gather.py``."""


def gathers(wiring: Wiring, known: Constants | None, wanted: Live, kept: Live, round_to: int) -> Live:
    """For each reader that should gather, the channels of its source that it then reads; ``(channels,)`` bool.

    Args:
        wiring: the graph's wires.
        known: constants, which were folded.
        wanted: what is read of each node.
        kept: what stays of each node.
        round_to: counts are multiples of it, by reading zeros too.
    """
    chosen: Live = {}
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


def insert_gathers(wiring: Wiring, kept: Live, chosen: Live) -> None:
    """Put the picking before the readers, in place; readers of the same channels share it."""
    made: dict[tuple[fx.Node, tuple[int, ...]], fx.Node] = {}
    for node, reads in chosen.items():
        source = node.all_input_nodes[0]
        index = positions(kept[source])[reads]
        key = (source, tuple(index.tolist()))
        if key not in made:
            with wiring.graph.inserting_after(source):
                tensor = wiring.graph.get_attr(
                    wiring.hang("gathered", node.name, index.to(wiring.module(node).weight.device))
                )
            with wiring.graph.inserting_after(tensor):
                made[key] = wiring.graph.call_function(torch.index_select, (source, wiring[source].axis, tensor))
        node.replace_input_with(source, made[key])


def positions(kept: Tensor) -> Tensor:
    """Where each kept channel is among the kept ones."""
    return kept.long().cumsum(0) - 1


def cut_layers(wiring: Wiring, kept: Live, gathered: Live) -> dict[str, Cut]:
    """Cut every layer and tensor, in place; the cut of each parameter by name."""
    cuts: dict[str, Cut] = {}
    done: set[str] = set()
    for node, wire in wiring.wires.items():
        name, here = str(node.target), kept[node]
        if name in done or not here.any():
            continue
        if node.op == "get_attr":
            done.add(name)
            cut = {} if here.all() else {name: Cut({wire.axis: here.nonzero().flatten()})}
            _apply(wiring.root, cut)
        elif node.op == "call_module":
            done.add(name)
            source = node.all_input_nodes[0]
            width = (source.meta["value"].shape or (0,))[wire.axis]
            there = gathered.get(node, kept.get(source, torch.ones(width, dtype=torch.bool)))
            cut = {f"{name}.{k}": c for k, c in _layer_cuts(wiring.module(node), there, here).items()}
            _apply(wiring.root, cut)
        else:
            continue
        cuts.update(cut)
    return cuts


def _layer_cuts(layer: Any, ins: Tensor, outs: Tensor) -> dict[str, Cut]:
    """The cuts of one layer's tensors, and its attributes brought in line."""
    if ins.all() and outs.all():
        return {}
    rows = Cut({0: outs.nonzero().flatten()})
    if isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = int(ins.sum()), int(outs.sum())
        return {"weight": _plain(outs, ins), "bias": rows}
    if hasattr(layer, "groups"):
        return {"weight": _convolution(layer, ins, outs), "bias": rows}
    if isinstance(layer, nn.PReLU):
        alone = layer.num_parameters == 1
        layer.num_parameters = 1 if alone else int(outs.sum())
        return {} if alone else {"weight": rows}
    if hasattr(layer, "num_features"):
        layer.num_features = int(outs.sum())
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), rows)
    return {}


def _plain(rows: Tensor, columns: Tensor) -> Cut:
    return Cut({0: rows.nonzero().flatten(), 1: columns.nonzero().flatten()})


def _convolution(layer: Any, ins: Tensor, outs: Tensor) -> Cut:
    groups = layer.groups
    layer.in_channels, layer.out_channels = int(ins.sum()), int(outs.sum())
    rows, columns = (ins, outs) if isinstance(layer, _ConvTransposeNd) else (outs, ins)
    if groups == 1:
        return _plain(rows, columns)
    layer.groups = int(outs.view(groups, -1).any(1).sum())
    return _grouped(rows, columns, groups)


def _grouped(rows: Tensor, columns: Tensor, groups: int) -> Cut:
    """The cut of a grouped convolution's weight ``(rows, columns / groups, …)``.

    Args:
        rows: rows that stay; ``(rows,)`` bool.
        columns: columns of all groups, one after the other, that stay; ``(columns,)`` bool. Groups of which something
            stays have equally many of them.
        groups: how many groups there were.
    """
    row_group = torch.arange(len(rows)) // (len(rows) // groups)
    by_group = columns.view(groups, -1)
    index = torch.stack([by_group[g].nonzero().flatten() for g in row_group[rows]])
    return Cut({0: rows.nonzero().flatten()}, index)


def _apply(root: nn.Module, cuts: dict[str, Cut]) -> None:
    for full, cut in list(cuts.items()):
        path, _, name = full.rpartition(".")
        holder = root.get_submodule(path)
        tensor = getattr(holder, name, None)
        if tensor is None:
            del cuts[full]
        elif isinstance(tensor, nn.Parameter):
            setattr(holder, name, nn.Parameter(cut(tensor.detach()), requires_grad=tensor.requires_grad))
        else:
            setattr(holder, name, cut(tensor))


def cut_graph(wiring: Wiring, kept: Live) -> None:
    """Bring slices and concatenations in line with what stays, in place."""
    for node, wire in wiring.wires.items():
        if wire.kind is Kind.GATHERED and kept[node].any():
            _cut_index(wiring, node, kept)
        if wire.kind is not Kind.MOVED or not kept[node].any():
            continue
        if isinstance(node.args[0], list | tuple):
            _cut_concatenation(node, kept)
        elif len(wire.links) == 1 and (wire.links[0][0] is not node.args[0] or _is_part(wiring, wire)):
            source, index = wire.links[0]  # of a part of a split, too, which may be the only one
            start = int(kept[source][: int(index[0])].sum())
            node.op, node.target, node.kwargs = "call_function", torch.narrow, {}
            node.args = (source, wire.axis, start, int(kept[node].sum()))
    remove_dead_code(wiring.graph)


def _is_part(wiring: Wiring, wire: Wire) -> bool:
    return wire.channels < wiring[wire.links[0][0]].channels


def _cut_index(wiring: Wiring, node: fx.Node, kept: Live) -> None:
    source, index = wiring[node].links[0]
    path, _, name = str(node.all_input_nodes[1].target).rpartition(".")
    holder = wiring.root.get_submodule(path)
    chosen = positions(kept[source])[index[kept[node]]]
    setattr(holder, name, chosen.to(getattr(holder, name).device))


def _cut_concatenation(node: fx.Node, kept: Live) -> None:
    tensors = [t for t in node.args[0] if isinstance(t, fx.Node)]  # type: ignore[union-attr]
    left = [t for t in tensors if t not in kept or kept[t].any()]
    if len(left) == 1 and len(tensors) > 1:
        node.replace_all_uses_with(left[0])
    elif len(left) < len(tensors):
        node.args = (left, *node.args[1:])
