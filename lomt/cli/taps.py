"""``lomt taps``: where decoders can be attached."""

from jsonargparse import Namespace

from lomt.checks import check_whole
from lomt.cli.parser import Parser
from lomt.models import Architecture


def parser() -> Parser:
    """What it can be told."""
    made = Parser(description="List where decoders can be attached to a backbone.")
    made.add_class_arguments(Architecture, None, skip={"decoder", "decoder_width"})
    made.add_argument("--size", type=tuple[int, int], default=(64, 64), help="height and width of an image")
    return made


def run(options: Namespace) -> None:
    """Run the command."""
    import torch

    from lomt.models import taps

    for side in options.size:
        check_whole("a side of --size", side, 1)
    network = Architecture(options.backbone, options.width, options.output_stride)
    candidates = taps(network.make_backbone(), torch.zeros(1, 3, *options.size))
    width = max(len(tap.name) for tap in candidates)
    print(f"{'tap':<{width}}  channels  stride")
    for tap in candidates:
        print(f"{tap.name:<{width}}  {tap.channels:>8}  {tap.stride:>6}")
