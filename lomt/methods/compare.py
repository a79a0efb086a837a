"""The stage that proves it: every network on the test split, once, on equal terms."""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lomt.evaluation import Results, Row, Table, cost, delta_m, evaluate, latency, per_task
from lomt.evaluation.environment import environment
from lomt.evaluation.table import COMPACTED
from lomt.files import write_atomically
from lomt.methods.compact import compacted
from lomt.methods.setup import Setup
from lomt.methods.stage import Preview, Result, Stage
from lomt.tasks import Task
from lomt.training import Progress

BASELINE = "single_task"
SHOWN = 4
"""Images of the gallery."""


class Together(nn.Module):
    """Several networks as one, each for its tasks: what single-task networks amount to on a device."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """All networks' outputs."""
        return {name: output for network in self.networks for name, output in network(image).items()}


@dataclass(frozen=True)
class Compare(Stage):
    """Measure all trained networks on the test split: metrics, Δm, cost, latency, and pictures.

    A network of which compaction removes something has a second row: its outputs stay the same up to rounding, and so
    do its metrics; its cost and latency do not.

    Attributes:
        networks: the results of the trainings to compare; those of one method and seed count as one.
        compaction: the result of the stage that compacted the first network of each method.
    """

    networks: tuple[Result, ...]
    compaction: Result

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """Evaluate; pictures go to ``gallery.npz``."""
        contestants = self._contestants(setup)
        results: dict[str, dict[int, Results]] = {method: {} for method in contestants}
        total = sum(map(len, contestants.values()))
        for method, networks in contestants.items():
            for seed, network in networks.items():
                progress(sum(map(len, results.values())) / total, f"testing {method}, seed {seed}")
                loader = setup.source.test_dataloader()
                results[method][seed] = evaluate(network, loader, setup.tasks, setup.device)
                network.cpu()
        progress(1.0, "timing")
        # One network of each method is timed and drawn: as they were trained, those of other seeds have the same shape.
        first = {method: next(iter(networks.values())) for method, networks in contestants.items()}
        write_atomically(folder / "gallery.npz", gallery(first, setup))
        timed = {name: network for method in first for name, network in self._forms(method, first[method], setup)}
        times = latency(timed, setup.example)
        costs = {name: cost(network, setup.example) for name, network in timed.items()}
        deltas = {method: _deltas(results, method, setup.tasks) for method in results}
        rows = []
        for name in timed:
            method = name.removesuffix(COMPACTED)
            found = [] if method == BASELINE else [delta["mean"] for delta in deltas[method].values()]
            rows.append(
                Row(
                    name,
                    list(results[method].values()),
                    [mean for mean in found if mean is not None],
                    costs[name].parameters,
                    costs[name].macs,
                    times[name],
                )
            )
        table = Table(setup.tasks, rows)
        return {
            "tasks": [_task(task) for task in setup.tasks],
            "candidates": [asdict(tap) for tap in setup.candidates],
            "rows": self._rows(results, deltas),
            "methods": {name: asdict(costs[name]) | {"latency": asdict(times[name])} for name in timed},
            "table": table.to_markdown(),
            "figures": table.to_dict(),
            "environment": environment(),
        }

    def preview(self, setup: Setup) -> Preview:
        """One pass over the test split for each network."""
        images = len(setup.source.test_dataloader().dataset)  # type: ignore[arg-type]
        macs = sum(setup.cost(result["taps"]).macs for result in self.networks)
        return Preview(result={"table": ""}, work=float(macs * images), what=f"test {len(self.networks)} networks")

    def _forms(self, method: str, network: nn.Module, setup: Setup) -> Iterator[tuple[str, nn.Module]]:
        """A method's network as it was trained and, where that is another one, compacted, each with its row's name."""
        yield method, network
        if self.compaction["networks"].get(method, {}).get("changed"):
            yield method + COMPACTED, compacted(network, setup, self.compaction["round_to"])

    def _contestants(self, setup: Setup) -> dict[str, dict[int, nn.Module]]:
        """Method → seed → network; single-task networks of one seed stand together."""
        parts: dict[str, dict[int, list[nn.Module]]] = defaultdict(lambda: defaultdict(list))
        for result in self.networks:
            parts[result["method"]][result["seed"]].append(setup.trained(result["stage"], result["taps"]))
        return {
            method: {seed: found[0] if len(found) == 1 else Together(found) for seed, found in by_seed.items()}
            for method, by_seed in parts.items()
        }

    def _rows(
        self, results: Mapping[str, Mapping[int, Results]], deltas: Mapping[str, Mapping[int, Result]]
    ) -> list[Result]:
        rows = []
        for method, by_seed in results.items():
            for seed, values in by_seed.items():
                parts = [part for part in self.networks if (part["method"], part["seed"]) == (method, seed)]
                rows.append(
                    {
                        "method": method,
                        "seed": seed,
                        "stages": [part["stage"] for part in parts],
                        "taps": {task: tap for part in parts for task, tap in part["taps"].items()},
                        "test": values,
                        "delta_m": deltas[method].get(seed),
                    }
                )
        return rows


def gallery(networks: Mapping[str, nn.Module], setup: Setup) -> bytes:
    """A few test images, evenly spread, with truth and every method's predictions, as a NumPy archive."""
    split = setup.source.test_dataloader().dataset
    chosen = np.linspace(0, len(split) - 1, SHOWN).round().astype(int)  # type: ignore[arg-type]
    samples = [split[int(index)] for index in dict.fromkeys(chosen)]
    images = torch.stack([sample["image"] for sample in samples])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in setup.source.normalization)
    arrays = {"image": ((images * std + mean).clamp(0, 1) * 255).byte().permute(0, 2, 3, 1)}
    for task in setup.tasks:
        if all(task.name in sample for sample in samples):
            arrays[f"truth/{task.name}"] = torch.stack([sample[task.name] for sample in samples])
    with torch.inference_mode():
        for method, network in networks.items():
            for name, output in network(images).items():
                task = next(task for task in setup.tasks if task.name == name)
                arrays[f"{method}/{name}"] = task.prediction(output)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: value.cpu().numpy() for key, value in arrays.items()})  # type: ignore[arg-type]
    return buffer.getvalue()


def _deltas(results: Mapping[str, Mapping[int, Results]], method: str, tasks: Sequence[Task]) -> dict[int, Result]:
    """Δm of every seed of ``method`` for which single-task networks were trained as well.

    A baseline of 0 – a network that has learned nothing – leaves Δm undefined: a reason stands in its place, and the
    rest of the comparison is kept.
    """
    deltas: dict[int, Result] = {}
    for seed in sorted(results[method].keys() & results.get(BASELINE, {}).keys()):
        single, values = results[BASELINE][seed], results[method][seed]
        try:
            deltas[seed] = {"mean": delta_m(values, single, tasks), "per_task": per_task(values, single, tasks)}
        except ValueError as error:
            deltas[seed] = {"mean": None, "per_task": {}, "reason": str(error)}
    return deltas


def _task(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "kind": type(task).__name__.lower(),
        "dense": task.dense,
        "channels": task.channels,
        "class_names": list(getattr(task, "class_names", [])) or None,
        "headline": list(task.headline),
        "higher_is_better": dict(task.higher_is_better),
        "units": dict(task.units),
    }
