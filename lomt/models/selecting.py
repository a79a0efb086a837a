"""A network in which every task still reads all candidate taps, and what becomes of it once each has chosen."""

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lomt.models.catalogue import MakeDecoder
from lomt.models.network import Network, brought, checked_names, wanted_tasks
from lomt.models.resize import resize
from lomt.models.taps import Tap, example_for, find
from lomt.models.taps import taps as list_taps
from lomt.models.truncate import truncate
from lomt.nn import TapSelector
from lomt.tasks.base import Task


class SelectingNetwork(nn.Module):
    """One backbone, a :class:`lomt.nn.TapSelector` on its candidate taps, and a decoder for each task.

    Args:
        backbone: any module that maps images; its values are copied.
        tasks: with different names.
        candidates: names of modules of the backbone, from shallow to deep.
        decoder: makes a decoder from (channels, task).
        width: channels of what each decoder reads.
        example: images for the dry run; by default one RGB image of 64×64.
        size_of: the candidate whose maps' size decoders read; the finest, if it is not named.

    Attributes:
        backbone: the cut backbone; called alone, it gives ``{tap: features}``.
        selector: the layer that selects.
        decoders: task name → decoder.
        tasks: the tasks, as given.
        found: the candidates, with widths and strides.

    Raises:
        ValueError: a task, a tap or a decoder does not fit; or a dense task could be left with a map of one pixel.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tasks: Iterable[Task],
        candidates: Sequence[str],
        decoder: MakeDecoder,
        width: int = 64,
        example: Tensor | None = None,
        size_of: str | None = None,
    ) -> None:
        super().__init__()
        self.tasks = list(tasks)
        names = checked_names(self.tasks)
        image = example_for(backbone, example)
        places = {tap.name: tap for tap in list_taps(backbone, image)}
        self.found = tuple(find(backbone, name, places) for name in candidates)
        check_extent(self.found, self.tasks)
        self.backbone = truncate(copy.deepcopy(backbone), [tap.name for tap in self.found], image)
        self.backbone.channels_last = frozenset(tap.name for tap in self.found if tap.channels_last)
        channels = {tap.name: tap.channels for tap in self.found}
        self.selector = TapSelector(channels, names, width, size_of or finest(self.found)).to(image)
        self.decoders = nn.ModuleDict({task.name: decoder(width, task).to(image) for task in self.tasks})
        self.taps = {name: tuple(tap.name for tap in self.found) for name in names}
        self.train(backbone.training)

    def forward(self, image: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """As :class:`lomt.models.Network`: ``(N, 3, H, W)`` to task name → output."""
        wanted = wanted_tasks(self.tasks, tasks)
        maps = self.selector(self.backbone(image), [task.name for task in wanted])
        return {task.name: brought(self.decoders[task.name](maps[task.name]), task, image) for task in wanted}

    def harden(self, backbone: nn.Module, example: Tensor | None = None) -> Network:
        """The network without what is dead: each task reads the taps that it has kept, and all weights are kept.

        With one tap a task it computes just what this one does, on images whose sides the strides divide. Of several,
        maps are concatenated at the size of the finest, so that where strides differ it starts a little off.

        Args:
            backbone: as it was given; its weights do not matter.
            example: as it was given.
        """
        taps = {task.name: list(self.selector.surviving(task.name)) for task in self.tasks}
        strides = {tap.name: tap.stride for tap in self.found}
        readers = {
            task.name: reading(self.selector, task.name, self.decoders[task.name], strides) for task in self.tasks
        }
        network = Network(backbone, self.tasks, taps, readers, example)
        ours = self.backbone.state_dict()
        network.backbone.load_state_dict({name: ours[name] for name in network.backbone.state_dict()})
        return network.train(self.training)


def reading(selector: TapSelector, task: str, decoder: nn.Module, strides: Mapping[str, int]) -> "Reading":
    """A task's decoder behind what a selector has left of its projections.

    Args:
        selector: where the task has chosen.
        task: its name.
        decoder: copied.
        strides: of the taps.
    """
    kept = selector.surviving(task)
    numbers = [selector.taps.index(tap) for tap in kept]
    norms = [selector.norms[number] for number in numbers]
    weights = torch.cat([selector.weights[task][number].detach() for number in numbers], 1)
    scale = min(strides[tap] for tap in kept) / strides[selector.size_of]
    made = Reading(weights.shape[1], weights.shape[0], copy.deepcopy(decoder), scale)
    with torch.no_grad():
        made.project.weight.copy_(weights)
        made.project.bias.copy_(selector.biases[task])  # type: ignore[union-attr]
        for name in ("running_mean", "running_var"):
            getattr(made.norm, name).copy_(torch.cat([getattr(norm, name) for norm in norms]))
    return made.to(weights)


class Reading(nn.Module):
    """A decoder behind the projection that a :class:`SelectingNetwork` has learned for it.

    Args:
        in_channels: channels of the tap, or of all of a task's taps.
        width: channels that the decoder reads.
        decoder: what reads them.
        scale: how many times larger the decoder's maps are than the tap's; below 1, they are averages.
    """

    def __init__(self, in_channels: int, width: int, decoder: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.norm = nn.BatchNorm2d(in_channels, affine=False)
        self.project = nn.Conv2d(in_channels, width, 1)
        self.decoder = decoder

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, h, w)`` to what the decoder makes of it."""
        if self.scale < 1:
            features = F.avg_pool2d(features, round(1 / self.scale), ceil_mode=True)
        read = self.project(self.norm(features))
        if self.scale > 1:
            read = resize(read, [round(side * self.scale) for side in read.shape[-2:]])
        return self.decoder(read)


def finest(taps: Sequence[Tap]) -> str:
    """The tap with the finest maps; of several the first."""
    return min(taps, key=lambda tap: tap.stride).name


def check_extent(candidates: Sequence[Tap], tasks: Sequence[Task]) -> None:
    """A dense task must not be left with a map of one pixel.

    Raises:
        ValueError: a candidate has no more.
    """
    dense = [task.name for task in tasks if task.dense]
    point = next((tap.name for tap in candidates if max(tap.shape[-2:]) == 1), None)
    if dense and point:
        raise ValueError(
            f"tap {point!r} has no spatial extent, its maps are of 1×1, but task {dense[0]!r} is dense: leave it out "
            "of the candidates"
        )
