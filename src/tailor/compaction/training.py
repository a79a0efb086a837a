"""Compaction between two steps of training: the optimizer goes on where it was, and what is dead stays dead."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tailor.compaction.module import Compacted
from tailor.compaction.shrink import compact
from tailor.compaction.trace import Example
from tailor.sparsity.groups import Axis, channel_groups, grouped

GROUPED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def compact_in_training(
    network: nn.Module, example: Example, optimizer: Optimizer, round_to: int = 1, axis: Axis = "in"
) -> Compacted:
    """Compact a network that is being trained, and freeze what is dead in the result.

    Call it between epochs, after ``optimizer.step()``, and go on with what it returns. Training then equals, up to
    rounding, that of the network as it was, with all that compaction removes set to 0 and frozen together with
    every group that is 0: only faster. Constants stay, since norms and biases go on learning them.

    Args:
        network: what was trained so far; not to be used afterwards with this optimizer.
        example: an input.
        optimizer: goes on with the new parameters, in place: groups, options and the state of what is left.
        round_to: as in :func:`compact`.
        axis: which channels of the weights are the groups that freeze when they are 0.
    """
    small = compact(network, example, round_to, for_training=True)
    carry_over(optimizer, network, small, axis)
    freeze(small, dead_groups(small, axis), optimizer, axis)
    return small


def carry_over(optimizer: Optimizer, module: nn.Module, small: Compacted, axis: Axis = "in") -> None:
    """Give an optimizer the parameters of the compacted module instead of the module's, in place.

    State of a parameter's shape is cut as the parameter was, numbers stay, anything else starts anew. The group lasso
    weighs a group by the root of its size, so that ``group_scale`` in a parameter's state says what to
    multiply its penalty with for the weight that the group had at first. Parameters that the optimizer has from
    elsewhere stay; new ones (constants that were folded) join the group that holds vectors.

    Args:
        optimizer: any optimizer of torch, or one that keeps its state as they do.
        module: what was compacted.
        small: what :func:`compact` made of it.
        axis: which channels are the groups.
    """
    names = {parameter: name for name, parameter in module.named_parameters()}
    left = dict(small.named_parameters())
    taken = set()
    for group in optimizer.param_groups:
        parameters = []
        for old in group["params"]:
            name = names.get(old)
            new = old if name is None else left.get(name)
            if name is not None:
                state = optimizer.state.pop(old, None)
            if new is None:
                continue
            parameters.append(new)
            if name is not None and state is not None:
                optimizer.state[new] = _cut_state(state, old, small, name, new, axis)
            taken.add(new)
        group["params"] = parameters
    new = [parameter for parameter in left.values() if parameter not in taken and not _was_left_out(parameter, module)]
    fresh = [left[name] for name in left.keys() - set(names.values()) if left[name] in set(new)]
    if fresh:
        _home_for_vectors(optimizer)["params"] += fresh


def _was_left_out(parameter: nn.Parameter, module: nn.Module) -> bool:
    return not parameter.requires_grad or not any(p.requires_grad for p in module.parameters())


def _home_for_vectors(optimizer: Optimizer) -> dict[str, Any]:
    free = [group for group in optimizer.param_groups if group.get("penalty") is None] or optimizer.param_groups
    vectors = [group for group in free if group["params"] and all(p.ndim < 2 for p in group["params"])]
    home: dict[str, Any] = (vectors or free)[-1]
    return home


def _cut_state(
    state: Mapping[str, Any], old: Tensor, small: Compacted, name: str, new: Tensor, axis: Axis
) -> dict[str, Any]:
    cut = small.record.cuts.get(name)
    kept = {}
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.numel() == 1:
            kept[key] = value
        elif value.shape == old.shape:
            kept[key] = value if cut is None else cut(value)
        elif cut is None:
            kept[key] = value
    if cut is not None and old.ndim > 1:
        along = 0 if axis == "out" else 1
        size = [tensor.numel() / (tensor.shape[along] * _groups(small, name)) for tensor in (old, new)]
        kept["group_scale"] = float(state.get("group_scale", 1.0)) * (size[0] / size[1]) ** 0.5
    return kept
