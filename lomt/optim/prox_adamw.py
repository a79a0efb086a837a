"""AdamW that leaves exact zeros: the proximal optimizer of LOMT."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from lomt.optim.proximal import WIDE, Proximal, buckets, conv_groups_of, dense_gradient, prox_
from lomt.sparsity.groups import Axis, grouped
from lomt.sparsity.penalty import Layer, Penalty

FUSED_DEVICES = ("cpu", "cuda")


class ProxAdamW(Proximal):
    """AdamW, then the penalty's proximal operator in Adam's own metric.

    After the gradient step and the decoupled decay, the weights of a parameter group with a penalty become

        argmin over U of ½ Σ D (U − W)² + lr · penalty(U),   D = sqrt(v̂) + eps,

    which makes whole groups exactly 0 and the others smaller (Deleu and Bengio, arXiv 2102.03869; LOMT, arXiv
    2406.03048): the loss + penalty is what is minimized. A group that is 0 keeps its moments and comes back when
    its gradient outweighs λ. Parameters without a gradient are left alone, penalty and all. Without a penalty this
    is :class:`torch.optim.AdamW`, and loads its ``state_dict``.

    Works as any optimizer does under ``GradScaler`` (skipped steps are skipped whole), with gradients
    accumulated or clipped, and under DDP, where equal gradients give equal zeros on all ranks.

    Args:
        params: parameters, or dicts of them with options; :func:`lomt.optim.parameter_groups` makes them.
        lr: the step size, of the gradient step and of the proximal one.
        betas: decay rates of the moments.
        eps: what is added to sqrt(v̂).
        weight_decay: decoupled decay.
        amsgrad: take the running maximum of v, in the metric too.
        penalty: default of the key ``penalty``; it fits weights of convolutions and linear layers only.
        axis: default of the key ``axis``: ``"in"`` or ``"out"`` channels are the groups.
        conv_groups: default of the key ``conv_groups``: the ``groups`` of the convolutions.
        maximize: ascend instead.
        fused: torch's one-pass kernel for the gradient step. None: where it exists.

    Raises:
        TypeError: the penalty is none.
        ValueError: a negative or impossible option; a penalized parameter with fewer than two dimensions.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        penalty: Penalty | None = None,
        axis: Axis = "in",
        conv_groups: int = 1,
        maximize: bool = False,
        fused: bool | None = None,
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name}={value}: use a number of 0 or more")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={betas}: each must be at least 0 and less than 1")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "fused": fused,
            "penalty": penalty,
            "axis": axis,
            "conv_groups": conv_groups,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of all parameters that have a gradient.

        Args:
            closure: evaluates the loss anew, with gradients.

        Returns:
            What the closure returned.

        Raises:
            RuntimeError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if group["penalty"] is None:
                self._gradient_step(group, weights)
                continue
            # The proximal step finds weights and moments still in cache.
            for bucket in buckets(weights):
                self._gradient_step(group, bucket)
                self._proximal_step(group, bucket)
        return loss

    def _gradient_step(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        if not weights:
            return
        fused = group["fused"]
        if fused is None:
            fused = all(w.device.type in FUSED_DEVICES and w.is_floating_point() for w in weights)
        states = [self._state_of(weight, group, fused) for weight in weights]
        beta1, beta2 = group["betas"]
        adamw(
            weights,
            [dense_gradient(weight) for weight in weights],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else [],
            [state["step"] for state in states],
            fused=fused,
            amsgrad=group["amsgrad"],
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )

    def _state_of(self, weight: Tensor, group: dict[str, Any], fused: bool) -> dict[str, Any]:
        state = self.state[weight]
        moments = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]
        for moment in moments:
            if moment not in state:
                state[moment] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        step = state.setdefault("step", torch.zeros((), dtype=torch.float32))
        if fused and step.device != weight.device:
            state["step"] = step.to(weight.device)
        return state

    def _proximal_step(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        layers = [self._layer(group, weight) for weight in weights]
        states = [self.state[weight] for weight in weights]
        for weight, memory in zip(weights, prox_(group, layers, states), strict=True):
            self.state[weight]["prox"] = memory

    def _layer(self, group: dict[str, Any], weight: Tensor) -> Layer:
        state = self.state[weight]
        moment = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        second = grouped(moment, group["axis"], conv_groups_of(group, state))
        wide = moment.dtype if moment.dtype in WIDE else torch.float32
        # In float64: 1 − β₂ᵗ loses half of float32's digits at first. A metric and its step may be scaled alike, so
        # the correction of v's bias goes into two numbers instead of all weights.
        root = (1 - group["betas"][1] ** state["step"].double()).sqrt()
        if weight.device.type == "cpu":
            root = root.item()
        eps, start = group["eps"] * root, state.get("prox")

        def metric() -> Tensor:
            return second.to(wide).sqrt().add_(eps)

        return Layer(weight, group["lr"] * root, metric, None if start is None else start.to(wide))
