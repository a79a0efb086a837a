"""A module as a graph of operations that runs by itself."""

import copy
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from lomt.compaction.aliasing import AliasError, make_writes_visible, remove_dead_code
from lomt.compaction.module import Compacted, is_ours, widen
from lomt.models import Network
from lomt.nn import plain
from lomt.tracing.trace import Example, Traced, trace


def plain_trace(module: nn.Module, example: Example, opaque: Sequence[str] = (), *, inlines: bool = False) -> Traced:
    """:func:`lomt.tracing.trace.trace` of a module whose converted convolutions are plain ones in the copy."""
    traced = trace(module, example, opaque, inlines=inlines)
    plain(traced.root)
    return traced


def as_graph(
    module: nn.Module, example: Example, opaque: Sequence[str] = (), *, inlines: bool = False, owning: bool = True
) -> Compacted:
    """A module as the graph that it was traced to, with nothing removed but what has no effect on the outputs.

    Args:
        module: stays as it is.
        example: one input, as for :func:`compact`.
        opaque: names of submodules not to look into.
        inlines: look into a :class:`torch.autograd.Function`: the graph needs none of its code, but loses its gradient.
        owning: copy the parameters; else they are the module's.
    """
    traced = plain_trace(module, example, opaque, inlines=inlines)
    try:
        make_writes_visible(traced.graph, traced.root)
        remove_dead_code(traced.graph)
    except AliasError:  # who reads what can't be told, but all that is done is in order
        traced = plain_trace(module, example, opaque, inlines=inlines)
    small = Compacted(traced.root, traced.graph)
    return dress(own(small, module) if owning else small, module)


def own(small: Compacted, module: nn.Module) -> Compacted:
    """Give a graph parameters of its own in place of those that it shares with the module, in place."""
    theirs = {id(parameter) for parameter in module.parameters()}
    copies: dict[int, Any] = {}
    for part in small.modules():
        for name, parameter in part._parameters.items():
            if id(parameter) in theirs:
                part._parameters[name] = copy.deepcopy(parameter, copies)
    return small


def dress(small: Compacted, module: nn.Module) -> Compacted:
    """Give a graph the modes of the module that it was made of, and what a network of ours says of itself."""
    modes = {name: layer.training for name, layer in module.named_modules()}
    for name, layer in small.named_modules():
        layer.training = modes.get(name, module.training)
    if is_ours(module):
        for name in ("tasks", "taps"):
            if hasattr(module, name):
                setattr(small, name, copy.deepcopy(getattr(module, name)))
    if isinstance(module, Network):
        _widen_outputs(small.graph)
    return small


def _widen_outputs(graph: fx.Graph) -> None:
    """What a network of ours decides by autocast, which was off when it was traced: decoders' outputs are float32."""
    entries: Any = graph.output_node().args[0]
    for entry in dict.fromkeys(entries.values()):
        output = entry.args[0] if entry.target is F.interpolate else entry
        with graph.inserting_after(output):
            wide = graph.call_function(widen, (output,))
        output.replace_all_uses_with(wide)
        wide.args = (output,)
