"""The backbones and decoders that go by a name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from lomt.models.decoder import Decoder
from lomt.models.deeplab import DeepLab
from lomt.models.head import Head
from lomt.models.light import Light
from lomt.models.resnet import resnetd18, resnetd26, resnetd50, resnetd101
from lomt.models.spelling import did_you_mean
from lomt.tasks.base import Task

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnetd18": resnetd18,
    "resnetd26": resnetd26,
    "resnetd50": resnetd50,
    "resnetd101": resnetd101,
}
"""Name → ``(width, output_stride) -> nn.Module``."""

DECODERS: dict[str, type[Decoder]] = {"deeplab": DeepLab, "light": Light, "head": Head}
"""Name → class, made with ``(in_channels, task, **options)``."""

MakeDecoder = Callable[[int, Task], nn.Module]


def backbone(name: str, width: int = 64, output_stride: int = 8) -> nn.Module:
    """Make a backbone by its name, with random weights.

    Args:
        name: one of :data:`BACKBONES`.
        width: channels of the stem.
        output_stride: image pixels a step of the last map, 8 (as in the LOMT paper), 16 or 32.

    Raises:
        ValueError: if there is no such backbone, or the width or stride is impossible.

    Example:
        >>> backbone("resnetd18", width=8).layer4[1].conv2.out_channels
        64
    """
    made: nn.Module = _look_up("backbone", name, BACKBONES)(width=width, output_stride=output_stride)
    return made


def decoder(name: str | None = None, **options: Any) -> MakeDecoder:
    """Choose a decoder by its name, with options, for every task that it fits.

    Args:
        name: one of :data:`DECODERS`; ``None`` takes each task's default, ``deeplab`` for dense tasks and ``head`` for
            the others.
        options: arguments of the decoder's class, as ``width=64``; without a name, of ``deeplab``.

    Returns:
        A function ``(in_channels, task) -> nn.Module``. A task of the other kind than the named decoder's gets its
        default, without options, so that one choice serves a mixed set of tasks.

    Raises:
        ValueError: if there is no such decoder.
        TypeError: when called, if the decoder has no such option.
    """
    chosen: type[Decoder] = _look_up("decoder", name or "deeplab", DECODERS)

    def make(in_channels: int, task: Task) -> nn.Module:
        if chosen.dense == task.dense:
            return chosen(in_channels, task, **options)
        return (DeepLab if task.dense else Head)(in_channels, task)

    return make


def _look_up(kind: str, name: str, catalogue: Mapping[str, Any]) -> Any:
    if name not in catalogue:
        raise ValueError(
            f"unknown {kind} {name!r}: choose one of {', '.join(catalogue)}{did_you_mean(name, catalogue)}"
        )
    return catalogue[name]
