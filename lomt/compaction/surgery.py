"""Cutting layers and the graph down to what stays."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvTransposeNd

from lomt.channels.wire import Kind, Wire, Wiring
from lomt.compaction.branches import add_to_bias
from lomt.compaction.constants import Constants, emitted
from lomt.compaction.cuts import Cut, grouped
from lomt.compaction.demand import Demand, read_channels
from lomt.compaction.gather import positions
from lomt.compaction.inplace import remove_dead_code
from lomt.compaction.keep import Keep


def fold_constants(wiring: Wiring, known: Constants, wanted: Demand) -> None:
    """Take constants that need not be read into the readers' biases, and zero their weights, which become others."""
    for node, _ in wiring.readers():
        source, layer = node.all_input_nodes[0], wiring.module(node)
        if source not in known or not wiring.alone(node):
            continue
        reads = wiring.reads(node)
        groups = reads.shape[0]
        needed = read_channels(wiring, node, wanted[node], known).view(groups, -1)
        fold = reads.any(1) & known[source].known.view(groups, -1) & ~needed
        if not fold.any():
            continue
        value = known[source].value.view(groups, -1).where(fold, 0)
        shift = emitted(layer, value).where(wanted[node], 0)
        if shift.any():
            add_to_bias(layer, shift)
        _zero_inputs(layer, fold)


def _zero_inputs(layer: Any, inputs: Tensor) -> None:
    """Zero what a reader makes of some input channels, ``(groups, in / groups)``."""
    weight, inputs = layer.weight.detach().clone(), inputs.to(layer.weight.device)
    if isinstance(layer, _ConvTransposeNd):
        weight[inputs.flatten()] = 0
    elif isinstance(layer, nn.Linear):
        weight[:, inputs[0]] = 0
    else:
        mask = inputs.repeat_interleave(len(weight) // len(inputs), 0)
        weight[mask] = 0
    layer.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)


def cut_layers(wiring: Wiring, kept: Keep, gathered: Keep) -> dict[str, Cut]:
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
    return grouped(rows, columns, groups)


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


def cut_graph(wiring: Wiring, kept: Keep) -> None:
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


def _cut_index(wiring: Wiring, node: fx.Node, kept: Keep) -> None:
    source, index = wiring[node].links[0]
    path, _, name = str(node.all_input_nodes[1].target).rpartition(".")
    holder = wiring.root.get_submodule(path)
    chosen = positions(kept[source])[index[kept[node]]]
    setattr(holder, name, chosen.to(getattr(holder, name).device))


def _cut_concatenation(node: fx.Node, kept: Keep) -> None:
    tensors = [t for t in node.args[0] if isinstance(t, fx.Node)]  # type: ignore[union-attr]
    left = [t for t in tensors if t not in kept or kept[t].any()]
    if len(left) == 1 and len(tensors) > 1:
        node.replace_all_uses_with(left[0])
    elif len(left) < len(tensors):
        node.args = (left, *node.args[1:])
