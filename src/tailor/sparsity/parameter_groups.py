"""A network's parameters, sorted for a proximal optimizer: what is penalized, what decays, what does neither."""

from typing import Any

from torch import nn

from tailor.sparsity.groups import Axis, channel_groups
from tailor.sparsity.penalty import Penalty


def parameter_groups(module: nn.Module, penalty: Penalty | None, axis: Axis = "in") -> list[dict[str, Any]]:
    """Parameter groups for :class:`ProxAdamW` or :class:`ProxSGD`.

    The convolutions of the ``backbone``, if the module has one, else those of the whole module, get the penalty.
    All other weights of two dimensions or more, decoders' above all, get none and decay as the optimizer says.
    Vectors and scalars (biases, scales and shifts of norms, loss weights) get no penalty and no decay: decay pulls
    them to values that mean nothing.

    Args:
        module: a network, a backbone, or any module.
        penalty: for the convolutions; None for none.
        axis: which of their channels are the groups.

    Returns:
        Dicts with ``params``, ``penalty``, ``axis`` and ``conv_groups``, and ``weight_decay=0`` for vectors;
        convolutions that are divided into several groups are in a parameter group of their own.
        Every parameter of the module is in just one of them, and none is empty.
    """
    backbone = getattr(module, "backbone", None)
    views = channel_groups(backbone if isinstance(backbone, nn.Module) else module, axis)
    sorted_: dict[Any, dict[str, Any]] = {}
    placed = set()
    for view in views:
        key = (view.axis, view.conv_groups)
        group = {"params": [], "penalty": penalty, "axis": view.axis, "conv_groups": view.conv_groups}
        sorted_.setdefault(key, group)["params"].append(view.parameter)
        placed.add(id(view.parameter))
    for parameter in module.parameters():
        if id(parameter) not in placed:
            vector = parameter.ndim < 2
            group = {"params": [], "penalty": None, "axis": axis, "conv_groups": 1}
            if vector:
                group["weight_decay"] = 0.0
            sorted_.setdefault("vectors" if vector else "others", group)["params"].append(parameter)
    return list(sorted_.values())
