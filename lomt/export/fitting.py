"""Whether an example is an input of a network, before anything is made of it."""

from torch import Tensor, nn

from lomt.evaluation import evaluating
from lomt.tracing.once import computing
from lomt.tracing.trace import Example, example_arguments


def must_fit(network: nn.Module, example: Example, name: str = "the network") -> None:
    """Run a network on the example.

    Args:
        network: any module.
        example: an input, as for :func:`lomt.compact`.
        name: what to call the network in a message, such as its folder.

    Raises:
        ValueError: it does not run; says which shape it was given, and how many channels it reads.
    """
    arguments = example_arguments(example)
    try:
        with evaluating(network), computing():
            network(*arguments)
    except Exception as error:
        shapes = [tuple(value.shape) if isinstance(value, Tensor) else value for value in arguments]
        first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
        reads = f" – its first convolution reads (N, {first.in_channels}, H, W)" if first else ""
        raise ValueError(
            f"{name} does not run on an example of shape {', '.join(map(str, shapes))}{reads}: "
            f"{str(error).splitlines()[0]}; give an input as the network expects it"
        ) from error
