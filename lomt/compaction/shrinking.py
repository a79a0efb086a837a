"""A network that becomes smaller while it trains: its full shape, its present one, and the way between them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lomt.compaction.expand import carry_back, expand
from lomt.compaction.module import Compacted
from lomt.compaction.shrink import compact
from lomt.compaction.training import GROUPED, carry_over, compact_in_training, dead_groups, freeze


class Shrinking:
    """Compacts a network again and again as it trains, always from its full shape.

    Each time what was learned goes back into the full network, with 0 for all that was removed, and that is compacted
    anew. So only the last compaction has to be known, to go on from a checkpoint or to go back: which kernels
    were 0 decides all of it.

    Call :meth:`attach` once the optimizer is made, :meth:`shrink` between epochs and :meth:`whole` in the end. To go on
    from a checkpoint, call :meth:`load_state_dict` before the weights are loaded into ``network`` and the optimizer is
    made.

    Args:
        network: what is trained; it keeps its shape, and has the weights of the last :meth:`whole`.

    Attributes:
        full: the network as it was given.
        small: what it was last compacted to; None before anything was dead.
    """

    def __init__(self, network: nn.Module) -> None:
        self.full = network
        self.small: Compacted | None = None
        self._live: dict[str, Tensor] = {}
        self._dead: dict[str, Tensor] = {}
        self._shape: tuple[int, ...] = ()
        self._parameters: list[list[Tensor]] = []

    @property
    def network(self) -> nn.Module:
        """What is trained at present."""
        return self.full if self.small is None else self.small

    def attach(self, optimizer: Optimizer) -> None:
        """Give an optimizer that was made for the full network the parameters of the present one, in place."""
        self._parameters = [list(group["params"]) for group in optimizer.param_groups]
        if self.small is not None:
            carry_over(optimizer, self.full, self.small)
            freeze(self.small, self._dead)

    def shrink(self, optimizer: Optimizer, example: Tensor) -> nn.Module:
        """Remove what has died since the last time, and freeze it, as :func:`compact_in_training` does.

        Args:
            optimizer: goes on with the new network's parameters, in place.
            example: an input, ``(N, C, H, W)``.

        Returns:
            The network to go on with; the same one while nothing is dead.
        """
        live = _live_kernels(self.whole())
        if all(bool(kernels.all()) for kernels in live.values()):
            return self.network
        if self.small is not None:
            carry_back(optimizer, self.small, self.full, self._parameters)
        self._live, self._shape = live, tuple(example.shape)
        self.small = compact_in_training(self.full, example, optimizer)
        return self.small

    def whole(self) -> nn.Module:
        """The full network with what was learned so far."""
        if self.small is not None:
            self.full.to(next(self.small.parameters()))
            expand(self.small, self.full)
        return self.full

    def state_dict(self) -> dict[str, Any]:
        """What the present shape was made from: which kernels were alive, and the example's shape."""
        return {"live": self._live, "shape": list(self._shape)}

    def load_state_dict(self, state: dict[str, Any]) -> nn.Module:
        """Give the network the shape that it had, with other weights; they are to be loaded next.

        Returns:
            The network that the weights fit.
        """
        self._live, self._shape = state["live"], tuple(state["shape"])
        if self._live:
            _set_kernels(self.full, self._live)
            like = next(self.full.parameters())
            example = torch.zeros(self._shape, dtype=like.dtype, device=like.device)
            self.small = compact(self.full, example, for_training=True)
            self._dead = dead_groups(self.small)
        return self.network


def _live_kernels(module: nn.Module) -> dict[str, Tensor]:
    """For each layer, which kernels are not all 0, ``(rows, columns)`` of the weight: what decides what goes."""
    return {
        name: layer.weight.detach().ne(0).reshape(*layer.weight.shape[:2], -1).any(2).cpu()
        for name, layer in module.named_modules()
        if isinstance(layer, GROUPED) and layer._parameters.get("weight") is not None
    }


@torch.no_grad()
def _set_kernels(module: nn.Module, live: dict[str, Tensor]) -> None:
    """Make weights that are 0 where the kernels are dead and not 0 elsewhere, in place."""
    for name, kernels in live.items():
        weight: Any = module.get_submodule(name).weight
        # An average of the inputs, so that nothing overflows on the way through the network.
        average = kernels.to(weight) * (len(weight) / weight.numel())
        weight.copy_(average.view(*kernels.shape, *[1] * (weight.ndim - 2)).expand_as(weight))
