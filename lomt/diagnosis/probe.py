"""What can be read off frozen features: a linear probe at every candidate tap."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lomt.diagnosis.features import features
from lomt.models import Network
from lomt.models.resize import resize
from lomt.modes import evaluating
from lomt.tasks import Task

STEPS = 60
"""Steps of every probe: enough for a linear map of standardized features to rank depths."""
STATISTICS = 8
"""Batches from which features are standardized."""
RATE = 0.5
"""Peak learning rate of Adam; from 0.2 to 0.8 the order of depths is the same on the demo, for every task."""
WARMUP = 0.2
"""Share of the steps on the way up to the peak; from there the rate falls linearly to 0."""
CONSTANT_STEPS = 20
"""Steps that the best constant takes before."""
BLANK = ""
"""The place without features: a probe there learns the best constant."""

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class ProbeCurve:
    """Validation loss of probes of one task, by depth.

    Attributes:
        task: whose loss.
        taps: where the probes read, from the image to the end.
        losses: for each tap the loss of each seed's probe.
        blank: for each seed the loss of the best constant, which knows nothing of the image.
    """

    task: str
    taps: tuple[str, ...]
    losses: tuple[tuple[float, ...], ...]
    blank: tuple[float, ...]


def probe(
    network: Network,
    tasks: Sequence[Task],
    taps: Sequence[str],
    train: Callable[[int], Iterable[Batch]],
    validation: Iterable[Batch],
    seeds: Sequence[int] = (0, 1, 2),
    device: str | torch.device = "cpu",
) -> list[ProbeCurve]:
    """Fit a linear probe for each task at each tap on training images; judge all of them on validation images.

    A probe is a 1×1 convolution (on averaged features a linear map, where the task is not dense) of features that are
    standardized by channel; its output is brought to the label's resolution as a decoder's is. It begins as the best
    constant. All probes take the same steps on the same images, with the task's own loss; the network stays as it is.

    Args:
        network: whose backbone is read, in evaluation mode.
        tasks: what to read off it; they need not be the network's own.
        taps: where, as :func:`lomt.diagnosis.places` gives them.
        train: seed → training batches, one for each step.
        validation: batches.
        seeds: one probe each; they differ in the images that they learn from.
        device: where to compute.

    Raises:
        ValueError: no taps, or no validation batch with a task's label.
    """
    if not taps:
        raise ValueError("no taps to probe – name one module of the backbone or more")
    network = network.to(device)
    with evaluating(network), torch.random.fork_rng(), torch.enable_grad():
        fitted = [_fit(network, tasks, taps, list(train(seed)), device) for seed in seeds]
        losses = _judge(network, fitted, tasks, taps, validation, device)
    return [
        ProbeCurve(
            task.name,
            tuple(taps),
            tuple(tuple(loss[task.name, tap] for loss in losses) for tap in taps),
            tuple(loss[task.name, BLANK] for loss in losses),
        )
        for task in tasks
    ]


class Probe(nn.Module):
    """Standardized features ``(N, c, h, w)`` → a task's raw output."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, variance: Tensor, task: Task) -> None:
        super().__init__()
        self.dense = task.dense
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        # Divided by √c, a step of one length moves the output as far however many channels are read. A dead channel
        # is 0 everywhere, and stays so.
        scale = torch.where(variance > 0, (len(mean) * variance).rsqrt(), 0.0)
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.read = nn.Conv2d(len(mean), task.channels, 1)
        nn.init.zeros_(self.read.weight)
        nn.init.constant_(self.read.bias, 0.01)  # type: ignore[arg-type]  # not 0, which is no direction

    def forward(self, maps: Tensor, size: torch.Size) -> Tensor:
        """``(N, channels, *size)``, or ``(N, channels)`` where the task is not dense."""
        standardized = (maps - self.mean) * self.scale
        if not self.dense:
            return self.read(standardized.mean((2, 3), keepdim=True)).flatten(1)
        return resize(self.read(standardized), size)


