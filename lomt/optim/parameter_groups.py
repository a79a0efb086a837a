"""A network's parameters, sorted for a proximal optimizer: what is penalized, what decays, what does neither."""

from typing import Any

from torch import nn

from lomt.sparsity.groups import Axis, channel_groups
from lomt.sparsity.penalty import Penalty


def parameter_groups(
    module: nn.Module, penalty: Penalty | None, axis: Axis = "in", decoders: bool = False
) -> list[dict[str, Any]]:
    """Parameter groups for :class:`ProxAdamW` or :class:`ProxSGD`.

    The convolutions of the ``backbone``, if the module has one, else those of the whole module, get the penalty.
    All other weights of two dimensions or more, decoders' as a rule, get none and decay as the optimizer says.
    Vectors and scalars (biases, scales and shifts of norms, loss weights) get no penalty and no decay: decay pulls
    them to values that mean nothing.

    Args:
        module: a network, a backbone, or any module.
        penalty: for the convolutions; None for none.
        axis: which of their channels are the groups.
        decoders: give it to the convolutions outside the backbone, too.

    Returns:
        Dicts with ``params``, ``penalty``, ``axis`` and ``conv_groups``, and ``weight_decay=0`` for vectors;
        convolutions that are divided into several groups are in a parameter group of their own.
        Every parameter of the module is in just one of them, and none is empty. ``places`` are the parameters' among
        ``module.parameters()``, by which the state of an optimizer that has them in one group is loaded.
    """
    backbone = getattr(module, "backbone", None)
    views = channel_groups(backbone if isinstance(backbone, nn.Module) and not decoders else module, axis)
    groups: dict[Any, dict[str, Any]] = {}
    placed = set()
    for view in views:
        options = {"penalty": penalty, "axis": view.axis, "conv_groups": view.conv_groups}
        group = groups.setdefault((view.axis, view.conv_groups), {"params": [], **options})
        group["params"].append(view.parameter)
        placed.add(id(view.parameter))
    for parameter in module.parameters():
        if id(parameter) in placed:
            continue
        decay = {"weight_decay": 0.0} if parameter.ndim < 2 else {}
        group = groups.setdefault("vectors" if decay else "others", {"params": [], "penalty": None, "axis": axis})
        group |= {"conv_groups": 1, **decay}
        group["params"].append(parameter)
    places = {id(parameter): place for place, parameter in enumerate(module.parameters())}
    for group in groups.values():
        group["places"] = [places[id(parameter)] for parameter in group["params"]]
    return list(groups.values())
