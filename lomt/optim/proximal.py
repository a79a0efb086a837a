"""What makes an optimizer proximal: the parameter groups' keys, and the step that sets groups of weights to zero."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lomt.sparsity.groups import AXES, grouped
from lomt.sparsity.penalties import PENALTIES
from lomt.sparsity.penalty import Layer, Penalty

WIDE = (torch.float32, torch.float64)
# Weights to work on at once: their gradient step leaves them in the last cache, and small layers share the launches
# of what is computed once a group.
BUCKET = 1 << 22
KEYS = ("penalty", "axis", "conv_groups")


class Proximal(Optimizer):
    """An optimizer whose parameter groups may have a penalty.

    Keys of a parameter group:
        penalty: a :class:`Penalty`, or None for none.
        axis: ``"in"`` or ``"out"``: which channels of the weights are the groups.
        conv_groups: the ``groups`` of the convolutions that the weights belong to.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; see :meth:`torch.optim.Optimizer.add_param_group`.

        Raises:
            TypeError: the penalty is none.
            ValueError: a penalized parameter has no groups of that kind.
        """
        super().add_param_group(param_group)
        try:
            self._check(self.param_groups[-1])
        except (TypeError, ValueError):
            del self.param_groups[-1]
            raise

    def _check(self, group: dict[str, Any]) -> None:
        penalty, axis = group["penalty"], group["axis"]
        if penalty is not None and not isinstance(penalty, Penalty):
            raise TypeError(
                f"penalty {penalty!r} is no lomt.sparsity.Penalty: give an instance, GroupLasso(1e-3) for example"
            )
        if axis not in AXES:
            raise ValueError(f"unknown axis {axis!r}: groups are 'in' or 'out' channels")
        if penalty is not None:
            for weight in group["params"]:
                grouped(weight, axis, group["conv_groups"])

    def state_dict(self) -> dict[str, Any]:
        """As every optimizer's; penalties are dicts of numbers, so that nothing has to be unpickled."""
        state = super().state_dict()
        for group in state["param_groups"]:
            if group["penalty"] is not None:
                group["penalty"] = group["penalty"].state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`; that of the plain optimizer will do too, and keeps the penalties.

        Raises:
            ValueError: a stored penalty is unknown and isn't the one that this optimizer has.
        """
        saved = state_dict["param_groups"]
        if len(saved) == len(self.param_groups):
            pairs = zip(saved, self.param_groups, strict=True)
            state_dict = {**state_dict, "param_groups": [_with_keys(new, old) for new, old in pairs]}
        super().load_state_dict(state_dict)
        # torch copies what it loads; whoever holds a penalty, to change λ as training goes, must keep holding it.
        for group, loaded in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group["penalty"] = loaded["penalty"]


def _with_keys(saved: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """A stored parameter group with its penalty as an object, and the current keys where it stores none."""
    group = {**{key: current[key] for key in KEYS}, **saved}
    stored, penalty = group["penalty"], current["penalty"]
    if isinstance(stored, dict):
        if penalty is None or type(penalty).name != stored.get("name"):
            penalty = _build(stored)
        else:
            penalty.load_state_dict(stored)
        group["penalty"] = penalty
    return group


def _build(stored: dict[str, Any]) -> Penalty:
    kind = PENALTIES.get(str(stored.get("name")))
    if kind is None:
        raise ValueError(
            f"the stored penalty {stored} is none of {sorted(PENALTIES)}: make the optimizer with that penalty first"
        )
    return kind(**{key: value for key, value in stored.items() if key != "name"})


def buckets(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters in portions to work on at once: of one dtype and device, and not too many to stay in cache."""
    bucket: list[Tensor] = []
    for weight in weights:
        alike = all((other.dtype, other.device) == (weight.dtype, weight.device) for other in bucket[:1])
        if bucket and not (alike and sum(other.numel() for other in bucket) + weight.numel() <= BUCKET):
            yield bucket
            bucket = []
        bucket.append(weight)
    if bucket:
        yield bucket


def conv_groups_of(group: Mapping[str, Any], state: Mapping[str, Any]) -> int:
    """Into how many convolutions a parameter's layer is divided: its group's key, or what compaction left of them."""
    return int(state.get("conv_groups", group["conv_groups"]))


def prox_(group: dict[str, Any], layers: Sequence[Layer], states: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """The proximal step of some parameters of one group, alike in dtype and device.

    Args:
        group: their parameter group.
        layers: the parameters after the gradient step, which are overwritten, in their own shapes.
        states: their state. Where a compacted network goes on training, it says what its groups were before:
            ``group_size``, the weights that one had at first, and ``conv_groups``.

    Returns:
        What the next step of each starts from, in the parameters' dtype.
    """
    # A weight that is narrower than float32 is worked on as a float32 copy.
    wide = [layer.weights if layer.weights.dtype in WIDE else layer.weights.float() for layer in layers]
    memories = group["penalty"].prox_(
        [
            layer._replace(
                weights=grouped(work, group["axis"], conv_groups_of(group, state)), members=state.get("group_size")
            )
            for layer, work, state in zip(layers, wide, states, strict=True)
        ]
    )
    for layer, work in zip(layers, wide, strict=True):
        if work is not layer.weights:
            layer.weights.copy_(work)
    return [memory.to(layer.weights.dtype) for memory, layer in zip(memories, layers, strict=True)]


def dense_gradient(weight: Tensor) -> Tensor:
    """The gradient in its weight's memory layout, which fused kernels take for granted.

    Raises:
        RuntimeError: it's sparse.
    """
    gradient = weight.grad
    assert gradient is not None
    if gradient.is_sparse:
        raise RuntimeError(
            f"a parameter of shape {tuple(weight.shape)} has a sparse gradient: make its layer with sparse=False"
        )
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)
