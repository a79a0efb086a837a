"""SGD that leaves exact zeros: proximal gradient descent."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT
from torch.optim.sgd import SGD, sgd

from lomt.optim.proximal import Proximal, block_of, is_dense, kinds, laid_out, with_keys
from lomt.sparsity.groups import Axis
from lomt.sparsity.penalty import Penalty
from lomt_kernels.prox import sgd_step


class ProxSGD(Proximal, SGD):
    """SGD with momentum, then the penalty's proximal operator with the step ``lr``.

    After the gradient step, the weights of a parameter group with a penalty become
    argmin over U of ½ ‖U − W‖² + lr · penalty(U). Without momentum that is the proximal gradient method. Everything
    else is as in :class:`ProxAdamW`; without a penalty this is :class:`torch.optim.SGD`.

    Args:
        params: parameters, or dicts of them with options; :func:`lomt.optim.parameter_groups` makes them.
        lr: the step size, of the gradient step and of the proximal one.
        momentum: decay rate of the accumulated gradient.
        dampening: how much less of a new gradient enters it.
        weight_decay: an ℓ2 penalty's factor, added to the gradient.
        nesterov: Nesterov's momentum.
        penalty: default of the key ``penalty``; it fits weights of convolutions and linear layers only.
        axis: default of the key ``axis``: ``"in"`` or ``"out"`` channels are the groups.
        conv_groups: default of the key ``conv_groups``: the ``groups`` of the convolutions.
        maximize: ascend instead.
        foreach: as in :class:`ProxAdamW`.
        differentiable: as in SGD, where there is no penalty.
        fused: as in :class:`ProxAdamW`.

    Raises:
        TypeError: the penalty is none; a penalized parameter is complex or distributed.
        ValueError: a negative or impossible option; a penalized parameter with fewer than two dimensions.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        penalty: Penalty | None = None,
        axis: Axis = "in",
        conv_groups: int = 1,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        keys = {"penalty": penalty, "axis": axis, "conv_groups": conv_groups}
        super().__init__(
            with_keys(params, **keys),
            lr,
            momentum,
            dampening,
            weight_decay,
            nesterov,
            maximize=maximize,
            foreach=foreach,
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
        if penalty is not None and fused:
            self._fused_step(group, weights, gradients)
            return
        self._gradient_step(group, weights, gradients, fused)
        if penalty is not None:
            for weight in weights:
                self._shrink(group, weight, group["lr"], None)

    def _fused_step(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        states = [self.state[weight] for weight in weights]
        fresh: list[bool] = []
        if group["momentum"] != 0:
            fresh = [state.get("momentum_buffer") is None for state in states]
            for weight, state, new in zip(weights, states, fresh, strict=True):
                if new:
                    state["momentum_buffer"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        norms, computed, prices, conv_groups = self._told(group, weights, states)
        sgd_step(
            weights,
            gradients,
            [state["momentum_buffer"] for state in states] if fresh else [],
            norms,
            computed,
            fresh,
            prices,
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            group["maximize"],
            group["penalty"].curve[1],
            group["axis"],
            conv_groups,
            block_of(group["penalty"]),
            *self._scaling(),
        )

    def _gradient_step(
        self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor], fused: bool
    ) -> None:
        buffers = [self.state[weight].get("momentum_buffer") for weight in weights]
        # torch's fused kernels walk memory, whatever the strides: what is not dense goes another way.
        dense = fused and all(
            is_dense(weight) and (buffer is None or buffer.stride() == weight.stride())
            for weight, buffer in zip(weights, buffers, strict=True)
        )
        grad_scale, found_inf = self._scaling() if dense else (None, None)
        if dense:
            gradients = [laid_out(g, w) for g, w in zip(gradients, weights, strict=True)]
        sgd(
            weights,
            gradients,
            buffers,
            has_sparse_grad=False,
            foreach=group["foreach"] if not dense else False,
            fused=dense,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
            grad_scale=grad_scale,
            found_inf=found_inf,
        )
        if group["momentum"] != 0:
            for weight, buffer in zip(weights, buffers, strict=True):
                self.state[weight]["momentum_buffer"] = buffer
