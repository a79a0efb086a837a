"""What all stages of a run share: data, tasks, and how networks are made and trained."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from lomt.compaction import compact
from lomt.data import Source
from lomt.evaluation import Cost, cost, device_of
from lomt.files import read_record, write_record
from lomt.models import Network, SelectingNetwork, Tap, taps, truncate
from lomt.models.selecting import Reading
from lomt.selection import TapSearch
from lomt.selection.tap_search import spread
from lomt.sparsity import pattern
from lomt.tasks import Task
from lomt.training import Recipe, seed_everything
from lomt.training.stored import load, save

WEIGHTS = "weights.pt"
READINGS = "readings.json"
"""What is behind a hardened network's taps, beside its weights."""

_LOG = logging.getLogger("lomt")


@dataclass
class Setup:
    """The ingredients of a run.

    Attributes:
        source: where the data comes from; ``setup`` has been called before a stage runs.
        tasks: what is learned, a part of the source's tasks or all of them.
        backbone: makes a fresh backbone.
        decoder: makes a fresh decoder from (channels, task).
        recipe: how every network is trained.
        stages: the folder in which every stage has its own.
        accelerator: Lightning's name of the device: "auto", "cpu", "gpu".

    Raises:
        ValueError: no tasks, one of them twice, one that the source has no labels of, or a device that isn't there.
    """

    source: Source
    tasks: Sequence[Task]
    backbone: Callable[[], nn.Module]
    decoder: Callable[[int, Task], nn.Module]
    recipe: Recipe
    stages: Path
    accelerator: str = "auto"
    _task_by_name: dict[str, Task] = field(init=False, repr=False)
    _costs: dict[tuple[tuple[str, str], ...], Cost] = field(init=False, repr=False, default_factory=dict)
    _built: dict[tuple[tuple[str, str], ...], Network] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        device_of(self.accelerator)
        labels = [task.name for task in self.source.tasks]
        names = [task.name for task in self.tasks]
        if not names:
            raise ValueError(f"there are no tasks to learn: name some of the data's, {', '.join(labels)}")
        for name in names:
            if name not in labels:
                raise ValueError(f"unknown task {name!r} – the data has {', '.join(labels)}")
            if names.count(name) > 1:
                raise ValueError(f"task {name!r} is there {names.count(name)} times: name each task once")
        self._task_by_name = dict(zip(names, self.tasks, strict=True))

    @cached_property
    def example(self) -> Tensor:
        """One image of the source's size, ``(1, 3, H, W)``, for dry runs."""
        height, width = self.source.size
        return torch.zeros(1, 3, height, width)

    @cached_property
    def candidates(self) -> list[Tap]:
        """Every place of the backbone where a decoder could be attached, in execution order."""
        return taps(self.backbone(), self.example)

    @cached_property
    def resists(self) -> str | None:
        """Why networks on this backbone can't be compacted, nor be written as files; none where they can."""
        network = self.network(dict.fromkeys(self.task_names, self.end)).eval()
        try:
            compact(network, self.example)
        except (ValueError, TypeError, RuntimeError) as error:
            said = f"networks on this backbone can't be compacted or exported: {str(error).splitlines()[0]}"
            _LOG.warning(said)
            return said
        return None

    @property
    def device(self) -> torch.device:
        """Where networks are tested: the GPU, if training may use one and there is one."""
        return device_of(self.accelerator)

    @property
    def end(self) -> str:
        """The backbone's last output, where conventional networks have their decoders."""
        return self.candidates[-1].name

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in order."""
        return list(self._task_by_name)

    def network(self, attach: Mapping[str, str], seed: int = 0, weights: Mapping[str, float] | None = None) -> Network:
        """A fresh network, initialized from ``seed``.

        Args:
            attach: task name → tap; the tasks that it learns.
            seed: of the weights.
            weights: how much a task counts beyond its own weight, 1 where none is given.
        """
        seed_everything("network", seed)
        return Network(
            self.backbone(),
            [self._weighted(self._task_by_name[name], (weights or {}).get(name, 1.0)) for name in attach],
            dict(attach),
            decoders=self.decoder,
            example=self.example,
        )

    def selecting(self, search: TapSearch, seed: int) -> SelectingNetwork:
        """A fresh network in which every task reads all candidates of a search."""
        seed_everything("network", seed)
        backbone = self.backbone()
        candidates = search.candidates or spread(self.blocks)
        size_of = None if search.stride == "finest" else candidates[-1]
        return SelectingNetwork(backbone, self.tasks, candidates, self.decoder, search.width, self.example, size_of)

    @cached_property
    def blocks(self) -> list[str]:
        """The outputs of the backbone's residual blocks, from shallow to deep; of layers where it has none."""
        ranked = pattern(self.backbone(), self.example).ranked
        return list(dict.fromkeys(layer.block for layer in ranked if layer.block_end))

    def depth(self, tap: str) -> float:
        """Multiply-accumulates of the backbone as deep as a tap."""
        return float(cost(truncate(self.backbone(), [tap], self.example), self.example).macs)

    def probed(self, network: Network, candidates: Sequence[str]) -> nn.Module:
        """The backbone of a trained network whose decoder is at the end, as it gives the maps of all candidates."""
        backbone = self.backbone()
        backbone.load_state_dict(network.backbone.state_dict(), strict=False)  # a classifier behind the end has no part
        return truncate(backbone.eval(), candidates, self.example)

    @staticmethod
    def _weighted(task: Task, factor: float) -> Task:
        weighted = copy.copy(task)
        weighted.weight = task.weight * factor
        return weighted

    def cost(self, attach: Mapping[str, str]) -> Cost:
        """Parameters, and multiply-accumulates of one forward pass, of the network with these taps."""
        key = tuple(attach.items())
        if key not in self._costs:
            self._costs[key] = cost(self._like(attach), self.example)
        return self._costs[key]

    def _like(self, attach: Mapping[str, str]) -> Network:
        """A network with these taps, and any weights: copied, since to build one takes longer."""
        key = tuple(attach.items())
        if key not in self._built:
            self._built[key] = self.network(attach)
        return copy.deepcopy(self._built[key])

    def keep(self, network: Network, folder: Path) -> None:
        """Write a trained network's weights, for :meth:`trained`; it is on the CPU and in evaluation mode then."""
        network.cpu().eval()
        found = {name: one for name, one in network.decoders.items() if isinstance(one, Reading)}
        if found:
            width = next(iter(found.values())).project.out_channels
            write_record(
                folder / READINGS, {"width": width, "scales": {name: one.scale for name, one in found.items()}}
            )
        save(network.state_dict(), folder / WEIGHTS)

    def trained(self, stage: str, attach: Mapping[str, str]) -> Network:
        """The network that the training stage ``stage`` left, in evaluation mode.

        Raises:
            FileNotFoundError: its weights are not there.
            DamagedFileError: they are not what was written.
        """
        file, again = self.stages / stage / WEIGHTS, f"remove {self.stages / stage} and run again to repeat that stage"
        readings = file.with_name(READINGS)
        network = self._reading(attach, **read_record(readings, again)) if readings.exists() else self._like(attach)
        network.load_state_dict(load(file, again))
        return network.eval()

    def _reading(self, attach: Mapping[str, str], width: int, scales: Mapping[str, float]) -> Network:
        """A network whose decoders stand behind the projections that a search has left."""

        def make(channels: int, task: Task) -> nn.Module:
            return Reading(channels, width, self.decoder(width, task), scales[task.name])

        tasks = [self._task_by_name[name] for name in attach]
        return Network(self.backbone(), tasks, dict(attach), decoders=make, example=self.example)
