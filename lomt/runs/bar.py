"""The one bar that a person watches during a run."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tqdm import tqdm


class Bar:
    """Shows the stage, the number of stages, what it is doing, and the time that the whole run has left.

    Args:
        works: the cost of every stage by its name, in order, in any unit that is proportional to time.
        ended: the stages that had ended before; the time left is judged by the others.
        shown: False keeps silent.
    """

    def __init__(self, works: Mapping[str, float], ended: Collection[str], shown: bool = True) -> None:
        # A stage without a cost of its own still moves the bar a little.
        self._least = max(works.values(), default=1.0) * 0.01 or 1.0
        self.works = {name: max(work, self._least) for name, work in works.items()}
        self.total = sum(self.works.values())
        done = sum(self.works[name] for name in ended)
        self._bar = tqdm(
            total=100.0,
            initial=100.0 * done / self.total,
            bar_format="{desc} {bar} {percentage:3.0f}% · {elapsed} passed · {remaining} left",
            dynamic_ncols=True,
            smoothing=0,
            mininterval=0.5,
            disable=not shown,
        )
        self._done = done
        self._name = ""

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
        place = list(self.works).index(self._name) + 1
        label = f"[{place}/{len(self.works)}] {self._name}"
        self._bar.set_description_str(f"{label} · {text}" if text else label, refresh=False)
        finished = self._done + done * self.works[self._name]
        self._bar.update(100.0 * finished / self.total - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
