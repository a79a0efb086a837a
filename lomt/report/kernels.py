"""What the kernels skip: time of an epoch against the share of the network that it still computes."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lomt.report.chart import Axes
from lomt.report.names import SINGLE, SPARSE, colour_class, in_order, method_name
from lomt.report.read import PATHS, History, Run
from lomt.report.svg import drawing, element, path, tip

WIDTH, HEIGHT = 344.0, 232.0
DENSE = 0.9995
"""From this share on an epoch counts as one in which everything is computed."""


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes:
        computed: share of the convolutions' multiply-accumulates that a training step computes at its end, 0 to 1.
        time: of its training, as a share of a dense epoch's of the same network.
    """

    computed: float
    time: float


@dataclass(frozen=True)
class Lane:
    """A network that became sparse, epoch by epoch.

    Attributes:
        name: the task, or the method, as a reader calls it.
        colour: CSS class.
        epochs: in the order of training.
        macs: what compaction left of its multiply-accumulates in the end, as a share; none where it was not compacted.
        latency: the same of its latency.
    """

    name: str
    colour: str
    epochs: Sequence[Epoch]
    macs: float | None = None
    latency: float | None = None

    @property
    def skipped(self) -> float:
        """Share of all epochs' multiply-accumulates that was not computed, by the share at each one's end."""
        return 1 - statistics.fmean(epoch.computed for epoch in self.epochs)

    @property
    def time(self) -> float:
        """Of all epochs together, as a share of as many dense ones."""
        return statistics.fmean(epoch.time for epoch in self.epochs)

    @property
    def picture(self) -> Markup:
        """Time over what is computed."""
        return picture(self)


def lanes(run: Run) -> list[Lane]:
    """Every task's path, and every method's way from dense to sparse; those alone whose epochs were timed."""
    found = [_lane(run, task, f"of-{SPARSE}", *_alone(run, task)) for task in run.tasks]
    every = in_order(training.method for training in run.trainings)
    methods = [method for method in every if _is_sparse(method)]
    found += [_lane(run, method, colour_class(method, every), *_shared(run, method)) for method in methods]
    return [lane for lane in found if lane]


def _is_sparse(method: str) -> bool:
    return method.startswith(f"{SPARSE}_") and "," not in method


def _alone(run: Run, task: str) -> tuple[Sequence[History], Sequence[History]]:
    """Histories of a task's first sparse network, and of the dense network that it was made from."""
    name = f"{PATHS}{task}"
    if name in run.steps:
        return run.steps[name], _dense(run, f"{SINGLE}/{task}/", name)
    trials = [training.history for training in run.of(SPARSE) if training.tasks == [task]]
    return trials[:1], ()


def _shared(run: Run, method: str) -> tuple[Sequence[History], Sequence[History]]:
    """The same of the first network that a method made sparse."""
    start, last = method.removeprefix(f"{SPARSE}_"), run.of(method)[0]
    name = f"{PATHS}{start}" if f"{PATHS}{start}" in run.steps else last.name.replace(method, f"penalized/{start}", 1)
    ended = run.steps.get(last.name, [last.history])
    return [*run.steps.get(name, ()), *ended], _dense(run, f"{start}/", name)


def _dense(run: Run, prefix: str, name: str) -> Sequence[History]:
    """The dense training that a stage begins with: that of its seed."""
    seed = next((training.result.get("seed", 0) for training in run.trainings if training.name == name), 0)
    return [training.history for training in run.trainings if training.name == f"{prefix}seed-{seed}"]


def _lane(run: Run, name: str, colour: str, histories: Sequence[History], dense: Sequence[History]) -> Lane | None:
    rows = [row for history in histories for row in _timed(history)]
    whole = [seconds for history in dense for seconds, computed in _timed(history) if computed >= DENSE]
    whole = whole or [seconds for seconds, computed in rows if computed >= DENSE]
    if not whole or not rows:
        return None
    unit = statistics.median(whole)
    epochs = [Epoch(computed, seconds / unit) for seconds, computed in rows]
    return Lane(method_name(name) if name not in run.tasks else name, colour, epochs, *_compacted(run, name))


def _timed(history: History) -> list[tuple[float, float]]:
    """(seconds, computed) of the epochs that have both; a processor's seconds, where it computed, not the clock's."""
    seconds = history.get("processor") or history.get("seconds", [])
    rows = zip(seconds, history.get("computed", []), strict=False)
    return [row for row in rows if all(map(math.isfinite, row)) and row[0] > 0]


def _compacted(run: Run, method: str) -> tuple[float | None, float | None]:
    """What is left of a method's multiply-accumulates and of its latency."""
    found = run.comparison
    if found is None or (form := found.smallest_form(method)) == method:
        return None, None
    before, after = (found.latency(one) for one in (method, form))
    costs = {one: found.cost(one, "macs") for one in (method, form)}
    share = _share(costs[form], costs[method])
    return share, _share(after.median, before.median) if before and after else None


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def picture(lane: Lane) -> Markup:
    """A dot an epoch, joined in their order; the dashed line is where time falls as fast as arithmetic does."""
    top = max(115.0, *(108 * epoch.time for epoch in lane.epochs))
    axes = Axes(0.0, 100.0, 0.0, top, WIDTH, HEIGHT)
    places = [(axes.x(100 * epoch.computed), axes.y(100 * epoch.time)) for epoch in lane.epochs]
    dots = [
        element("circle", tip(_said(number, epoch)), cx=x, cy=y, r=3.0, class_="dot")
        for number, (epoch, (x, y)) in enumerate(zip(lane.epochs, places, strict=True), start=1)
    ]
    return drawing(
        WIDTH,
        HEIGHT,
        axes.draw(percent=False, x_title="multiply-accumulates computed [%] →"),
        element("text", "↑ time of an epoch [% of a dense one]", x=axes.x(0) + 4, y=axes.y(top) + 6, class_="soft"),
        element("line", x1=axes.x(0), y1=axes.y(0), x2=axes.x(100), y2=axes.y(100), class_="zero"),
        element("g", element("path", d=path(places)), *dots, class_=f"curve thin {lane.colour}"),
        label=f"Time of each epoch of {lane.name} against what it computes: {_summary(lane.epochs)}.",
        kind="chart",
    )


def _said(number: int, epoch: Epoch) -> str:
    return f"epoch {number}: {100 * epoch.computed:.0f} % computed, in {100 * epoch.time:.0f} % of a dense epoch's time"


def _summary(epochs: Sequence[Epoch]) -> str:
    first, last = (f"{100 * one.time:.0f} % at {100 * one.computed:.0f} %" for one in (epochs[0], epochs[-1]))
    return f"{first} in the first of {len(epochs)} epochs, {last} in the last"
