"""What a frozen network knows at each depth."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lomt.models import Network


def places(network: Network, names: Sequence[str]) -> list[str]:
    """Those of the names where the network's backbone can be read: its own taps, and modules without parts.

    A backbone ends at its deepest tap, so what lies beyond is not among them.
    """
    own = {tap for taps in network.taps.values() for tap in taps}
    leaves = {name for name, module in network.backbone.named_modules() if next(module.children(), None) is None}
    return [name for name in names if name in own or name in leaves]


def features(network: Network, image: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Features ``(N, c, h, w)`` of a network's backbone at several places, from one forward pass without gradients.

    Args:
        network: in the mode in which to run; evaluation mode, as a rule.
        image: ``(N, 3, H, W)``.
        names: as :func:`places` gives them. A module that is called several times is read at its last call.

    Raises:
        ValueError: where a module does not run, or gives no map.
    """
    found: dict[str, Tensor] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            found[name] = output.clone()  # what follows may work in place

    modules = dict(network.backbone.named_modules())
    watched = [name for name in names if name in modules and not _inlined(modules[name])]
    handles = [
        modules[name].register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name in watched
    ]
    try:
        with torch.no_grad():
            taps: dict[str, Tensor] = network.backbone(image)
    finally:
        for handle in handles:
            handle.remove()
    found |= {name: taps[name] for name in names if name in taps}
    for name in names:
        if name not in found or found[name].ndim != 4:
            raise ValueError(f"{name!r} gives no map in a forward pass – read one of lomt.taps(backbone, example)")
    return {name: found[name] for name in names}


def _inlined(module: nn.Module) -> bool:
    """A traced backbone calls only modules without parts."""
    return next(module.children(), None) is not None