Probes = dict[tuple[str, str], Probe]
"""(task's name, tap) → probe."""


def _fit(
    network: Network, tasks: Sequence[Task], taps: Sequence[str], batches: Sequence[Batch], device: str | torch.device
) -> Probes:
    first = batches[:STATISTICS]
    statistics = _statistics([_read(network, batch, taps, device) for batch in first])
    probes = {(task.name, tap): Probe(*statistics[tap], task).to(device) for task in tasks for tap in statistics}
    constants = {key: one for key, one in probes.items() if key[1] == BLANK}
    _learn(constants, tasks, batches[:CONSTANT_STEPS], lambda batch: {BLANK: _nothing(batch, device)}, device)
    for (name, _), one in probes.items():
        one.read.bias.data.copy_(constants[name, BLANK].read.bias.data)  # type: ignore[union-attr]
    _learn(probes, tasks, batches, lambda batch: _read(network, batch, taps, device), device)
    return probes


def _learn(
    probes: Probes,
    tasks: Sequence[Task],
    batches: Sequence[Batch],
    maps: Callable[[Batch], Mapping[str, Tensor]],
    device: str | torch.device,
) -> None:
    """One step a batch, each probe by itself: they share no parameter, so the sum's gradient is each one's own."""
    optimizer = torch.optim.Adam([parameter for one in probes.values() for parameter in one.parameters()])
    warm = WARMUP * len(batches)
    for step, batch in enumerate(batches):
        losses = _losses(probes, tasks, maps(batch), batch, device)
        if losses:
            optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / warm) * (1 - step / len(batches))
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()


@torch.no_grad()
def _judge(
    network: Network,
    fitted: Sequence[Probes],
    tasks: Sequence[Task],
    taps: Sequence[str],
    validation: Iterable[Batch],
    device: str | torch.device,
) -> list[dict[tuple[str, str], float]]:
    """For each seed's probes, the mean loss over the images of batches that have the label."""
    totals: list[dict[tuple[str, str], float]] = [dict.fromkeys(probes, 0.0) for probes in fitted]
    images = dict.fromkeys((task.name for task in tasks), 0)
    for batch in validation:
        maps = _read(network, batch, taps, device)
        for name in images.keys() & batch.keys():
            images[name] += len(batch["image"])
        for total, probes in zip(totals, fitted, strict=True):
            for key, loss in _losses(probes, tasks, maps, batch, device).items():
                total[key] += loss.item() * len(batch["image"])
    unlabelled = [name for name, count in images.items() if not count]
    if unlabelled:
        raise ValueError(f"no validation batch has a label of task {unlabelled[0]!r} – its probes can't be judged")
    return [{key: value / images[key[0]] for key, value in total.items()} for total in totals]


def _losses(
    probes: Probes, tasks: Sequence[Task], maps: Mapping[str, Tensor], batch: Batch, device: str | torch.device
) -> dict[tuple[str, str], Tensor]:
    losses = {}
    for task in tasks:
        if task.name in batch:
            target = batch[task.name].to(device)
            for tap, features_ in maps.items():
                output = probes[task.name, tap](features_, batch["image"].shape[-2:])
                losses[task.name, tap] = task.loss(output, target)
    return losses


def _read(network: Network, batch: Batch, taps: Sequence[str], device: str | torch.device) -> dict[str, Tensor]:
    return features(network, batch["image"].to(device), taps) | {BLANK: _nothing(batch, device)}


def _nothing(batch: Batch, device: str | torch.device) -> Tensor:
    return torch.zeros(len(batch["image"]), 1, 1, 1, device=device)


def _statistics(maps: Sequence[Mapping[str, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of each channel, at every tap."""
    found = {}
    for tap in maps[0]:
        channels = torch.cat([one[tap].transpose(0, 1).flatten(1) for one in maps], 1).double()
        found[tap] = (channels.mean(1).float(), channels.var(1, unbiased=False).float())
    return found
