"""What makes an optimizer proximal: the parameter groups' keys, and the step that sets groups of weights to zero."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tailor.sparsity.groups import AXES, Axis, grouped
from tailor.sparsity.penalties import PENALTIES
from tailor.sparsity.penalty import Penalty

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
                f"penalty {penalty!r} is no tailor.sparsity.Penalty: give an instance, GroupLasso(1e-3) for example"
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


def prox_(
    weight: Tensor,
    group: dict[str, Any],
    step: float | Tensor,
    second_moment: Tensor | None,
    eps: float,
    start: Tensor | None,
) -> Tensor:
    """The proximal step of one parameter in the metric sqrt(second moment) + eps, piece by piece.

    Args:
        weight: the parameter after the gradient step; overwritten.
        group: its parameter group.
        step: the step size.
        second_moment: of the weight's shape; None is the identity metric.
        eps: what is added to its root.
        start: what the last call returned for this parameter.

    Returns:
        The norms of its groups, ``(blocks, channels)``.
    """
    penalty: Penalty = group["penalty"]
    layout: tuple[Axis, int] = (group["axis"], group["conv_groups"])
    W = grouped(weight, *layout)
    v = None if second_moment is None else grouped(second_moment, *layout)
    metric = None if v is None else lambda cut: cut(v).sqrt().add_(eps)
    if weight.dtype in (torch.float32, torch.float64):
        return penalty.prox_(W, step, metric, start)
    wide = W.float()
    wide_metric = None if metric is None else lambda cut: metric(cut).float()
    norms = penalty.prox_(wide, step, wide_metric, None if start is None else start.float())
    W.copy_(wide)
    return norms.to(weight.dtype)


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
