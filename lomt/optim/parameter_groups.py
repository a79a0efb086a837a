"""A network's parameters, sorted for a proximal optimizer: what is penalized, what decays, what does neither."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from lomt.sparsity.groups import Axis, GroupView, channel_groups
from lomt.sparsity.penalty import Penalty

Where = nn.Module | Sequence[nn.Module] | Callable[[str, nn.Module], bool]
Kinds = type[nn.Module] | Sequence[type[nn.Module]]

_LOG = logging.getLogger("lomt")
_SHARED = ("backbone", "encoder")
_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}


def parameter_groups(
    module: nn.Module,
    penalty: Penalty | None,
    axis: Axis = "in",
    where: Where | None = None,
    kinds: Kinds = nn.Conv2d,
) -> list[dict[str, Any]]:
    """Parameter groups for :class:`ProxAdamW` or :class:`ProxSGD`.

    Convolutions get the penalty, below ``where``. All other weights of two dimensions or more get none and decay as the
    optimizer says. Vectors and scalars (biases, scales and shifts of norms, loss weights) get no penalty and no decay:
    decay pulls them to values that mean nothing.

    What it took is told to the logger ``"lomt"``: as a warning where it had to guess, or where a layer can't have a
    penalty because its weight is computed from other tensors (parametrized, pruned by masks); else as information.

    Args:
        module: a network, a backbone, or any module; it may be wrapped in ``DataParallel`` or ``DDP``, or compiled.
        penalty: for the convolutions; None for none.
        axis: which of their channels are the groups.
        where: which layers get the penalty: those below this module, or below one of these, or those for which
            ``where(name, layer)`` is true, with names as in ``named_modules()``. None: those below the attribute
            ``backbone`` or ``encoder``, or of the whole module if it has neither.
        kinds: the classes of layers that get the penalty: ``(nn.Conv2d, nn.Linear)``, for example.

    Returns:
        Dicts with ``params``, ``penalty``, ``axis`` and ``conv_groups``, and ``weight_decay=0`` for vectors;
        convolutions that are divided into several groups are in a parameter group of their own.
        Every parameter of the module is in just one of them, and none is empty. ``places`` are the parameters' among
        ``module.parameters()``, by which the state of an optimizer that has them in one group is loaded.

    Raises:
        ValueError: ``where`` is given, and names no layer of these kinds.

    Example:
        >>> from lomt.sparsity import GroupLasso
        >>> net = nn.ModuleDict({"backbone": nn.Conv2d(3, 8, 3), "head": nn.Conv2d(8, 2, 1)})
        >>> [(len(group["params"]), group["penalty"]) for group in parameter_groups(net, GroupLasso(1e-3))]
        [(1, GroupLasso(weight=0.001, block=1)), (2, None), (1, None)]
    """
    views = _penalized(module, penalty, axis, where, tuple(kinds) if isinstance(kinds, Sequence) else (kinds,))
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


def _penalized(
    module: nn.Module, penalty: Penalty | None, axis: Axis, where: Where | None, kinds: tuple[type[nn.Module], ...]
) -> list[GroupView]:
    """The groups of the layers at ``where``; says what they are."""
    while type(module).__name__ in _WRAPPERS:
        module = getattr(module, _WRAPPERS[type(module).__name__])
    guess = where is None
    shared = next((name for name in _SHARED if isinstance(getattr(module, name, None), nn.Module)), None)
    if where is None:
        where = module if shared is None else getattr(module, shared)
    all_layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, kinds)}
    layers = _chosen(all_layers, where)
    weights = {id(layer._parameters.get("weight")) for layer in layers.values()}
    views = [view for view in channel_groups(module, axis, kinds) if id(view.parameter) in weights]
    if penalty is None:
        return views
    what = " or ".join(kind.__name__ for kind in kinds)
    if not layers and not guess:
        raise ValueError(f"where= names no {what} of {type(module).__name__}")
    said = f"parameter_groups: {penalty} on {len(views)} of {len(all_layers)} layers of kind {what}"
    if guess:
        said += f", those of {type(module).__name__}.{shared}" if shared else ""
    _LOG.info(said)
    if guess and shared is None and len(views) > 1:
        _LOG.warning(
            "%s: %s has no attribute 'backbone' or 'encoder', so heads are penalized like all else; where= chooses",
            said,
            type(module).__name__,
        )
    computed = [
        name or "the module itself" for name, layer in layers.items() if layer._parameters.get("weight") is None
    ]
    if computed:
        _LOG.warning(
            "parameter_groups: no penalty on %s: their weights are computed from others (parametrized, or pruned "
            "by a mask); remove the parametrization or call torch.nn.utils.prune.remove first",
            ", ".join(computed),
        )
    return views


def _chosen(layers: dict[str, nn.Module], where: Where) -> dict[str, nn.Module]:
    if isinstance(where, nn.Module):
        where = [where]
    if isinstance(where, Sequence):
        below = {id(layer) for part in where for layer in part.modules()}
        return {name: layer for name, layer in layers.items() if id(layer) in below}
    return {name: layer for name, layer in layers.items() if where(name, layer)}
