"""Couplings: channels that live and die together, and counts that layers can have."""

from itertools import pairwise

import torch
from torch import Tensor, fx, nn

from lomt.channels.wire import Kind, Wiring
from lomt.compaction.liveness import Live


def keep(wiring: Wiring, wanted: Live, round_to: int = 1) -> Live:
    """For each node, the channels that stay physically; ``(channels,)`` bool.

    Channels that one element-wise operation joins stay or go together. On top of those that are read, dead ones stay
    where a layer needs them: one at least to read; equally many in each group of a grouped convolution; a
    multiple of ``round_to``, as far as there are that many.
    """
    coupled = _Coupled(wiring, wanted)
    while _grow_once(coupled, round_to):
        pass
    return {node: coupled.kept(node) for node in wiring.wires}


class _Coupled:
    """Channels of all nodes, numbered, and which of them are coupled."""

    def __init__(self, wiring: Wiring, wanted: Live) -> None:
        self.wiring = wiring
        self.start: dict[fx.Node, int] = {}
        total = 0
        for node, wire in wiring.wires.items():
            self.start[node] = total
            total += wire.channels
        self.label = _components(total, self._couplings())
        self.alive = torch.zeros(total, dtype=torch.bool)
        for node, channels in wanted.items():
            self.add(node, channels)

    def _couplings(self) -> Tensor:
        """Pairs of channels that stay or go together; ``(2, pairs)``."""
        pairs = [torch.zeros(2, 0, dtype=torch.long)]
        calls: dict[str, list[fx.Node]] = {}
        for node, wire in self.wiring.wires.items():
            here = self.start[node] + torch.arange(wire.channels)
            for source, index in wire.links if wire.kind is not Kind.GATHERED else ():
                pairs.append(torch.stack([here, self.start[source] + index])[:, index >= 0])
            if self.wiring.has_widths(node):
                calls.setdefault(str(node.target), []).append(node)
        for same in calls.values():
            for first, second in pairwise(same):  # one layer called twice has one weight
                pairs.append(self._same(first, second))
                if first.op == "call_module" and first.all_input_nodes[0] in self.wiring:
                    pairs.append(self._same(first.all_input_nodes[0], second.all_input_nodes[0]))
        return torch.cat(pairs, 1)

    def _same(self, first: fx.Node, second: fx.Node) -> Tensor:
        width = torch.arange(self.wiring[first].channels)
        return torch.stack([self.start[first] + width, self.start[second] + width])

    def labels(self, node: fx.Node) -> Tensor:
        return self.label[self.start[node] :][: self.wiring[node].channels]

    def kept(self, node: fx.Node) -> Tensor:
        return self.alive[self.labels(node)]

    def add(self, node: fx.Node, channels: Tensor) -> None:
        self.alive[self.labels(node)[channels]] = True

    def fill(self, node: fx.Node, count: int, within: slice = slice(None)) -> None:
        """Keep dead channels, the first ones, until ``count`` are kept."""
        labels = self.labels(node)[within]
        for label in labels:
            if int(self.alive[labels].sum()) >= count:
                return
            self.alive[label] = True


def _components(count: int, pairs: Tensor) -> Tensor:
    """The smallest number in each connected component, by propagation with pointer jumping."""
    label = torch.arange(count)
    first, second = pairs
    while True:
        before = label
        low = torch.minimum(label[first], label[second])
        label = label.scatter_reduce(0, label[first], low, "amin").scatter_reduce(0, label[second], low, "amin")
        label = label[label]
        if torch.equal(label, before):
            return label


def _grow_once(coupled: _Coupled, round_to: int) -> bool:
    before = coupled.alive.clone()
    for node in coupled.wiring.present:
        coupled.fill(node, 1)
    for node, wire in coupled.wiring.wires.items():
        if wire.kind is Kind.GATHERED:
            source, index = wire.links[0]
            coupled.add(source, index[coupled.kept(node)])
    for node, _ in coupled.wiring.readers():
        source = node.all_input_nodes[0]
        if not coupled.kept(node).any():
            continue
        tracked = source in coupled.wiring
        if tracked:
            coupled.fill(source, 1)
        layer = coupled.wiring.module(node)
        groups = 1 if isinstance(layer, nn.Linear) else layer.groups
        if groups > 1:
            _balance(coupled, node, source, coupled.wiring.reads(node).shape)
        elif round_to > 1:
            _round(coupled, node, round_to)
            if tracked:
                _round(coupled, source, round_to)
    return not torch.equal(before, coupled.alive)


def _round(coupled: _Coupled, node: fx.Node, round_to: int) -> None:
    labels = coupled.labels(node)
    if len(torch.unique(labels)) < len(labels):
        return  # flattened maps: a channel is many inputs, and none of them stands alone
    count = int(coupled.kept(node).sum())
    rounded = -(-count // round_to) * round_to
    coupled.fill(node, min(rounded, coupled.wiring[node].channels))


def _balance(coupled: _Coupled, node: fx.Node, source: fx.Node, shape: torch.Size) -> None:
    """Give each group that stays as many channels as the largest."""
    groups, out, width = shape
    tracked = source in coupled.wiring
    ins = coupled.kept(source).view(groups, width).sum(1) if tracked else torch.full((groups,), width)
    outs = coupled.kept(node).view(groups, out).sum(1)
    for group in torch.nonzero(ins + outs).flatten().tolist():
        coupled.fill(node, int(outs.max().clamp(min=1)), slice(group * out, (group + 1) * out))
        if tracked:
            coupled.fill(source, int(ins.max().clamp(min=1)), slice(group * width, (group + 1) * width))
