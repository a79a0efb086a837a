"""What the stage ``compare`` left, as dataclasses: tasks, test results, costs, candidates for taps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from lomt.evaluation import Spread, over_seeds
from lomt.evaluation.table import COMPACTED
from lomt.report.names import in_order


@dataclass(frozen=True)
class TaskFacts:
    """What must be known of a task to show it; its kind is the class's name in lower case."""

    name: str
    kind: str
    dense: bool
    channels: int
    class_names: Sequence[str] | None
    headline: Sequence[str]
    higher_is_better: Mapping[str, bool]
    units: Mapping[str, str]

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Read it from JSON; what is missing gets the plainest value."""
        return cls(
            name=str(stored["name"]),
            kind=str(stored.get("kind", "")).lower(),
            dense=bool(stored.get("dense", True)),
            channels=int(stored.get("channels", 1)),
            class_names=[str(name) for name in stored["class_names"]] if stored.get("class_names") else None,
            headline=list(stored.get("headline", ())),
            higher_is_better=dict(stored.get("higher_is_better", {})),
            units=dict(stored.get("units", {})),
        )


@dataclass(frozen=True)
class Outcome:
    """One row of the comparison: a method with one seed."""

    method: str
    seed: int
    stages: Sequence[str]
    taps: Mapping[str, Sequence[str]]
    test: Mapping[str, Mapping[str, float]]
    delta_m: float | None
    gains: Mapping[str, float]

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Read it from JSON."""
        delta = stored.get("delta_m") or {}
        return cls(
            method=str(stored["method"]),
            seed=int(stored.get("seed") or 0),
            stages=list(stored.get("stages", ())),
            taps={task: _several(tap) for task, tap in (stored.get("taps") or {}).items()},
            test=stored.get("test") or {},
            delta_m=_finite(delta.get("mean")),
            gains={task: gain for task, gain in (delta.get("per_task") or {}).items() if _finite(gain) is not None},
        )


@dataclass(frozen=True)
class Candidate:
    """A place of the backbone where a decoder could be attached."""

    name: str
    channels: int
    stride: float


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image: median and quartiles."""

    median: float
    low: float
    high: float
    threads: int | None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """Read it from JSON, with or without the unit in the names."""
        if not stored:
            return None
        values = [
            _finite(stored.get(long, stored.get(short)))
            for long, short in (("median_ms", "median"), ("q1_ms", "low"), ("q3_ms", "high"))
        ]
        median = values[0]
        if median is None:
            return None
        low, high = (median if value is None else value for value in values[1:])
        return cls(median, low, high, stored.get("threads"))


@dataclass(frozen=True)
class Comparison:
    """All methods against each other on the test split.

    Where compaction makes a method's network smaller, it is there in two forms: as it was trained, under the method's
    name, and under that name with ``, compacted`` behind it. Both have the same results, and costs of their own.
    """

    tasks: Sequence[TaskFacts]
    candidates: Sequence[Candidate]
    outcomes: Sequence[Outcome]
    costs: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, Any]

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Read ``compare/result.json``."""
        return cls(
            tasks=[TaskFacts.from_dict(task) for task in stored.get("tasks", ())],
            candidates=[
                Candidate(str(one["name"]), int(one.get("channels") or 1), float(one.get("stride") or 1))
                for one in stored.get("candidates") or ()
            ],
            outcomes=[Outcome.from_dict(row) for row in stored.get("rows", ())],
            costs=stored.get("methods") or {},
            environment=stored.get("environment") or {},
        )

    @property
    def methods(self) -> list[str]:
        """All methods, in the order of the story."""
        return in_order([*(outcome.method for outcome in self.outcomes), *map(trained_form, self.costs)])

    @property
    def forms(self) -> list[str]:
        """All methods, each followed by its compacted form, where there is one."""
        return [form for method in self.methods for form in dict.fromkeys((method, self.smallest_form(method)))]

    def smallest_form(self, method: str) -> str:
        """The compacted form of a method's network where there is one, else the network as it was trained."""
        return method + COMPACTED if method + COMPACTED in self.costs else method

    def of(self, form: str) -> list[Outcome]:
        """A method's outcomes, one a seed."""
        return [outcome for outcome in self.outcomes if outcome.method == trained_form(form)]

    def figure(self, method: str, task: str, metric: str) -> Spread | None:
        """A metric on the test split over the seeds that have it."""
        return _spread(outcome.test.get(task, {}).get(metric) for outcome in self.of(method))

    def delta_m(self, method: str) -> Spread | None:
        """Δm over the seeds that have it, in percent; + is better than single-task."""
        return _spread(outcome.delta_m for outcome in self.of(method))

    def differences(self, method: str, rival: str) -> list[float]:
        """Δm of one method minus that of another, seed by seed where both have it, in points."""
        theirs = {outcome.seed: outcome.delta_m for outcome in self.of(rival) if outcome.delta_m is not None}
        return [
            outcome.delta_m - theirs[outcome.seed]
            for outcome in self.of(method)
            if outcome.delta_m is not None and outcome.seed in theirs
        ]

    def gain(self, method: str, task: str) -> Spread | None:
        """One task's part of Δm."""
        return _spread(outcome.gains.get(task) for outcome in self.of(method))

    def cost(self, method: str, what: str) -> float | None:
        """``parameters`` or ``macs`` of a method, where known."""
        return _finite(self.costs.get(method, {}).get(what))

    def latency(self, method: str) -> Latency | None:
        """Time for one image, where measured."""
        return Latency.from_dict(self.costs.get(method, {}).get("latency"))


def trained_form(form: str) -> str:
    """The method of a form."""
    return form.removesuffix(COMPACTED)


def _several(tap: object) -> list[str]:
    return [tap] if isinstance(tap, str) else [str(one) for one in tap] if isinstance(tap, Sequence) else []


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _spread(values: Any) -> Spread | None:
    known = [number for value in values if (number := _finite(value)) is not None]
    return over_seeds(known) if known else None
