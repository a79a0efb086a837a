"""What makes an optimizer proximal: its groups' keys, what it remembers, and the step of penalties without a kernel."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from lomt.sparsity.groups import AXES
from lomt.sparsity.penalties import PENALTIES
from lomt.sparsity.penalty import Penalty
from lomt_kernels.layout import FLOATS, check_groups, group_count
from lomt_kernels.prox import new_norms
from lomt_kernels.shrink.reference import back, members

KEYS = ("penalty", "axis", "conv_groups")
PLACES = "places"
FUSED_DEVICES = ("cpu", "cuda")
COMPUTED = "computed_groups"
"""An attribute of a parameter: for each axis, which channels' gradients were computed, of bool; None for all."""


class Proximal(Optimizer):
    """An optimizer whose parameter groups may have a penalty.

    Keys of a parameter group:
        penalty: a :class:`Penalty`, or None for none.
        axis: ``"in"`` or ``"out"``: which channels of the weights are the groups.
        conv_groups: the ``groups`` of the convolutions that the weights belong to.

    A parameter may have an attribute ``computed_groups``, which says of which input and output channels gradients were
    computed, ``{"in": (inputs,), "out": (outputs,)}`` of bool: groups of others are left alone by a step, weights and
    moments and all. :class:`~lomt.nn.MaskedConv2d` sets it.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; see :meth:`torch.optim.Optimizer.add_param_group`.

        Raises:
            TypeError: the penalty is none, or a penalized parameter is complex, distributed or of integers.
            ValueError: a penalized parameter has no groups of that kind.
        """
        count = len(self.param_groups)
        super().add_param_group(param_group)
        try:
            self._check(self.param_groups[-1])
        except BaseException:
            del self.param_groups[count:]
            raise

    def _check(self, group: dict[str, Any]) -> None:
        penalty, axis = group["penalty"], group["axis"]
        if penalty is not None and not isinstance(penalty, Penalty):
            raise TypeError(
                f"penalty {penalty!r} is no lomt.sparsity.Penalty: give an instance, GroupLasso(1e-3) for example"
            )
        if axis not in AXES:
            raise ValueError(f"unknown axis {axis!r}: groups are 'in' or 'out' channels")
        if penalty is None:
            return
        if group.get("differentiable"):
            raise ValueError("differentiable=True with a penalty: the proximal step is outside autograd")
        for weight in group["params"]:
            if weight.ndim < 2:
                raise ValueError(
                    f"a weight of shape {tuple(weight.shape)} has no channels to group: give penalties to weights of "
                    "convolutions and linear layers only, and put the rest into a parameter group with penalty=None"
                )
            check_groups(weight, axis, group["conv_groups"], block_of(penalty))
            if any(stride == 0 and size > 1 for stride, size in zip(weight.stride(), weight.shape, strict=True)):
                raise ValueError(
                    f"a weight of shape {tuple(weight.shape)} is expanded, so that several of its numbers are one in "
                    "memory: give the tensor that it was expanded from"
                )

    def alive(self, parameter: Tensor) -> Tensor:
        """Which groups of a penalized parameter were not exactly 0 after the last step, ``(groups,)`` of bool.

        What the step found on its way: nothing is computed anew, and nothing read back from a GPU.

        Raises:
            KeyError: no step has been made of it.
        """
        norms: Tensor = self.state[parameter]["norms"]
        return norms[0] != 0

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether ``GradScaler`` may leave unscaling and skipping to the step, which then waits for no GPU."""
        return all(self._fused(group, weight) for group in self.param_groups for weight in group["params"])

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, value: bool) -> None:
        """The parent class sets what the groups say by themselves."""

    def _fused(self, group: Mapping[str, Any], weight: Tensor) -> bool:
        """Whether the step of a group's weights of one dtype and device is one call of a kernel."""
        wanted = group["fused"]
        if wanted is None:
            wanted = not group["foreach"] and not group.get("differentiable")
        penalty = group["penalty"]
        known = penalty is None or penalty.curve is not None
        # Where there is no penalty it is torch's kernel, which walks memory whatever the strides.
        able = penalty is not None or is_dense(weight)
        return bool(wanted) and known and able and weight.device.type in FUSED_DEVICES and weight.dtype in FLOATS

    def _scaling(self) -> tuple[Tensor | None, Tensor | None]:
        """What ``GradScaler`` has left for this step: the gradients' scale, and whether one is infinite."""
        return getattr(self, "grad_scale", None), getattr(self, "found_inf", None)

    def _told(
        self, group: Mapping[str, Any], weights: Sequence[Tensor], states: Sequence[dict[str, Any]]
    ) -> tuple[list[Tensor], list[Tensor | None], list[float], list[int]]:
        """What the fused steps are told of each weight: norms, which groups were computed, price, conv groups.

        The price is λ sqrt(|g|), where a compacted group counts as large as it was at first.
        """
        weight_of, conv_groups = group["penalty"].curve[0], group["conv_groups"]
        norms, prices, divided = [], [], []
        for weight, state in zip(weights, states, strict=True):
            parts = state.get("conv_groups", conv_groups)
            norm = state.get("norms")
            if norm is None:
                block = block_of(group["penalty"])
                norm = state["norms"] = new_norms(weight.detach(), axis=group["axis"], groups=parts, block=block)
            size = state.get("group_size") or weight.numel() / max(1, norm.shape[1])
            norms.append(norm)
            divided.append(parts)
            prices.append(weight_of * size**0.5)
        return norms, [_computed(weight, group) for weight in weights], prices, divided

    def _group_count(self, group: Mapping[str, Any], weight: Tensor) -> int:
        parts = conv_groups_of(group, self.state[weight])
        return group_count(weight, AXES.index(group["axis"]), parts, block_of(group["penalty"]))

    def _shrink(
        self, group: Mapping[str, Any], weight: Tensor, step: float | Tensor, metric: Callable[[], Tensor] | None
    ) -> None:
        """The proximal operator by the penalty's own method, in float64."""
        state, penalty = self.state[weight], group["penalty"]
        how = (AXES.index(group["axis"]), conv_groups_of(group, state), block_of(penalty))
        W = members(weight, *how)
        D = None if metric is None else members(metric(), *how)
        size = W.shape[1]
        missing = int(state.get("group_size", size)) - size
        # What compaction removed is 0 and stays so in any metric.
        W = F.pad(W, (0, missing))[:, None]
        D = None if D is None else F.pad(D, (0, missing), value=1.0)[:, None]
        new = penalty.prox(W, step, D)[:, 0, :size]
        weight.copy_(back(new, weight, *how))

    def state_dict(self) -> dict[str, Any]:
        """As every optimizer's; penalties are dicts of numbers, so that nothing has to be unpickled."""
        state = super().state_dict()
        for group in state["param_groups"]:
            if group["penalty"] is not None:
                group["penalty"] = group["penalty"].state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`, or from the plain optimizer's; penalties then stay as they are.

        That of a plain optimizer with all parameters in one group will do, too, where this one has them in several: in
        the order of ``module.parameters()`` if :func:`lomt.optim.parameter_groups` made these, else in that of the
        groups. All options are taken over then but ``weight_decay``, by which the groups differ.

        Raises:
            ValueError: it is of other parameters; or a stored penalty is unknown and isn't the one that this optimizer
                has.
        """
        saved = _as_divided(state_dict["param_groups"], self.param_groups)
        if len(saved) == len(self.param_groups):
            saved = [_with_keys(new, old) for new, old in zip(saved, self.param_groups, strict=True)]
        state_dict = {**state_dict, "param_groups": saved}
        _check_shapes(state_dict, self.param_groups)
        super().load_state_dict(state_dict)
        for group, loaded in zip(self.param_groups, saved, strict=True):
            # torch copies what it loads; whoever holds a penalty, to change λ as training goes, must keep holding it.
            group["penalty"] = loaded["penalty"]
            for weight, number in zip(group["params"], loaded["params"], strict=True):
                # And it rounds numbers to the weight's type, but a float64 step goes on from what it remembered.
                norms = state_dict["state"].get(number, {}).get("norms")
                if norms is not None:
                    self.state[weight]["norms"] = norms.detach().to(weight.device, copy=True)
                    if group["penalty"] is None or norms.shape[1] != self._group_count(group, weight):
                        del self.state[weight]["norms"]  # of other groups


def with_keys(params: ParamsT, **keys: Any) -> Any:
    """Parameter groups that have these keys, if not of their own."""
    if isinstance(params, Tensor):
        return params  # which torch refuses
    listed: list[Any] = list(params)
    if not listed or not isinstance(listed[0], dict):
        return [{"params": listed, **keys}] if listed else listed
    return [{**keys, **group} for group in listed]


def block_of(penalty: Penalty) -> int:
    """How many adjacent channels a penalty's group has."""
    return int(getattr(penalty, "block", 1))


def conv_groups_of(group: Mapping[str, Any], state: Mapping[str, Any]) -> int:
    """Into how many convolutions a parameter's layer is divided: its group's key, or what compaction left of them."""
    return int(state.get("conv_groups", group["conv_groups"]))


def kinds(weights: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """The parameters with a gradient, and the gradients, as one call can work on them: of one dtype and device.

    Raises:
        RuntimeError: a gradient is sparse.
    """
    found: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    for weight in weights:
        gradient = weight.grad
        if gradient is None:
            continue
        if gradient.layout != torch.strided:
            raise RuntimeError(
                f"a parameter of shape {tuple(weight.shape)} has a sparse gradient: make its layer with sparse=False"
            )
        alike = found.setdefault((weight.dtype, weight.device), ([], []))
        alike[0].append(weight)
        alike[1].append(gradient)
    yield from found.values()


def is_dense(weight: Tensor) -> bool:
    """Whether a parameter fills its memory, in whatever order of dimensions."""
    return torch.empty_like(weight, device="meta").stride() == weight.stride()


def laid_out(gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient in its weight's layout, which torch's fused kernels take for granted."""
    return gradient if gradient.stride() == weight.stride() else torch.empty_like(weight).copy_(gradient)


def _as_divided(saved: list[dict[str, Any]], current: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One stored parameter group divided as the current ones are."""
    counts = [len(group["params"]) for group in current]
    if len(saved) != 1 or len(current) == 1 or len(saved[0]["params"]) != sum(counts):
        return saved
    numbers = saved[0]["params"]
    places = [group.get(PLACES) for group in current]
    if all(found is not None and len(found) == count for found, count in zip(places, counts, strict=True)):
        divided = [[numbers[place] for place in found] for found in places]  # type: ignore[union-attr]
    else:
        first = [sum(counts[:i]) for i in range(len(counts))]
        divided = [numbers[begin : begin + count] for begin, count in zip(first, counts, strict=True)]
    options = {key: value for key, value in saved[0].items() if key not in ("params", "param_names", *KEYS)}
    return [
        {**group, **options, "weight_decay": group["weight_decay"], "params": mine}
        for group, mine in zip(current, divided, strict=True)
    ]


def _check_shapes(state_dict: Mapping[str, Any], current: list[dict[str, Any]]) -> None:
    """Moments of other parameters are refused now, with their shapes."""
    for saved, group in zip(state_dict["param_groups"], current, strict=False):
        for number, weight in zip(saved["params"], group["params"], strict=False):
            for key, value in state_dict["state"].get(number, {}).items():
                moment = key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
                if moment and isinstance(value, Tensor) and value.shape != weight.shape:
                    raise ValueError(
                        f"the stored {key} of parameter {number} has shape {tuple(value.shape)}, the parameter has "
                        f"{tuple(weight.shape)}: this state_dict is of other parameters, or of another order of them"
                    )


def _with_keys(saved: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """A stored parameter group with its penalty as an object, and the current keys where it stores none."""
    kept = {key: current[key] for key in (*KEYS, PLACES) if key in current}
    group = {**kept, **saved}
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


def _computed(weight: Tensor, group: Mapping[str, Any]) -> Tensor | None:
    """Which groups' gradients were computed; None for all."""
    channels = getattr(weight, COMPUTED, None)
    if channels is None:
        return None
    mask: Tensor = channels[group["axis"]]
    block = block_of(group["penalty"])
    return mask if block == 1 else mask.view(-1, block).any(1)
