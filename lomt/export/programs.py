"""``torch.export`` programs of networks, with free sizes where the network allows them."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from lomt.compaction import Compacted, OtherSizesError
from lomt.compaction.agreement import relative_error
from lomt.compaction.aliasing import remove_dead_code
from lomt.compaction.graph import as_graph
from lomt.compaction.norms import folded
from lomt.export.facts import Normalization
from lomt.export.fitting import must_fit
from lomt.export.outputs import tensors, tolerance
from lomt.models.deeplab import AtrousConv
from lomt.nn import plain
from lomt.tracing.copying import plain_copy
from lomt.tracing.once import computing
from lomt.tracing.proxies import expect
from lomt.tracing.trace import Example, example_arguments


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
    graph: Compacted, arguments: tuple[Any, ...], for_onnx: bool = False
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Free dimensions and program, from the freest on: a format that can't follow takes the next.

    Each program gives what the graph gives for inputs of another size wherever a dimension is free.

    Args:
        graph: of :func:`graph_of`.
        arguments: the example.
        for_onnx: whether ONNX files are made of them: norms are folded; the format has no dilations that follow the
            size, so that a try would be in vain; and a file with one input is itself run on another size.

    Raises:
        RuntimeError: torch.export can't make even the last, of fixed sizes.
    """
    plain = without_checks(folded(graph) if for_onnx else graph)
    atrous = for_onnx and any(isinstance(layer, AtrousConv) for layer in graph.modules())
    for dims in ((0, 2, 3), (0,), (2, 3)):
        if (atrous and 2 in dims) or not _free(graph, arguments, dims):
            continue
        # A batch of one may be taken for fixed.
        given = tuple(_several(value) for value in arguments) if 0 in dims else arguments
        try:
            exported = _exported(plain, given, dims)
            if (for_onnx and len(arguments) == 1) or follows(exported.module(), graph, given, dims):
                yield dims, exported
        except Exception:  # noqa: BLE001, S112 - torch.export fails in many ways, and the next try asks for less
            continue
    try:
        yield (), _exported(plain, arguments, ())
    except Exception as error:
        raise RuntimeError(f"torch.export can't follow the network: {str(error).splitlines()[0]}") from error


def resized(arguments: tuple[Any, ...], dims: tuple[int, ...], more: int = 32) -> tuple[Any, ...]:
    """Random inputs, always the same, with one more sample and larger maps, in these dimensions."""
    generator = torch.Generator().manual_seed(0)

    def other(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        sizes = [size + (0 if d not in dims else 1 if d == 0 else more) for d, size in enumerate(value.shape)]
        like = torch.randn(sizes, generator=generator).to(value.device)
        return like.to(value) if value.is_floating_point() else value.new_zeros(sizes)

    return tuple(other(value) for value in arguments)


def follows(program: Any, graph: Compacted, arguments: tuple[Any, ...], dims: tuple[int, ...]) -> bool:
    """Whether a program gives what the graph gives for another size in these dimensions."""
    inputs = resized(arguments, dims)
    with computing():
        pairs = list(zip(tensors(graph(*inputs)), tensors(program(*inputs)), strict=True))
    return all(relative_error(wanted, found, floor=1e-2) < tolerance(graph.graph) for (_, wanted), (_, found) in pairs)


def _exported(plain: fx.GraphModule, arguments: tuple[Any, ...], dims: tuple[int, ...]) -> Any:
    shapes = tuple(
        {d: torch.export.Dim.AUTO for d in dims if d < v.dim()} if isinstance(v, Tensor) else None for v in arguments
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(plain, arguments, dynamic_shapes=shapes, strict=False)


def graph_of(module: nn.Module, example: Example, normalization: Normalization | None) -> Compacted:
    """The network as a graph of its own, in eval mode."""
    inner = plain(plain_copy(module).eval())
    if normalization is not None:
        inner = _Normalized(inner, normalization).eval()
    return inner if isinstance(inner, Compacted) else as_graph(inner, example, owning=False)


def without_checks(graph: Compacted) -> fx.GraphModule:
    """A graph module without checks of sizes and regions of autocast, which exporters can't follow."""
    operations = copy.deepcopy(graph.graph)
    for node in list(operations.nodes):
        if node.target is expect:
            operations.erase_node(node)
    remove_dead_code(operations)
    return fx.GraphModule(graph, operations).eval()


def _free(graph: Compacted, arguments: tuple[Any, ...], dims: tuple[int, ...]) -> bool:
    """Whether larger inputs, of even and odd sizes, take the same way through the network's code."""
    decides = any(node.target is expect for node in graph.graph.nodes)
    if dims == (0,) and not decides:
        return True  # that a batch of any size runs is for the program to show
    for more in (32, 33) if decides and 2 in dims else (32,):
        try:
            with computing():
                graph(*resized(arguments, dims, more))
        except OtherSizesError:
            return False
        except Exception:  # noqa: BLE001 - whatever the network's code raises for a size that it does not take
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
