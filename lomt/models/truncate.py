"""Cuts a backbone behind its deepest tap, one way or another, and checks the cut."""

import logging
import warnings
from collections.abc import Sequence
from functools import cache

from torch import Tensor, nn

from lomt.models.probe import Observation, agrees, more_probes, observe, observe_all, probes, small_probes
from lomt.models.stopped import Stopped
from lomt.models.taps import example_for
from lomt.models.traced import traced_cut
from lomt.models.truncated import Truncated
from lomt.tracing import UntraceableError, operations
from lomt.tracing.copying import shadow
from lomt.tracing.once import sharing

_LOG = logging.getLogger("lomt")


def truncate(backbone: nn.Module, taps: Sequence[str], example: Tensor | None = None) -> Truncated:
    """Cut a backbone so that it gives the features at some taps, and nothing beyond them is left of it.

    The cut is by tracing where that is faithful, else by stopping the backbone's own code. Either way it has given
    exactly the plain backbone's features and buffers, for images of two sizes, in eval and in train mode, before it is
    returned. The images are small where it was traced: what decides by a size can't be. A module that is called several
    times in a forward pass is tapped at its last call. The logger ``"lomt"`` warns of a backbone that no graph stands
    for, not even in eval mode.

    Args:
        backbone: stays as it is; the cut shares its parameters, so copy it first (or the cut) to keep them apart.
        taps: names of modules that give maps, in order of completion, as :func:`lomt.taps` has them.
        example: images that the backbone accepts; by default one RGB image of 64×64.

    Returns:
        A module that maps images to ``{tap: features}``.

    Raises:
        ValueError: if not even stopping gives the plain backbone's features.
    """
    image = example_for(backbone, example)
    with sharing():
        seen = _sample(backbone, taps, image)
        traced = traced_cut(backbone, taps, _overwritten(seen))
        if traced is not None and agrees(traced, seen):
            return traced.train(backbone.training)
    images = [*probes(image), *more_probes(image)]
    seen = observe_all(backbone, taps, images)
    cut = _stopped(backbone, taps, seen, images)
    try:
        operations(shadow(cut).eval(), (image,), (), inlines=False)
    except UntraceableError as error:
        _say(
            f"{type(backbone).__name__} runs as it is, stopped behind {taps[-1]}; it can be trained, but "
            f"not be compacted or exported: {error}"
        )
    return cut.train(backbone.training)


def _sample(backbone: nn.Module, taps: Sequence[str], image: Tensor) -> list[Observation]:
    """What small images give, one size in eval mode and the other in train mode; full ones where these do not run."""
    one, other = small_probes(image)
    seen = [observe(backbone, taps, one, training=False), observe(backbone, taps, other, training=True)]
    found = [observation for observation in seen if observation is not None]
    return found if len(found) == len(seen) else observe_all(backbone, taps, probes(image))


@cache
def _say(message: str) -> None:
    """Once, though a run makes many networks."""
    _LOG.warning(message)


def _overwritten(seen: Sequence[Observation]) -> frozenset[str]:
    return frozenset().union(*(observation.overwritten for observation in seen))


def _stopped(
    backbone: nn.Module, taps: Sequence[str], seen: Sequence[Observation], images: Sequence[Tensor]
) -> Stopped:
    calls = {
        training: {tap: max((one.calls[tap] for one in seen if one.training == training), default=1) for tap in taps}
        for training in (False, True)
    }
    cut = Stopped(shadow(backbone), taps, calls, _overwritten(seen))
    cut.prune(images)
    if agrees(cut, seen):
        return cut
    cut = Stopped(shadow(backbone), taps, calls, _overwritten(seen))
    whole = f"{type(backbone).__name__} cut at {', '.join(taps)}"
    if not agrees(cut, seen):
        raise ValueError(
            f"{whole} gives other features when it runs again: a backbone must depend on nothing but its input, "
            f"parameters, buffers and torch's random numbers"
        )
    message = f"{whole} needs parts beyond its deepest tap, so they were kept; it still stops there"
    warnings.warn(message, stacklevel=3)
    return cut
