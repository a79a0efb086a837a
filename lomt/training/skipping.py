"""A network whose training gets cheaper as its channels die."""

import copy
import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from lomt.compaction import Compacted, carry_over, compact, dead_groups, expand, freeze
from lomt.compaction.training import GROUPED
from lomt.modes import evaluating
from lomt.nn import MaskedConv2d, plain
from lomt.nn import freeze as freeze_layers
from lomt.nn.converting import skip_dead
from lomt.sparsity import channel_groups

_LOG = logging.getLogger("lomt")


class Skipping:
    """Trains a network without what is dead: first what may come back, then what may not.

    As long as groups may come back, the convolutions skip dead ones forward and in the gradient of their input; the
    gradient that could bring a group back is computed, so that all numbers are those of the plain network
    (:meth:`skip`). From :meth:`freeze` on what is dead stays dead, and is taken out of the network; where that can't be
    traced, its convolutions skip it in everything.

    Call :meth:`attach` once the optimizer is made, :meth:`skip` and :meth:`freeze` between epochs and :meth:`end` last.
    To go on from a checkpoint, call :meth:`load_state_dict` before the weights are loaded into ``network`` and the
    optimizer is made.

    Args:
        network: what is trained; it keeps its shape, and has the weights of the last :meth:`whole`.

    Attributes:
        full: the network as it was given.
        small: what is trained in its place since :meth:`freeze`, or None.
        frozen: whether what is dead stays dead.
    """

    def __init__(self, network: nn.Module) -> None:
        self.full = network
        self.small: Compacted | None = None
        self.frozen = False
        self._live: dict[str, Tensor] = {}
        self._shape: tuple[int, ...] = ()
        self._holds: list[RemovableHandle] = []
        self._dense: int | None = None

    @property
    def network(self) -> nn.Module:
        """What is trained at present."""
        return self.full if self.small is None else self.small

    def skip(self) -> None:
        """Skip what is dead by now; a network in which nothing is stays as fast as it was."""
        if self.frozen or all(bool(view.alive.all()) for view in channel_groups(self.full)):
            return
        found, left = skip_dead(self.full)
        if left or not found:
            _say(f"{found} convolutions skip what is dead; these are computed in full: {', '.join(left) or 'all'}")

    def freeze(self, example: Tensor, optimizer: Optimizer | None = None) -> None:
        """Freeze what is dead, if anything is; :attr:`network` may be another one afterwards.

        Args:
            example: an input, ``(N, C, H, W)``.
            optimizer: goes on with the new network's parameters, in place; None where it is still to be made.
        """
        self._live, self._shape = live_kernels(self.full), tuple(example.shape)
        if all(bool(kernels.all()) for kernels in self._live.values()):
            self._live = {}
            _LOG.info("nothing is dead yet: nothing is frozen")
            return
        self._narrow(example)
        if optimizer is not None:
            self.attach(optimizer)
        self._hold(optimizer)

    def attach(self, optimizer: Optimizer) -> None:
        """Give an optimizer that was made for the full network the parameters of the present one, in place."""
        if self.small is not None:
            carry_over(optimizer, self.full, self.small)

    def computed(self, image: Tensor) -> float:
        """Share of the multiply-accumulates of a forward pass that is computed at present, from 0 to 1.

        Args:
            image: an input, ``(N, C, H, W)``.
        """
        if self.small is None and all(bool(view.alive.all()) for view in channel_groups(self.full)):
            return 1.0
        if self._dense is None:
            self._dense = _flops(plain(copy.deepcopy(self.full)), image)
        return _flops(self.network, image) / self._dense

    def whole(self) -> nn.Module:
        """The full network with what was learned so far."""
        if self.small is not None:
            self.full.to(next(self.small.parameters()))
            expand(self.small, self.full)
        return self.full

    def end(self) -> nn.Module:
        """The full network as it was given, with what was learned."""
        for hold in self._holds:
            hold.remove()
        return plain(self.whole())

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
            set_kernels(self.full, self._live)
            like = next(self.full.parameters())
            self._narrow(torch.zeros(self._shape, dtype=like.dtype, device=like.device))
            self._hold(None)
        return self.network

    def _narrow(self, example: Tensor) -> None:
        """Take out what is dead, or else skip it for good."""
        self.frozen = True
        try:
            # Layers that skip what they don't read are faster than picking out what they do.
            self.small = compact(self.full, example, gather=False, for_training=True)
        except (ValueError, TypeError, RuntimeError) as error:  # backbones of others may fail in any way
            _say(f"what is dead is skipped, but not taken out while training: {str(error).splitlines()[0]}")
        if skip_dead(self.network)[0]:  # also what was narrowed: its gradients are the faster
            freeze_layers(self.network)

    def _hold(self, optimizer: Optimizer | None) -> None:
        """Let what is dead and still there stay 0; frozen layers give it no gradient, and need no hooks."""
        frozen = {f"{n}.weight" for n, layer in self.network.named_modules() if isinstance(layer, MaskedConv2d)}
        dead = dead_groups(self.network)
        self._holds = freeze(self.network, {n: dead[n] for n in dead.keys() - frozen}, optimizer)
        for hold in freeze(self.network, {n: dead[n] for n in dead.keys() & frozen}, optimizer):
            hold.remove()


@cache
def _say(what: str) -> None:
    """Once: trainings are many."""
    _LOG.warning(what)


def live_kernels(module: nn.Module) -> dict[str, Tensor]:
    """For each layer, which kernels are not all 0, ``(rows, columns)`` of the weight: what decides what goes."""
    return {
        name: layer.weight.detach().ne(0).reshape(*layer.weight.shape[:2], -1).any(2).cpu()
        for name, layer in module.named_modules()
        if isinstance(layer, GROUPED) and layer._parameters.get("weight") is not None
    }


@torch.no_grad()
def _flops(network: nn.Module, image: Tensor) -> int:
    with evaluating(network), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops()


@torch.no_grad()
def set_kernels(module: nn.Module, live: dict[str, Tensor]) -> None:
    """Make weights that are 0 where the kernels are dead and not 0 elsewhere, in place."""
    for name, kernels in live.items():
        weight: Any = module.get_submodule(name).weight
        # An average of the inputs, so that nothing overflows on the way through the network.
        average = kernels.to(weight) * (len(weight) / weight.numel())
        weight.copy_(average.view(*kernels.shape, *[1] * (weight.ndim - 2)).expand_as(weight))
