"""Which layer reads which: found by running the network once and following the gradients' graph."""

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lomt.modes import evaluating
from lomt.nested import tensors_in

OUTPUT = ""


class Dataflow:
    """How layers hang together.

    Args:
        order: names of the layers that ran, by first execution.
        sources: for each of them, and for ``""``, the network's output: the layers whose outputs arrive there
            without passing another of the layers. ``None`` among them is the network's input.
        pixels: height × width of each layer's output.
    """

    def __init__(self, order: list[str], sources: dict[str, set[str | None]], pixels: dict[str, int]) -> None:
        self.order = order
        self.sources = sources
        self.pixels = pixels
        self._readers: dict[str | None, set[str]] = {}
        for reader, origins in sources.items():
            for origin in origins:
                self._readers.setdefault(origin, set()).add(reader)

    def readers(self, name: str | None) -> set[str]:
        """The layers, or ``""`` for the output, that a layer's output arrives at directly; None is the input."""
        return self._readers.get(name, set())

    def reached(self, start: str | None, without: Iterable[str] = ()) -> set[str]:
        """The layers that depend on ``start``, the output among them, when some layers are cut out."""
        cut = set(without)
        found: set[str] = set()
        pending = [start]
        while pending:
            for reader in self.readers(pending.pop()) - found - cut:
                found.add(reader)
                pending.append(reader)
        return found

    def series(self) -> list[list[str]]:
        """The layers in chains: all that arrives at one of a chain has passed the ones before, and will pass the rest.

        The main branch of a residual block is such a chain, and its shortcut's projection another one. Every layer
        is in just one chain; chains and their layers are in execution order.
        """
        total = self.reached(None)
        # needs[y]: the layers without which nothing of the input arrives at y; passes[x]: those without which
        # nothing of x arrives at the output.
        needs: dict[str, set[str]] = {name: set() for name in self.order}
        passes: dict[str, set[str]] = {name: set() for name in self.order}
        ends = {name for name in self.order if OUTPUT in self.reached(name)}
        for name in self.order:
            without = self.reached(None, [name])
            for lost in (total - without - {name, OUTPUT}) & ends:
                needs[lost].add(name)
        for first in ends:
            passes[first] = {
                last for last in self.order if first in needs[last] and OUTPUT not in self.reached(first, [last])
            }
        chains: list[list[str]] = []
        for name in self.order:
            chain = next((chain for chain in chains if name in passes[chain[-1]]), None)
            if chain is None:
                chains.append([name])
            else:
                chain.append(name)
        return chains

    def bypassed(self, chain: Iterable[str]) -> bool:
        """Whether something of the input arrives at the output beside these layers."""
        return OUTPUT in self.reached(None, chain)


class _Gradients(TorchFunctionMode):
    """Gradients everywhere, also where the network itself wants none, as in a frozen stem."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        return None if func is torch._C._set_grad_enabled else func(*args, **(kwargs or {}))


def trace(network: nn.Module, layers: dict[str, nn.Module], example: Tensor) -> Dataflow:
    """Run a network once and see which of its layers ran, in which order, and which reads which.

    The modules are in evaluation mode meanwhile; nothing of them changes.

    Args:
        network: what to run.
        layers: modules of it, by name, with one tensor as input and one as output.
        example: an input of the network.
    """
    order: list[str] = []
    sources: dict[str, set[str | None]] = {}
    pixels: dict[str, int] = {}
    # A node lives only as long as somebody holds it; identity is all that tells nodes apart.
    origins: dict[Any, str | None] = {}

    def fresh(tensor: Tensor, origin: str | None) -> Tensor:
        root = tensor.detach().requires_grad_().clone()
        origins[root.grad_fn] = origin
        return root

    def hook(name: str) -> Any:
        def after(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if name not in sources:
                order.append(name)
            sources.setdefault(name, set()).update(_origins(tensors_in(inputs), origins))
            pixels[name] = prod(output.shape[2:])
            return fresh(output, name)

        return after

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        with evaluating(network), torch.enable_grad(), _Gradients():
            output = network(fresh(example, None))
        sources[OUTPUT] = _origins(tensors_in(output), origins)
    finally:
        for handle in handles:
            handle.remove()
    return Dataflow(order, sources, pixels)


def _origins(tensors: Iterable[Tensor], origins: dict[Any, str | None]) -> set[str | None]:
    """The origins that a gradient of these tensors would arrive at first."""
    found, seen = set(), set()
    pending = [tensor.grad_fn for tensor in tensors]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in origins:
            found.add(origins[node])
        else:
            pending.extend(following for following, _ in node.next_functions)
    return found
