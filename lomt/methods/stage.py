"""What a method is made of: named stages, each resumable, each with a result that JSON can hold."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lomt.methods.setup import Setup
from lomt.training import Progress

Result = dict[str, Any]
"""What a stage leaves for later stages and for the report; nothing but JSON's types."""


AGAIN = "remove it and run again to repeat that part"
"""What to do where a record of a stage is damaged."""


@dataclass(frozen=True)
class Preview:
    """What is known of a stage before it runs.

    Attributes:
        result: a stand-in for the stage's result, good enough to go on planning with.
        work: the stage's cost in multiply-accumulates, 0 where it is next to nothing.
        what: the stage in a few words, for the plan.
        parameters: size of the network that is trained, or none.
        macs: cost of one forward pass of it at batch 1, or none.
    """

    result: Result
    work: float
    what: str
    parameters: int | None = None
    macs: int | None = None


@dataclass(frozen=True)
class Stage(ABC):
    """One step of a method.

    Attributes:
        name: unique within a run; also the stage's folder, so it may hold ``/``.
    """

    name: str

    @abstractmethod
    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Do it; whatever lies in ``folder`` from an earlier, broken-off try is used."""

    @abstractmethod
    def preview(self, setup: Setup) -> Preview:
        """What it will do and cost, without doing it."""


@dataclass(frozen=True)
class Parallel:
    """Methods of which none needs what another gives: they may run at the same time.

    Attributes:
        methods: the answer is the list of what each of them returns.
    """

    methods: tuple["Method", ...]


Method = Generator[Stage | Parallel, Any, Any]
"""A method yields its stages in order, is sent each one's result, and returns those of the networks it stands for."""


def alone(stage: Stage) -> Method:
    """The method that is one stage, and returns its result."""
    return (yield stage)


def follow(method: Method, answer: Callable[[Stage | Parallel], Any]) -> Any:
    """What a method returns if all that it yields is answered so."""
    try:
        asked = next(method)
        while True:
            asked = method.send(answer(asked))
    except StopIteration as end:
        return end.value
