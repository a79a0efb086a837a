"""SGD that leaves exact zeros: proximal gradient descent."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT
from torch.optim.sgd import sgd

from lomt.optim.proximal import Proximal, buckets, dense_gradient, prox_
from lomt.sparsity.groups import Axis
from lomt.sparsity.penalty import Layer, Penalty


class ProxSGD(Proximal):
    """SGD with momentum, then the penalty's proximal operator with the step ``lr``.

    After the gradient step, the weights of a parameter group with a penalty become
    argmin over U of ½ ‖U − W‖² + lr · penalty(U). Without momentum that is the proximal gradient method. Everything
    else is as in :class:`ProxAdamW`. Without a penalty this is :class:`torch.optim.SGD`, and loads its ``state_dict``.

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
        foreach: torch's batched implementation of the gradient step.
        fused: torch's one-pass kernel for the gradient step.

    Raises:
        TypeError: the penalty is none.
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
        fused: bool | None = None,
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name}={value}: use a number of 0 or more")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"nesterov with momentum={momentum}, dampening={dampening}: it needs momentum and no dampening"
            )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
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
            if weights:
                self._gradient_step(group, weights)
            for bucket in buckets(weights) if group["penalty"] is not None else ():
                layers = [Layer(weight, group["lr"]) for weight in bucket]
                prox_(group, layers, [self.state[weight] for weight in bucket])
        return loss

    def _gradient_step(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        buffers = [self.state[weight].get("momentum_buffer") for weight in weights]
        sgd(
            weights,
            [dense_gradient(weight) for weight in weights],
            buffers,
            has_sparse_grad=False,
            foreach=group["foreach"],
            fused=group["fused"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )
        if group["momentum"] != 0:
            for weight, buffer in zip(weights, buffers, strict=True):
                self.state[weight]["momentum_buffer"] = buffer
