"""Who reads each output channel of a layer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from lomt.channels.analysis import wire_graph
from lomt.channels.wire import Kind, Wiring
from lomt.tracing.operations import UntraceableError
from lomt.tracing.trace import Example, trace


class Reader(NamedTuple):
    """A layer that reads some of another layer's output channels.

    Attributes:
        name: the reading layer's.
        theirs: numbers of its input channels, ``(n,)``.
        mine: the number of the output channel that each of them is, ``(n,)``.
    """

    name: str
    theirs: Tensor
    mine: Tensor


class Outputs(NamedTuple):
    """Who reads the outputs of a layer.

    Attributes:
        always: channels that something else reads than a layer that counts, ``(out,)`` of bool; whoever takes the
            network's outputs, for example.
        readers: the layers that read the others.
    """

    always: Tensor
    readers: list[Reader]


def output_readers(module: nn.Module, example: Example, counts: Callable[[nn.Module], bool]) -> dict[str, Outputs]:
    """For each layer that counts, by name: who reads its output channels, at once or after channel-wise operations.

    Args:
        module: a network; it stays as it is.
        example: what it takes: a tensor ``(N, C, H, W)`` as a rule, or a tuple of arguments.
        counts: whether a layer is asked for, and may be a reader; others read all that they are given.

    Raises:
        UntraceableError: the module's Python code branches on values, or does something else in training.
        ValueError: the module does not run on the example.
    """
    traced = trace(module, example)
    if traced.only_eval is not None:
        raise UntraceableError(
            f"{traced.only_eval} does other operations in training than in evaluation, so that nobody knows who reads "
            "its inputs",
            traced.only_eval,
        )
    wiring = wire_graph(traced.root, traced.graph)
    names = {id(layer): name for name, layer in traced.root.named_modules()}
    found: dict[str, Outputs] = {}
    for node, (always, readers) in _reading(wiring, counts, names).items():
        if wiring.wires[node].kind is not Kind.READER or not counts(wiring.module(node)):
            continue
        name = names[id(wiring.module(node))]
        calls = found.setdefault(name, Outputs(torch.zeros_like(always), []))  # one layer may be called twice
        calls.always.logical_or_(always)
        calls.readers.extend(Reader(reader, *pairs) for reader, pairs in readers.items())
    return found


def _reading(
    wiring: Wiring, counts: Callable[[nn.Module], bool], names: dict[int, str]
) -> dict[fx.Node, tuple[Tensor, dict[str, Tensor]]]:
    """For each node: the channels that are always read; and by reader, pairs of its channel and the node's, (2, n)."""
    found: dict[fx.Node, tuple[Tensor, dict[str, Tensor]]] = {
        node: (wire.pinned.clone(), {}) for node, wire in wiring.wires.items()
    }
    for node, wire in reversed(wiring.wires.items()):
        always, readers = found[node]
        if wire.kind is Kind.READER:
            source = node.all_input_nodes[0]
            if source not in wiring:
                continue
            layer: Any = wiring.module(node)
            if counts(layer):
                _add(found[source][1], names[id(layer)], torch.arange(wiring[source].channels).expand(2, -1))
            else:
                found[source][0].fill_(True)
            continue
        for source, index in wire.links:
            found[source][0][index[always & (index >= 0)]] = True
            for name, (theirs, mine) in readers.items():
                here = index[mine] >= 0
                _add(found[source][1], name, torch.stack([theirs, index[mine]])[:, here])
    return found


def _add(readers: dict[str, Tensor], name: str, pairs: Tensor) -> None:
    """Note more pairs of a reader's channels, each once."""
    if name in readers:
        pairs = torch.cat([readers[name], pairs], 1).unique(dim=1)
    if pairs.shape[1]:
        readers[name] = pairs
