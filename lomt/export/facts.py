"""What a saved model says of itself, beside its weights: tasks, taps, normalization, quality."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from lomt.compaction.module import is_ours
from lomt.export.tasks import task_from_dict, task_to_dict
from lomt.tasks import Task

VERSION = version("lomt-kernels")
"""Of the package, which files name as their writer."""

MOST = 2**28
"""Numbers of an input: forty images of full HD are no example."""

Normalization = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each channel, of colours from 0 to 1."""


@dataclass(frozen=True)
class Facts:
    """What whoever loads a model must know to use it.

    Attributes:
        tasks: with their class names.
        taps: task name → names of the modules that its decoder reads.
        normalization: of the images that the network expects; None where that is not known.
        shapes: of the inputs that it was made for, ``(N, C, H, W)`` as a rule.
        delta_m: what it is worth against single-task networks, in percent; None where that is not known.
    """

    tasks: Sequence[Task] = ()
    taps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    normalization: Normalization | None = None
    shapes: Sequence[tuple[int, ...]] = ()
    delta_m: float | None = None

    @classmethod
    def of(cls, module: Any, **known: Any) -> "Facts":
        """What a network of ours says in attributes of these names; what is ``known`` and not None goes before.

        Raises:
            ValueError: the normalization or Δm is none.
        """
        names = cls.__dataclass_fields__ if is_ours(module) else ()
        said = {name: getattr(module, name) for name in names if hasattr(module, name)}
        if not isinstance(said.get("taps", {}), Mapping):
            del said["taps"]
        facts = cls(**said | {name: value for name, value in known.items() if value is not None})
        if facts.normalization is not None:
            _check(facts.normalization)
        if facts.delta_m is not None and not math.isfinite(facts.delta_m):
            raise ValueError(f"delta_m is {facts.delta_m}: give percent, or None where it is not known")
        return facts

    def put_on(self, module: Any) -> None:
        """Give a module the attributes that :meth:`of` reads."""
        for name in self.__dataclass_fields__:
            setattr(module, name, getattr(self, name))

    def to_dict(self) -> dict[str, Any]:
        """JSON's types.

        Raises:
            TypeError: a task's code would be needed to load it.
        """
        mean, std = self.normalization or ((), ())
        return {
            "tasks": [task_to_dict(task) for task in self.tasks],
            "taps": {name: list(taps) for name, taps in self.taps.items()},
            "normalization": {"mean": list(mean), "std": list(std)} if self.normalization else None,
            "inputs": [list(shape) for shape in self.shapes],
            "delta_m": self.delta_m,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Facts":
        """What :meth:`to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        said = stored["normalization"]
        normalization = None if said is None else (list(said["mean"]), list(said["std"]))
        if normalization is not None:
            _check(normalization)
        return cls(
            [task_from_dict(state) for state in stored["tasks"]],
            {name: tuple(taps) for name, taps in stored["taps"].items()},
            normalization,
            _shapes(stored["inputs"]),
            stored["delta_m"],
        )


def _shapes(stored: Any) -> list[tuple[int, ...]]:
    """Shapes of inputs; what takes them may make tensors of them, so none is larger than any image."""
    for shape in stored if isinstance(stored, list) else [stored]:
        whole = isinstance(shape, list) and shape and all(type(size) is int and size > 0 for size in shape)
        if not whole or not isinstance(stored, list) or math.prod(shape) > MOST:
            raise ValueError(
                f"inputs has {shape!r}, and a list of shapes is expected, such as [[1, 3, 96, 128]], with {MOST:,} "
                f"numbers each at most"
            )
    return [tuple(shape) for shape in stored]


def _check(normalization: Normalization) -> None:
    mean, std = normalization
    finite = all(map(math.isfinite, (*mean, *std)))
    if len(mean) != len(std) or not mean or not finite or min(std) <= 0:
        raise ValueError(
            f"normalization {tuple(mean)}, {tuple(std)}: give mean and standard deviation, one of each for a channel, "
            f"of colours from 0 to 1"
        )
