"""Cuts a backbone behind its deepest tap, one way or another, and checks the cut."""

import warnings
from collections.abc import Sequence

from torch import Tensor, nn

from tailor.models.probe import agrees, more_probes, observe, probes, shadow
from tailor.models.stop import Stopped
from tailor.models.taps import example_for
from tailor.models.trace import trace
from tailor.models.truncated import Truncated


def truncate(backbone: nn.Module, taps: Sequence[str], example: Tensor | None = None) -> Truncated:
    """Cut a backbone so that it gives the features at some taps, and nothing beyond them is left of it.

    The cut is by tracing where that is faithful, else by stopping the backbone's own code. Either way it has given
    exactly the plain backbone's features and buffers, for two image sizes, in eval and in train mode, before
    it is returned. A module that is called several times in a forward pass is tapped at its last call.

    Args:
        backbone: stays as it is; the cut shares its parameters, so copy it first (or the cut) to keep them apart.
        taps: names of modules that give maps, in order of completion, as :func:`tailor.taps` has them.
        example: images that the backbone accepts; by default one RGB image of 64×64.

    Returns:
        A module that maps images to ``{tap: features}``.

    Raises:
        ValueError: if not even stopping gives the plain backbone's features.
    """
    image = example_for(backbone, example)
    seen = {
        training: [observe(backbone, taps, probe, training=training) for probe in more_probes(image)]
        for training in (False, True)
    }
    known = [observation for observations in seen.values() for observation in observations if observation]
    overwritten = frozenset().union(*(observation.overwritten for observation in known))
    traced = trace(backbone, taps, overwritten)
    if traced is not None and agrees(traced, backbone, taps, probes(image)):
        return traced.train(backbone.training)
    calls = {
        training: {tap: max((seen.calls[tap] for seen in observations if seen), default=1) for tap in taps}
        for training, observations in seen.items()
    }
    return _stopped(backbone, taps, calls, overwritten, more_probes(image)).train(backbone.training)


def _stopped(
    backbone: nn.Module,
    taps: Sequence[str],
    calls: dict[bool, dict[str, int]],
    overwritten: frozenset[str],
    images: Sequence[Tensor],
) -> Stopped:
    cut = Stopped(shadow(backbone), taps, calls, overwritten)
    cut.prune(images)
    if agrees(cut, backbone, taps, images):
        return cut
    cut = Stopped(shadow(backbone), taps, calls, overwritten)
    if not agrees(cut, backbone, taps, images):
        raise ValueError(
            f"{type(backbone).__name__} gives other features at {', '.join(taps)} when it runs again; "
            f"a backbone must depend on its input, parameters, buffers and torch's random numbers alone"
        )
    warnings.warn(
        f"{type(backbone).__name__} needs parts beyond its deepest tap, so nothing was removed from it; it still stops "
        f"there",
        stacklevel=3,
    )
    return cut
