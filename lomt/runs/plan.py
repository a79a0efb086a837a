"""What a run will do, before it does it."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from lomt.methods import BACKWARD, Method, Parallel, Preview, Setup, Stage, follow

PROBE_STEPS = 4
"""Training steps that are timed to estimate a run; the first one warms up."""


@dataclass(frozen=True)
class Planned:
    """One line of the plan."""

    stage: Stage
    preview: Preview


def plan(method: Method, setup: Setup) -> list[Planned]:
    """All stages of ``method`` in order, each once; what a stage would decide is replaced by its preview."""
    planned: dict[str, Planned] = {}

    def answer(asked: Stage | Parallel) -> Any:
        if isinstance(asked, Parallel):
            return [follow(one, answer) for one in asked.methods]
        if asked.name not in planned:
            planned[asked.name] = Planned(asked, asked.preview(setup))
        return planned[asked.name].preview.result

    follow(method, answer)
    return list(planned.values())


def describe(planned: list[Planned], setup: Setup) -> str:
    """The plan as text: stages, networks, sizes, and an estimate of the time that each takes here."""
    speed = _speed(setup)
    width = max(len(line.stage.name) for line in planned)
    lines = [f"{'stage':<{width}}  {'parameters':>10}  {'MMACs':>8}  {'minutes':>7}  what"]
    for line in planned:
        preview = line.preview
        parameters = "" if preview.parameters is None else f"{preview.parameters:,}"
        macs = "" if preview.macs is None else f"{preview.macs / 1e6:,.1f}"
        minutes = f"{preview.work / speed / 60:.1f}"
        lines.append(f"{line.stage.name:<{width}}  {parameters:>10}  {macs:>8}  {minutes:>7}  {preview.what}")
    total = sum(line.preview.work for line in planned) / speed / 60
    lines.append(f"\n{len(planned)} stages, about {total:.0f} minutes with {torch.get_num_threads()} threads")
    return "\n".join(lines)


def _speed(setup: Setup) -> float:
    """Multiply-accumulates a second of a training step of the conventional network, measured here and now."""
    taps = dict.fromkeys(setup.task_names, setup.end)
    macs = setup.cost(taps).macs
    network = setup.network(taps).train()
    batch = next(iter(setup.source.train_dataloader()))
    times = []
    for _ in range(PROBE_STEPS):
        begin = time.perf_counter()
        outputs = network(batch["image"])
        losses = [task.loss(outputs[task.name], batch[task.name]) for task in setup.tasks if task.name in batch]
        torch.stack(losses).sum().backward()
        network.zero_grad()
        times.append(time.perf_counter() - begin)
    return BACKWARD * macs * len(batch["image"]) / statistics.median(times[1:])
