"""``torch.export`` programs of networks, with free sizes where the network allows them."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from lomt.channels.proxies import expect
from lomt.channels.trace import Example, example_arguments
from lomt.compaction import Compacted, OtherSizesError
from lomt.compaction.inplace import remove_dead_code
from lomt.compaction.shrink import as_graph
from lomt.export.facts import Normalization
from lomt.export.fitting import must_fit
from lomt.models.deeplab import AtrousConv


def program(module: nn.Module, example: Example, normalization: Normalization | None = None) -> Any:
    """A ``torch.export.ExportedProgram`` whose batch, height and width are free where the network allows it.

    Args:
        module: a network, compacted or not, or any traceable module.
        example: an input; at least 2 images, or they are repeated, since a batch of 1 may be taken for fixed.
        normalization: mean and standard deviation to put inside; images then are RGB in [0, 1].

    Raises:
        UntraceableError: as :func:`lomt.compact`.
        RuntimeError: torch.export gives up even for fixed sizes.
    """
    must_fit(module, example)
    graph = graph_of(module, example, normalization)
    for _, exported in programs(graph, example_arguments(example)):
        return exported
    raise AssertionError("the last try raises")


def programs(
    graph: Compacted, arguments: tuple[Any, ...], fixed_dilations: bool = False
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Free dimensions and program, from the freest on: a format that can't follow takes the next.

    Args:
        graph: of :func:`graph_of`.
        arguments: the example.
        fixed_dilations: whether the format has no dilations that follow the size, so that a try would be in vain.

    Raises:
        RuntimeError: torch.export can't make even the last, of fixed sizes.
    """
    arguments = tuple(_several(value) for value in arguments)
    plain = without_checks(graph)
    follows = not fixed_dilations or not any(isinstance(layer, AtrousConv) for layer in graph.modules())
    for dims in ((0, 2, 3), (0,), ()) if follows and _sizes_are_free(graph, arguments) else ((0,), ()):
        try:
            exported = _exported(plain, arguments, dims)
        except Exception as error:
            if not dims:
                raise RuntimeError(f"torch.export can't follow the network: {str(error).splitlines()[0]}") from error
        else:
            yield dims, exported


def _exported(plain: fx.GraphModule, arguments: tuple[Any, ...], dims: tuple[int, ...]) -> Any:
    shapes = tuple(
        {d: torch.export.Dim.AUTO for d in dims if d < v.dim()} if isinstance(v, Tensor) else None for v in arguments
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(plain, arguments, dynamic_shapes=shapes, strict=False)


def graph_of(module: nn.Module, example: Example, normalization: Normalization | None) -> Compacted:
    """The network as a graph of its own, in eval mode."""
    inner = copy.deepcopy(module).eval()
    if normalization is not None:
        inner = _Normalized(inner, normalization).eval()
    return inner if isinstance(inner, Compacted) else as_graph(inner, example)


def without_checks(graph: Compacted) -> fx.GraphModule:
    """A graph module without checks of sizes, which exporters can't follow."""
    operations = copy.deepcopy(graph.graph)
    for node in list(operations.nodes):
        if node.target is expect:
            operations.erase_node(node)
    remove_dead_code(operations)
    return fx.GraphModule(graph, operations).eval()


def _sizes_are_free(graph: Compacted, arguments: tuple[Any, ...]) -> bool:
    """Whether larger maps, even and odd ones, take the same way through the network's code."""
    for more in (32, 33):
        larger = [
            a.new_zeros(*a.shape[:2], *(size + more for size in a.shape[2:])) if isinstance(a, Tensor) else a
            for a in arguments
        ]
        try:
            with torch.no_grad():
                graph(*larger)
        except OtherSizesError:
            return False
        except RuntimeError:
            if more == 32:
                return False
    return True


def _several(value: Any) -> Any:
    return value.repeat(2, *[1] * (value.dim() - 1)) if isinstance(value, Tensor) and len(value) == 1 else value


class _Normalized(nn.Module):
    """Images as cameras give them, in [0, 1], to what the network was trained on."""

    def __init__(self, network: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.network = network
        mean, std = (torch.tensor(list(values)).view(1, -1, 1, 1) for values in normalization)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, image: Tensor) -> Any:
        return self.network((image - self.mean) / self.std)
