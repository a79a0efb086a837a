"""The one bar that a person watches during a run, and a line for all that has ended."""

import copy
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tqdm import tqdm

_CLEAR = "\r\x1b[K"
"""Takes the bar off a terminal's line; the next look draws it again."""


class Bar:
    """Shows the stage, the number of stages, what it is doing, and the time that the whole run has left.

    Args:
        works: the cost of every stage by its name, in order, in any unit that is proportional to time.
        ended: the stages that had ended before; the time left is judged by the others.
        shown: False keeps silent. The bar itself is for terminals; a log gets the lines alone.
    """

    def __init__(self, works: Mapping[str, float], ended: Collection[str], shown: bool = True) -> None:
        # A stage without a cost of its own still moves the bar a little.
        self._least = max(works.values(), default=1.0) * 0.01 or 1.0
        self.works = {name: max(work, self._least) for name, work in works.items()}
        self.total = sum(self.works.values())
        self.shown = shown
        done = sum(self.works[name] for name in ended)
        self._bar = tqdm(
            total=100.0,
            initial=100.0 * done / self.total,
            bar_format="{desc} {bar} {percentage:3.0f}% · {elapsed} passed · {remaining} left",
            dynamic_ncols=True,
            smoothing=0,
            mininterval=0.5,
            disable=None if shown else True,
        )
        self._done = done
        self._name = ""
        self._note: Callable[[float], None] | None = None

    @contextmanager
    def stage(self, name: str, work: float) -> Iterator[None]:
        """Show a stage while it runs, and count it as done if it ends well; one that was not planned is added."""
        if name not in self.works:
            self.works[name] = max(work, self._least)
            self.total += self.works[name]
        self._name = name
        self(0.0, "")
        yield
        self(1.0, "")
        self._done += self.works[name]

    def __call__(self, done: float, text: str) -> None:
        """The present stage is ``done`` (0 … 1) through."""
        finished = self._done + done * self.works[self._name]
        if self._note is not None:
            self._note(finished)
            return
        place = list(self.works).index(self._name) + 1
        label = f"[{place}/{len(self.works)}] {self._name}"
        self._show(finished, f"{label} · {text}" if text else label)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self.shown:
            clear = _CLEAR if sys.stderr.isatty() else ""
            sys.stderr.write(f"{clear}{line}\n")  # at once, since several processes may write
            sys.stderr.flush()

    @contextmanager
    def together(self) -> Iterator[Callable[[float], None]]:
        """While others work: what is given takes how much they have done."""
        before = self._done

        def tell(work: float) -> None:
            self._done = before + work
            self._show(self._done, "several trainings at the same time")

        tell(0.0)
        yield tell

    def of(self, note: Callable[[float], None]) -> "Bar":
        """For one of those others: it tells ``note`` how much it has done."""
        other = copy.copy(self)
        other._bar = tqdm(disable=True)
        other._done, other._note = 0.0, note
        return other

    def _show(self, finished: float, text: str) -> None:
        self._bar.set_description_str(text, refresh=False)
        self._bar.update(100.0 * finished / self.total - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
