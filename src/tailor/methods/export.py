"""The stage that writes the compacted network as files, checked and timed in ONNX Runtime."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tailor.evaluation.backends import Contender
from tailor.evaluation.bench import bench
from tailor.methods.compact import AFTER, BEFORE, compacted
from tailor.methods.stage import Preview, Result, Stage
from tailor.methods.workshop import Workshop
from tailor.training import Progress

MODEL, ONNX = "model", "network.onnx"


def exporting() -> bool:
    """Whether the extra ``export`` is installed."""
    return all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript", "safetensors"))


@dataclass(frozen=True)
class Export(Stage):
    """Write ``model/`` (safetensors) and ``network.onnx`` (normalization inside); time both networks in ONNX Runtime.

    Attributes:
        network: result of its training.
        round_to: channel counts are kept at multiples of this.
        compared: result of the comparison, for the model card.
    """

    network: Result
    round_to: int
    compared: Result

    def run(self, workshop: Workshop, folder: Path, progress: Progress) -> Result:
        """Export; a folder that an earlier, broken-off try left is replaced."""
        from tailor.export import contenders, onnx, save_pretrained

        network = workshop.trained(self.network["stage"], self.network["taps"])
        small = compacted(network, workshop, self.round_to)
        folder.mkdir(parents=True, exist_ok=True)
        worth = self._row()
        delta_m = (worth.get("delta_m") or {}).get("mean")
        normalization = workshop.source.normalization
        results = {self.network["method"]: _flat(worth["test"])}
        save_pretrained(small, folder / MODEL, workshop.example, normalization, results, delta_m, overwrite=True)
        progress(0.2, "writing the ONNX file")
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in normalization)
        real = next(iter(workshop.source.test_dataloader()))["image"][:4] * std + mean
        exported = onnx(small, folder / ONNX, workshop.example, normalization, [real], delta_m)
        progress(0.6, "timing")
        with tempfile.TemporaryDirectory() as place:
            both = contenders({BEFORE: network}, place, workshop.example) | {AFTER: Contender(small, folder / ONNX)}
            timed = bench(both, workshop.example, backends=["onnxruntime"], batches=(1,), threads=(1,), repeats=30)
        return {
            "stage": self.name,
            "network": self.network["stage"],
            "files": {"model": f"{self.name}/{MODEL}", "onnx": f"{self.name}/{ONNX}"},
            "onnx": {
                "inputs": {name: list(shape) for name, shape in exported.inputs.items()},
                "errors": exported.errors,
            },
            "bench": timed.to_dict(),
        }

    def preview(self, workshop: Workshop) -> Preview:  # noqa: ARG002
        """Next to nothing."""
        return Preview(result={"stage": self.name}, work=0.0, what="safetensors, ONNX; checked in ONNX Runtime")

    def _row(self) -> Mapping[str, Any]:
        """The comparison's row of this very network."""
        rows: list[Mapping[str, Any]] = self.compared["rows"]
        return next(row for row in rows if self.network["stage"] in row["stages"])


def _flat(test: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{task} {metric}": value for task, metrics in test.items() for metric, value in metrics.items()}
