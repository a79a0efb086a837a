"""What was measured of a network and what follows from it, as ``diagnosis.json`` keeps it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lomt.diagnosis.causes import Evidence, causes
from lomt.diagnosis.comparison import Standing
from lomt.diagnosis.conflicts import cosines, norms, relative_share, shares
from lomt.diagnosis.gradients import Gradients
from lomt.diagnosis.probe import ProbeCurve
from lomt.diagnosis.remedies import Setting, command, remedies


@dataclass(frozen=True)
class Found:
    """What was measured of one method's networks.

    Attributes:
        method: its name.
        results: of its trainings, one a seed; the first one's network is measured.
        standings: of its tasks.
        gradients: at its shared layers.
        weights: each loss's factor as the training ended.
        shared: task that loses → probes on its features.
        alone: task that loses anywhere → probes on the features of its single-task network.
    """

    method: str
    results: Sequence[Mapping[str, Any]]
    standings: Sequence[Standing]
    gradients: Gradients
    weights: Mapping[str, float]
    shared: Mapping[str, ProbeCurve]
    alone: Mapping[str, ProbeCurve]

    def record(self, folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
        """All of it, with the verdicts.

        Args:
            folder: of the run, for commands.
            config: the run's.
        """
        first = self.results[0]
        return {
            "method": self.method,
            "stage": first["stage"],
            "seeds": [result["seed"] for result in self.results],
            "taps": first["taps"],
            "weights": dict(self.weights),
            "standings": [asdict(one) | {"loses": one.loses} for one in self.standings],
            "gradients": self._conflicts(),
            "probes": [
                {"task": task, "tap": first["taps"][task], "shared": asdict(curve), "alone": asdict(self.alone[task])}
                for task, curve in self.shared.items()
            ],
            "verdicts": [
                self._verdict(one, folder, config) for one in self.standings if one.loses and one.task in self.shared
            ],
        }

    def _conflicts(self) -> dict[str, Any]:
        return {
            "batches": self.gradients.batches,
            "images": self.gradients.images,
            "layers": [{"name": layer.name, "parameters": layer.parameters} for layer in self.gradients.layers],
            "pairs": [
                {"tasks": list(pair), "layers": {layer: asdict(spread) for layer, spread in by_layer.items()}}
                for pair, by_layer in cosines(self.gradients).items()
            ],
            "norms": {
                layer: {task: asdict(spread) for task, spread in by_task.items()}
                for layer, by_task in norms(self.gradients, self.weights).items()
            },
            "shares": shares(self.gradients, self.weights),
            "relative_share": {
                task: relative_share(self.gradients, self.weights, task) for task in self.gradients.tasks
            },
        }

    def _verdict(self, standing: Standing, folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
        task, taps = standing.task, self.results[0]["taps"]
        evidence = Evidence(standing, self.gradients, self.weights, taps[task], self.shared[task], self.alone[task])
        setting = Setting.of(config, self.gradients.tasks, taps)
        from_command_line = isinstance(config.get("data"), Mapping) and "class_path" in config["data"]
        return {
            "task": task,
            "causes": [
                asdict(cause)
                | {
                    "remedies": [
                        {
                            "what": remedy.what,
                            "options": dict(remedy.options),
                            "command": command(folder, remedy) if from_command_line else None,
                            "call": _call(remedy.options),
                        }
                        for remedy in remedies(task, cause, setting)
                    ]
                }
                for cause in causes(evidence)
            ],
        }


def _call(options: Mapping[str, str]) -> str:
    changes = ", ".join(f"{key} = {value}" for key, value in options.items())
    return f"the same call of lomt.run with {changes} and another out"


def plain(value: Any) -> Any:
    """A record with none in place of what is not finite, since JSON knows no NaN."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
