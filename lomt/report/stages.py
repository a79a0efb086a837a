"""The list of trainings: how long each took and why it ended."""

from dataclasses import dataclass

from lomt.evaluation.formatting import count
from lomt.report.names import duration
from lomt.report.read import Run, Training


@dataclass(frozen=True)
class StageLine:
    """One training, in words."""

    name: str
    epochs: int
    parameters: str
    macs: str
    time: str
    end: str


def stages(run: Run) -> list[StageLine]:
    """One line a training, in order."""
    return [_line(training) for training in run.trainings]


def _line(training: Training) -> StageLine:
    left = training.result
    epochs = left.get("epochs", len(next(iter(training.history.values()), [])))
    if not left:
        return StageLine(training.name, epochs, "–", "–", "–", "not yet")
    end = str(left.get("stopped") or "all epochs done")
    parameters, macs = (
        count(round(left[what])) if isinstance(left.get(what), int | float) else "–" for what in ("parameters", "macs")
    )
    return StageLine(
        name=training.name,
        epochs=epochs,
        parameters=parameters,
        macs=macs,
        time=duration(float(left["seconds"])) if left.get("seconds") is not None else "–",
        end=f"{end}; {left['penalty']}" if left.get("penalty") else end,
    )
