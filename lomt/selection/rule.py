"""What every selection rule is: sparsity patterns of several trials in, the layer to tap out."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, takewhile
from math import comb
from typing import Any, ClassVar, Literal

import numpy as np

from lomt.sparsity import LayerPattern, Pattern

MANY = 256
"""Choices from some of the trials that are tried, at the most: all of them up to ten trials."""


@dataclass(frozen=True)
class Selection:
    """The answer of a rule.

    Attributes:
        tap: name of the module to tap, relative to the backbone; None where no layer qualifies.
        stability: share of the trials that choose this tap by themselves, from 0 to 1.
        runner_up: what most of the other trials choose by themselves; None where there's none.
        per_trial: what each trial chooses by itself; None where it leaves no layer.
        reason: one sentence on why it came out so, and what to do where it's no good answer.
        interval: the shallowest and the deepest choice of a trial by itself, the same twice where all agree; None
            where no trial leaves a layer. Where trials disagree, this is what is known of the task, not the tap.
        agreement: the share of the choices from any 1, 2, … all trials that are this tap, so that the last one is 1.
            Where there are more than :data:`MANY` ways to take n of them, it is of so many drawn ones.
        ranking: every candidate with its score, the best first; each rule says what its scores are.
    """

    tap: str | None
    stability: float
    runner_up: str | None
    per_trial: tuple[str | None, ...]
    reason: str
    interval: tuple[str, str] | None = None
    agreement: tuple[float, ...] = ()
    ranking: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "per_trial", tuple(self.per_trial))
        object.__setattr__(self, "interval", tuple(self.interval) if self.interval else None)
        object.__setattr__(self, "agreement", tuple(self.agreement))
        object.__setattr__(self, "ranking", tuple((name, float(score)) for name, score in self.ranking))

    @property
    def votes(self) -> dict[str, int]:
        """How many trials choose each layer by themselves."""
        return dict(Counter(choice for choice in self.per_trial if choice is not None).most_common())

    @property
    def enough(self) -> int | None:
        """How many trials come to this tap, whichever they are; None where it takes all, and more may change it."""
        fewer = self.agreement[:-1]
        safe = len(list(takewhile(lambda share: share == 1, reversed(fewer))))
        return len(self.agreement) - safe if safe else None

    @classmethod
    def among(cls, tap: str | None, per_trial: Sequence[str | None], reason: str) -> "Selection":
        """A selection with its stability and runner-up counted from what each trial chooses by itself."""
        others = Counter(choice for choice in per_trial if choice not in (tap, None))
        agree = sum(choice == tap for choice in per_trial) if tap is not None else 0
        runner_up = others.most_common(1)[0][0] if others else None
        return cls(tap, agree / len(per_trial), runner_up, tuple(per_trial), reason)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        lists = {"per_trial": list(self.per_trial), "agreement": list(self.agreement)}
        lists["ranking"] = [list(one) for one in self.ranking]
        return {**asdict(self), **lists, "interval": list(self.interval or ()) or None}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "Selection":
        """What :meth:`to_dict` gave.

        Raises:
            ValueError: it's no selection.
        """
        try:
            return cls(**state)
        except TypeError as error:
            raise ValueError(f"this is no selection ({error}): give what Selection.to_dict() returned") from error


Place = Literal["conv", "block"]
Needs = Literal["sparse trials", "probes", "nothing"]


class SelectionRule(ABC):
    """Chooses one layer from what several trials of one task left alive.

    A rule of your own needs a name and :meth:`choose`.

    Attributes:
        needs: what has to be trained for it: sparse single-task networks, whose patterns it reads; probes of a dense
            one, whose losses :class:`lomt.selection.Probe` reads; or nothing, and it reads a fresh backbone's pattern.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs] = "sparse trials"

    def select(self, patterns: Sequence[Pattern]) -> Selection:
        """The tap for a task.

        Args:
            patterns: one of each trial, all of the same network.

        Raises:
            ValueError: there are no patterns, they're of different networks, or no layer of them is ranked.
        """
        if not patterns:
            raise ValueError("no patterns to select from: give that of one trial at least")
        _same_network(patterns)
        if not patterns[0].ranked:
            raise ValueError(
                "no layer of the patterns is ranked, all are stems or shortcuts: say which ones are with "
                "lomt.sparsity.pattern(..., ranked=...)"
            )
        selection = self.choose(patterns)
        parts = [_parts(len(patterns), count) for count in range(1, len(patterns))]
        taps = iter(self.taps(patterns, [some for those in parts for some in those]))
        fewer = (sum(next(taps) == selection.tap for _ in those) / len(those) for those in parts)
        interval = _interval(selection.per_trial, patterns[0])
        return replace(selection, interval=interval, agreement=(*fewer, 1.0))

    def taps(self, patterns: Sequence[Pattern], parts: Sequence[Sequence[int]]) -> list[str | None]:
        """The tap that :meth:`choose` gives for each of many parts of the trials; a rule may know a shorter way.

        Args:
            patterns: one of each trial.
            parts: of each part, the places of its trials in ``patterns``.
        """
        return [self.choose([patterns[trial] for trial in some]).tap for some in parts]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"

    @abstractmethod
    def choose(self, patterns: Sequence[Pattern]) -> Selection:
        """As :meth:`select`, with patterns that are checked."""


def ends(pattern: Pattern) -> list[LayerPattern]:
    """The candidates of a pattern: the ranked layers that end a branch, in execution order."""
    return [layer for layer in pattern.ranked if layer.block_end]


def place(layer: LayerPattern, at: Place) -> str:
    """The module to tap: the layer itself, or the block that it ends."""
    return layer.block if at == "block" else layer.name


def check_place(at: str) -> None:
    """Raise if it is neither the layer nor its block."""
    if at not in ("conv", "block"):
        raise ValueError(f"at={at!r}: use 'conv' or 'block'")


def _parts(trials: int, count: int) -> Sequence[Sequence[int]]:
    """Ways to take ``count`` of the trials: all, or :data:`MANY` drawn ones where there are more."""
    if comb(trials, count) <= MANY:
        return list(combinations(range(trials), count))
    draw = np.random.default_rng(count)
    return [draw.permutation(trials)[:count] for _ in range(MANY)]  # type: ignore[misc]


def _interval(choices: Sequence[str | None], pattern: Pattern) -> tuple[str, str] | None:
    """The shallowest and the deepest choice, by where their last layer comes in execution order."""
    names = [layer.name for layer in pattern.layers]

    def place(choice: str) -> int:
        inside = [index for index, name in enumerate(names) if name == choice or name.startswith(f"{choice}.")]
        return max(inside, default=-1)

    found = sorted((choice for choice in choices if choice is not None), key=place)
    return (found[0], found[-1]) if found else None


def _same_network(patterns: Sequence[Pattern]) -> None:
    def layers(pattern: Pattern) -> list[tuple[str, int]]:
        return [(layer.name, len(layer.alive)) for layer in pattern.layers]

    first = layers(patterns[0])
    for trial, pattern in enumerate(patterns[1:], 2):
        if layers(pattern) != first:
            different = set(first) ^ set(layers(pattern))
            named = ", ".join(sorted(f"{name} with {count} channels" for name, count in different)[:3])
            raise ValueError(
                f"trial {trial} is another network than trial 1 ({named or 'another order of layers'}): select from "
                "trials of one backbone"
            )
