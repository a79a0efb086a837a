"""AdamW that leaves exact zeros: the proximal optimizer of LOMT."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.adamw import AdamW, adamw
from torch.optim.optimizer import ParamsT

from lomt.optim.proximal import Proximal, block_of, kinds, laid_out, with_keys
from lomt.sparsity.groups import Axis
from lomt.sparsity.penalty import Penalty
from lomt_kernels.prox import adamw_step


class ProxAdamW(Proximal, AdamW):
    """AdamW, then the penalty's proximal operator in Adam's own metric.

    After the gradient step and the decoupled decay, the weights of a parameter group with a penalty become

        argmin over U of ½ Σ D (U − W)² + lr · penalty(U),   D = sqrt(v̂) + eps,

    which makes whole groups exactly 0 and the others smaller (Deleu and Bengio, arXiv 2102.03869; LOMT, arXiv
    2406.03048): the loss + penalty is what is minimized. A group that is 0 keeps its moments and comes back when
    its gradient outweighs λ. Parameters without a gradient are left alone, penalty and all.

    In all other respects it is :class:`torch.optim.AdamW`, keywords, hooks and ``state_dict`` included, which load
    both ways. With the penalties of this package, step and operator are one pass over memory
    (:func:`lomt_kernels.prox_adamw_`), also under ``GradScaler``; equal gradients give equal zeros on all ranks of DDP.

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
        foreach: torch's batched gradient step, and the proximal operator after it, one weight at a time.
        capturable: keep the step counts on the GPU, for CUDA graphs; the fused step does so anyway.
        differentiable: as in AdamW, where there is no penalty.
        fused: step and operator as one kernel, and torch's fused AdamW where there is no penalty. None: where that
            exists; False: never.

    Raises:
        TypeError: the penalty is none; a penalized parameter is complex or distributed.
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
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        keys = {"penalty": penalty, "axis": axis, "conv_groups": conv_groups}
        super().__init__(
            with_keys(params, **keys),
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
        )
        self.defaults |= keys

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of all parameters that have a gradient.

        Args:
            closure: evaluates the loss anew, with gradients.

        Returns:
            What the closure returned.

        Raises:
            RuntimeError: a gradient is sparse.
            ValueError: λ was set to an impossible number.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["penalty"] is not None:
                group["penalty"].check()
            with torch.set_grad_enabled(bool(group["differentiable"])):
                for weights, gradients in kinds(group["params"]):
                    self._step_alike(group, weights, gradients)
        return loss

    def _step_alike(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        penalty, fused = group["penalty"], self._fused(group, weights[0])
        states = [self._state_of(weight, group, fused) for weight in weights]
        if penalty is not None and fused:
            self._fused_step(group, weights, gradients, states)
            return
        self._gradient_step(group, weights, gradients, states, fused)
        if penalty is not None:
            for weight, state in zip(weights, states, strict=True):
                self._proximal_step(group, weight, state)

    def _state_of(self, weight: Tensor, group: dict[str, Any], fused: bool) -> dict[str, Any]:
        state = self.state[weight]
        if "exp_avg" not in state:
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        step = state.get("step")
        on_device = fused or group["capturable"]
        if step is None:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device if on_device else "cpu")
        elif on_device and step.device != weight.device:
            state["step"] = step.to(weight.device)
        return state

    def _fused_step(
        self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        norms, computed, prices, conv_groups = self._told(group, weights, states)
        adamw_step(
            weights,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else [],
            [state["step"] for state in states],
            norms,
            computed,
            prices,
            group["lr"],
            group["betas"],
            group["eps"],
            group["weight_decay"],
            group["maximize"],
            group["penalty"].curve[1],
            group["axis"],
            conv_groups,
            block_of(group["penalty"]),
            *self._scaling(),
        )

    def _gradient_step(
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
        fused: bool,
    ) -> None:
        # torch's fused kernels walk memory, whatever the strides: what is not dense goes another way.
        dense = fused and all(s["exp_avg"].stride() == w.stride() for w, s in zip(weights, states, strict=True))
        grad_scale, found_inf = self._scaling() if dense else (None, None)
        if dense:
            gradients = [laid_out(g, w) for g, w in zip(gradients, weights, strict=True)]
        beta1, beta2 = group["betas"]
        adamw(
            weights,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else [],
            [state["step"] for state in states],
            foreach=group["foreach"] if not dense else False,
            capturable=group["capturable"],
            differentiable=group["differentiable"],
            fused=dense,
            has_complex=any(weight.is_complex() for weight in weights),
            amsgrad=group["amsgrad"],
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
            grad_scale=grad_scale,
            found_inf=found_inf,
        )

    def _proximal_step(self, group: dict[str, Any], weight: Tensor, state: dict[str, Any]) -> None:
        second = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        # A metric and its step may be scaled alike, so the correction of v's bias goes into two numbers.
        root = (1 - group["betas"][1] ** state["step"].double()).sqrt().to(weight.device)
        self._shrink(group, weight, group["lr"] * root, lambda: second.double().sqrt() + group["eps"] * root)
