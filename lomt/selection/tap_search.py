"""How taps are searched for in one training, as values that a config file can hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lomt.checks import check_number, check_whole
from lomt.nn import TapSelector
from lomt.selection.tap_path import TapPath

MOST = 16
"""Candidates that are taken of a deep backbone where none are named, evenly spread."""


@dataclass(frozen=True)
class TapSearch:
    """The training in which every task reads all candidate taps until one is left (:class:`lomt.nn.TapSelector`).

    Attributes:
        candidates: names of modules of the backbone, from shallow to deep; none given takes the outputs of its
            residual blocks, 16 at most.
        width: channels of what each decoder reads while its task chooses.
        mix: share of the price that single channels have, from 0 to 1; the rest is that of whole taps.
        begin: share of the training before the first penalty.
        end: share of the training after which each task has one tap.
        depth_price: how much dearer the deepest tap is than one that costs nothing, as a share; others are in between,
            by the multiply-accumulates that they force.
        stride: the maps that decoders read meanwhile: of the ``"finest"`` candidate, which shows what each can do; or
            of the ``"last"`` one, which costs less and hides what finer taps could do for a dense task.
        finish: ``"restart"`` trains a fresh network at the taps that were found; ``"harden"`` keeps the one that found
            them, without what is dead, so that there is no second training.
    """

    candidates: Sequence[str] = ()
    width: int = 64
    mix: float = 0.5
    begin: float = 0.3
    end: float = 0.8
    depth_price: float = 0.0
    stride: Literal["finest", "last"] = "finest"
    finish: Literal["restart", "harden"] = "restart"

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", tuple(self.candidates))
        check_whole("study.selector.width", self.width, 1)
        check_number("study.selector.depth_price", self.depth_price)
        if not 0 <= self.mix <= 1:
            raise ValueError(f"study.selector.mix is {self.mix}: use a share from 0 to 1")
        if not 0 <= self.begin < self.end <= 1:
            raise ValueError(
                f"study.selector goes from begin={self.begin} to end={self.end}: use two shares of the training, the "
                "first one smaller"
            )
        if self.stride not in ("finest", "last"):
            raise ValueError(f"study.selector.stride is {self.stride!r}: use 'finest' or 'last'")
        if self.finish not in ("restart", "harden"):
            raise ValueError(f"study.selector.finish is {self.finish!r}: use 'restart' or 'harden'")

    def path(self, selector: TapSelector, macs: Mapping[str, float]) -> TapPath:
        """What drives a selector.

        Args:
            selector: the layer.
            macs: tap → multiply-accumulates of the backbone as deep as that.
        """
        most = max(macs.values())
        prices = {tap: 1 + self.depth_price * cost / most for tap, cost in macs.items()}
        return TapPath(selector, 1, self.mix, self.begin, self.end, prices)


def spread(names: Sequence[str]) -> list[str]:
    """All of these names, or :data:`MOST` of them, evenly spread, with the last one."""
    if len(names) <= MOST:
        return list(names)
    return [names[round((place + 1) * len(names) / MOST) - 1] for place in range(MOST)]
