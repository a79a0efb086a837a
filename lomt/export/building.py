"""A network from its stored layers, graph and tensors."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from lomt.compaction import Compacted
from lomt.export.graphs import graph_from_list
from lomt.export.layers import layer_from_dict


def build(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Compacted:
    """The network that ``config["layers"]`` and ``config["graph"]`` describe, with these tensors, in eval mode.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: the description is damaged, or the tensors are not its own.
    """
    root = nn.Module()
    with torch.device("meta"):
        for name, state in config["layers"].items():
            _hang(root, name, layer_from_dict(state))
    graph = graph_from_list(config["graph"])
    _hang_tensors(root, graph, tensors)
    network = Compacted(root, graph)
    network.load_state_dict(dict(tensors), assign=True)
    for name, other in config["shared"].items():
        _tie(network, name, other)
    return network.eval()


def _hang(root: nn.Module, name: str, layer: nn.Module) -> None:
    holder, last = _holder(root, name)
    holder.add_module(last, layer)


def _hang_tensors(root: nn.Module, graph: fx.Graph, tensors: Mapping[str, Tensor]) -> None:
    """Parameters and buffers that the graph reads beside the layers: whole numbers are buffers."""
    for node in graph.nodes:
        name = str(node.target)
        if node.op != "get_attr" or name == "training":
            continue
        holder, last = _holder(root, name)
        if hasattr(holder, last):
            continue
        if tensors[name].is_floating_point():
            holder.register_parameter(last, nn.Parameter(tensors[name]))
        else:
            holder.register_buffer(last, tensors[name])


def _holder(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module below which ``name`` hangs, made if need be, and the name's last part."""
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root, last


def _tie(network: nn.Module, name: str, other: str) -> None:
    """Let two names stand for one tensor again."""
    holder, last = _holder(network, name)
    setattr(holder, last, network.get_parameter(other))
