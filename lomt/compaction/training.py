"""Compaction between two steps of training: the optimizer goes on where it was, and what is dead stays dead."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lomt.compaction.module import Compacted
from lomt.compaction.record import Cut
from lomt.compaction.shrink import compact
from lomt.sparsity.groups import Axis, GroupView, channel_groups, grouped
from lomt.tracing.trace import Example

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

    State of a parameter's shape is cut as the parameter was, numbers stay, anything else starts anew. Penalties
    weigh a group by the root of its size: where a penalized group became smaller, ``group_size`` in the parameter's
    state keeps the size that it had at first, and where a grouped convolution lost whole groups, ``conv_groups`` how
    many are left; proximal optimizers heed both. Parameters that the optimizer has from elsewhere stay; new ones
    (constants that were folded) join the group that holds vectors.

    Args:
        optimizer: any optimizer of torch, or one that keeps its state as they do.
        module: what was compacted.
        small: what :func:`compact` made of it.
        axis: which channels are the groups.
    """
    names = {parameter: name for name, parameter in module.named_parameters()}
    left = dict(small.named_parameters())
    before, after = ({f"{v.name}.weight": v for v in channel_groups(m, axis, GROUPED)} for m in (module, small))
    for group in optimizer.param_groups:
        olds, group["params"] = group["params"], []
        for old in olds:
            name = names.get(old)
            new = old if name is None else left.get(name)
            state = optimizer.state.pop(old, None)
            if new is None:
                continue
            group["params"].append(new)
            if name is not None:
                state = _cut_state(state or {}, old, small.record.cuts.get(name))
                if group.get("penalty") is not None and name in after:
                    state |= _groups_at_first(group, state, before[name], after[name])
            if state:
                optimizer.state[new] = state
    known = set(names.values())
    fresh = [parameter for name, parameter in left.items() if name not in known and parameter.requires_grad]
    if fresh:
        _home_of_vectors(optimizer)["params"] += fresh


def _groups_at_first(
    group: Mapping[str, Any], state: Mapping[str, Any], before: GroupView, after: GroupView
) -> dict[str, int]:
    """What the state of a penalized weight says of its groups, where its parameter group does not fit any more."""
    said = {}
    if after.size != state.get("group_size", before.size):
        said["group_size"] = int(state.get("group_size", before.size))
    if after.conv_groups != state.get("conv_groups", group.get("conv_groups", 1)):
        said["conv_groups"] = after.conv_groups
    return said


def _home_of_vectors(optimizer: Optimizer) -> dict[str, Any]:
    free = [group for group in optimizer.param_groups if group.get("penalty") is None] or optimizer.param_groups
    vectors = [group for group in free if group["params"] and all(p.ndim < 2 for p in group["params"])]
    home: dict[str, Any] = (vectors or free)[-1]
    return home


def _cut_state(state: Mapping[str, Any], old: Tensor, cut: Cut | None) -> dict[str, Any]:
    """What is left of a parameter's state; tensors that are neither of its shape nor numbers go if it was cut."""
    kept = {}
    for key, value in state.items():
        if cut is None or not isinstance(value, Tensor) or value.numel() == 1:
            kept[key] = value
        elif value.shape == old.shape and key != "norms":  # a number a group, that may look like a weight
            kept[key] = cut(value)
    return kept


def dead_groups(module: nn.Module, axis: Axis = "in") -> dict[str, Tensor]:
    """For each weight of which some groups are 0, which ones; ``(groups,)`` bool by parameter name."""
    dead = {f"{view.name}.weight": ~view.alive for view in channel_groups(module, axis, GROUPED)}
    return {name: groups for name, groups in dead.items() if groups.any()}


def freeze(
    module: nn.Module, groups: Mapping[str, Tensor], optimizer: Optimizer | None = None, axis: Axis = "in"
) -> list[RemovableHandle]:
    """Let groups of weights stay 0, whatever the optimizer would have them do, in place.

    Their gradients are 0 from now on, before clipping and all else, and so is what momentum remembers of them. Hooks
    do not outlive a checkpoint: store ``groups`` in it, and freeze again after loading.

    Args:
        module: where the weights are.
        groups: as :func:`dead_groups` gives them.
        optimizer: its state of these groups is zeroed; leave it out after loading a checkpoint.
        axis: which channels the groups are.

    Returns:
        What to call ``remove()`` of, to let them live again.
    """
    holds = []
    for view in channel_groups(module, axis, GROUPED):
        dead = groups.get(f"{view.name}.weight")
        if dead is None:
            continue
        frozen = torch.zeros_like(view.parameter, dtype=torch.bool)
        blocks = grouped(frozen, view.axis, view.conv_groups)
        blocks[dead.view(blocks.shape[:2]).to(frozen.device)] = True
        holds += freeze_entries(view.parameter, frozen, optimizer)
    return holds


def freeze_entries(parameter: Tensor, frozen: Tensor, optimizer: Optimizer | None = None) -> list[RemovableHandle]:
    """Let some entries of a parameter be 0 and stay so, in place; ``frozen`` is a bool tensor of its shape."""
    with torch.no_grad():
        parameter.masked_fill_(frozen, 0)
        if parameter.grad is not None:
            parameter.grad.masked_fill_(frozen, 0)
    holds = []
    if parameter.requires_grad:
        holds.append(parameter.register_hook(lambda gradient: gradient.masked_fill(frozen, 0)))
    state = optimizer.state.get(parameter, {}) if optimizer is not None else {}
    for key, value in list(state.items()):
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            value.masked_fill_(frozen, 0)
        elif isinstance(value, Tensor) and value.numel() > 1:
            del state[key]  # a memory of what the weights were, such as the proximal step's
    return holds
