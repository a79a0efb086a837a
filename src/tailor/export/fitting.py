"""Whether an example is an input of a network, before anything is made of it."""

import torch
from torch import Tensor, nn

from tailor.compaction import Compacted
from tailor.compaction.trace import Example, example_arguments
from tailor.evaluation import evaluating


def must_fit(network: Compacted, example: Example) -> None:
    """Run a network on the example.

    Raises:
        ValueError: it does not run; says which shape it was given, and how many channels it reads.
    """
    arguments = example_arguments(example)
    try:
        with evaluating(network), torch.no_grad():
            network(*arguments)
    except Exception as error:
        shapes = [tuple(value.shape) if isinstance(value, Tensor) else value for value in arguments]
        raise ValueError(
            f"the network does not run on an example of shape {', '.join(map(str, shapes))}{_reads(network)}: "
            f"{str(error).splitlines()[0]}; give an input as the network expects it"
        ) from error


def _reads(network: Compacted) -> str:
    """What the first layer expects, as far as it says so."""
    for node in network.graph.nodes:
        if node.op == "call_module":
            layer = network.get_submodule(str(node.target))
            if isinstance(layer, nn.Conv2d):
                return f" – its first layer reads images (N, {layer.in_channels}, H, W)"
            return ""
    return ""
