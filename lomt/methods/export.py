"""The stage that writes the compacted network as files, checked and timed in ONNX Runtime."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from lomt.compaction import Compacted
from lomt.evaluation.backends import Contender
from lomt.evaluation.bench import bench
from lomt.methods.compact import AFTER, compacted, noted
from lomt.methods.setup import Setup
from lomt.methods.stage import Preview, Result, Stage
from lomt.training import Progress

ONNX = "network.onnx"


def exporting() -> bool:
    """Whether the extra ``export`` is installed."""
    return all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript", "safetensors"))


@dataclass(frozen=True)
class Export(Stage):
    """Write networks as safetensors, the last one also as ONNX (normalization inside), and time that in ONNX Runtime.

    Attributes:
        networks: results of their trainings, one a method; the last one is what the run was made for.
        round_to: channel counts are kept at multiples of this.
        compared: result of the comparison, for the model cards.
    """

    networks: tuple[Result, ...]
    round_to: int
    compared: Result

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Export; files that an earlier, broken-off try left are replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        models, notes = {}, []
        for result in self.networks:
            progress(0.0, f"writing {result['method']}")
            with noted(f"{result['stage']} could not be written") as failed:
                small, delta_m = save(result, setup, self.round_to, self.compared, folder / result["method"])
                models[result["method"]] = f"{self.name}/{result['method']}"
            notes += failed
        written: Result = {}
        if not failed:
            with noted("no ONNX file") as failed:
                written = self._onnx(small, delta_m, setup, folder, progress)
            notes += failed
        about = {"stage": self.name, "network": self.networks[-1]["stage"], "models": models}
        return about | written | ({"notes": notes} if notes else {})

    def _onnx(self, small: Compacted, delta_m: float | None, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Write the last network as ONNX and time it."""
        from lomt.export import onnx

        progress(0.2, "writing the ONNX file")
        normalization = setup.source.normalization
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in normalization)
        real = next(iter(setup.source.test_dataloader()))["image"][:4] * std + mean
        exported = onnx(small, folder / ONNX, setup.example, normalization, [real], delta_m)
        progress(0.6, "timing")
        made = {AFTER: Contender(small, folder / ONNX)}
        timed = bench(made, setup.example, backends=["onnxruntime"], batches=(1,), threads=(1,), repeats=30)
        return {
            "onnx": {
                "file": f"{self.name}/{ONNX}",
                "inputs": {name: list(shape) for name, shape in exported.inputs.items()},
                "errors": exported.errors,
            },
            "bench": timed.to_dict(),
        }

    def preview(self, setup: Setup) -> Preview:
        """Next to nothing; what can't be written is said before anything is trained."""
        what = setup.resists or "safetensors, ONNX; checked in ONNX Runtime"
        return Preview(result={"stage": self.name}, work=0.0, what=what)


def save(
    result: Result, setup: Setup, round_to: int, compared: Result | None, folder: Path, overwrite: bool = True
) -> tuple[Compacted, float | None]:
    """Compact a trained network and write it with :func:`lomt.export.save_pretrained`.

    Args:
        result: of its training.
        setup: data and networks.
        round_to: channel counts are kept at multiples of this.
        compared: result of the comparison, for the model card; none where there has been none.
        folder: where to.
        overwrite: whether what is there may be replaced.

    Returns:
        The compacted network, and its Δm in percent, where that is known.
    """
    from lomt.export import save_pretrained

    small = compacted(setup.trained(result["stage"], result["taps"]), setup, round_to)
    rows = (row for row in (compared or {"rows": ()})["rows"] if result["stage"] in row["stages"])
    row: Result = next(rows, {"test": {}, "delta_m": None})
    delta_m = (row["delta_m"] or {}).get("mean")
    card = {result["method"]: _flat(row["test"])} if row["test"] else None
    normalization = setup.source.normalization
    save_pretrained(small, folder, setup.example, normalization, card, delta_m, overwrite=overwrite)
    return small, delta_m


def _flat(test: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{task} {metric}": value for task, metrics in test.items() for metric, value in metrics.items()}
