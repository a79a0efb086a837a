"""One backbone, cut to what the tasks need, and a decoder for each task at its tap."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lomt.models.catalogue import DECODERS, MakeDecoder, decoder
from lomt.models.decoder import Decoder
from lomt.models.resize import resize
from lomt.models.spelling import did_you_mean
from lomt.models.taps import Tap, example_for, find
from lomt.models.taps import taps as list_taps
from lomt.models.truncate import truncate
from lomt.nn.shared_reading import reading_together
from lomt.tasks.base import Task

Decoders = None | str | Mapping[str, "str | MakeDecoder | nn.Module"] | MakeDecoder


class Network(nn.Module):
    """A multi-task network: each task's decoder reads the backbone at the task's own tap or taps.

    The backbone runs once and only as deep as its deepest tap; what lies beyond, also within a tapped block, is not
    in the network at all. Parameters keep their names, under ``backbone.``. Several tasks may share a tap. The
    features of several taps of one task are resized to the finest of them and concatenated. A module that is called
    several times in a forward pass is tapped at its last call.

    Args:
        backbone: any module that maps images; stays as it is, its values are copied.
        tasks: with different names.
        taps: task name → name of a module of the backbone (or several), as :func:`lomt.taps` lists them.
        decoders: for all tasks or by task name: a name (``"deeplab"``, ``"light"``, ``"head"``); a class or function
            ``(in_channels, task) -> nn.Module``; by task name also a ready module, used as it is. One name for all
            serves the tasks of its kind. What is left open gets the default, ``deeplab`` if dense, else ``head``.
        example: images for the dry run, of a size that the backbone accepts; by default one RGB image of 64×64.

    Attributes:
        backbone: the cut backbone; called alone, it gives ``{tap: features}``.
        decoders: task name → decoder (``nn.ModuleDict``).
        tasks: the tasks, as given.
        taps: task name → names of its taps.

    Raises:
        ValueError: if a task, tap or decoder is unknown or does not fit, or the backbone can't run the example.

    Example:
        >>> from lomt.models import backbone
        >>> from lomt.tasks import Classification, Depth
        >>> tasks = [Depth("depth"), Classification("room", 4)]
        >>> net = Network(backbone("resnetd18", width=8), tasks, {"depth": "layer2.0.conv2", "room": "layer3"})
        >>> {name: tuple(output.shape) for name, output in net.eval()(torch.zeros(2, 3, 48, 64)).items()}
        {'depth': (2, 1, 48, 64), 'room': (2, 4)}
        >>> any("layer4" in name for name in net.state_dict())
        False
    """

    def __init__(
        self,
        backbone: nn.Module,
        tasks: Iterable[Task],
        taps: Mapping[str, str | Sequence[str]],
        decoders: Decoders = None,
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.tasks = list(tasks)
        names = checked_names(self.tasks)
        _check_keys("taps", taps, names, complete=True)
        if isinstance(decoders, Mapping):
            _check_keys("decoders", decoders, names, complete=False)
        _check_weights(backbone)
        image = example_for(backbone, example)
        candidates = {tap.name: tap for tap in list_taps(backbone, image)}
        chosen = {name: _find_all(backbone, name, taps[name], candidates) for name in names}
        used = {tap.name for found in chosen.values() for tap in found}
        self.taps = {name: tuple(tap.name for tap in found) for name, found in chosen.items()}
        self.backbone = truncate(copy.deepcopy(backbone), [tap for tap in candidates if tap in used], image)
        self.backbone.channels_last = frozenset(tap for tap in used if candidates[tap].channels_last)
        self.decoders = nn.ModuleDict()
        for task in self.tasks:
            made = _make_decoder(task, sum(tap.channels for tap in chosen[task.name]), decoders)
            self.decoders[task.name] = made.to(image)
            _check_output(task, made, chosen[task.name], image)
        self.train(backbone.training)

    def forward(self, image: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Run the backbone once, as deep as the asked tasks need, and their decoders.

        Args:
            image: ``(N, 3, H, W)``.
            tasks: names of the tasks wanted; by default all.

        Returns:
            Task name → ``(N, C, H, W)`` for dense tasks (bilinear from the decoder's resolution), else ``(N, C)``;
            float32 under autocast.

        Raises:
            ValueError: if a task is unknown.
        """
        wanted = wanted_tasks(self.tasks, tasks)
        features = self.backbone(image, [tap for task in wanted for tap in self.taps[task.name]])
        read = dict.fromkeys(self.taps[task.name] for task in wanted)
        maps = {taps: _joined([features[tap] for tap in taps]) for taps in read}
        outputs = {}
        with reading_together(self._readers(wanted)):
            for task in wanted:
                output = self.decoders[task.name](maps[self.taps[task.name]])
                outputs[task.name] = brought(output, task, image)
        return outputs

    def with_task(self, task: Task, taps: Sequence[Tap], decoder: nn.Module) -> "Network":
        """This network with one task more; what it had is shared with it, and computes what it did.

        Args:
            task: with a name of its own.
            taps: of ``lomt.taps(network.backbone)``; several are concatenated, at the size of the finest.
            decoder: reads them.

        Raises:
            ValueError: the name is taken, or the backbone can't be tapped there.
        """
        checked_names([*self.tasks, task])
        more = copy.copy(self)
        more.__dict__ = {**self.__dict__, "_modules": dict(self._modules)}
        more.backbone = self.backbone.also(taps)
        more.decoders = nn.ModuleDict({**self.decoders, task.name: decoder})
        more.tasks, more.taps = [*self.tasks, task], {**self.taps, task.name: tuple(tap.name for tap in taps)}
        return more

    def _readers(self, wanted: Iterable[Task]) -> list[list[nn.Module]]:
        """For each of the maps that decoders read, which of their layers do so."""
        found: dict[tuple[str, ...], list[nn.Module]] = {}
        for task in wanted:
            decoder = self.decoders[task.name]
            if isinstance(decoder, Decoder):
                found.setdefault(self.taps[task.name], []).extend(decoder.readers())
        return list(found.values())


def brought(output: Tensor, task: Task, image: Tensor) -> Tensor:
    """A decoder's output at the image's resolution, if the task is dense, and in float32 under autocast."""
    if torch.is_autocast_enabled(image.device.type):
        output = output.float()  # metres and probabilities need more than the 8 bits of bfloat16
    return resize(output, image.shape[-2:]) if task.dense and output.shape[-2:] != image.shape[-2:] else output


def wanted_tasks(tasks: list[Task], names: Iterable[str] | None) -> list[Task]:
    """The tasks of these names; all if none is given.

    Raises:
        ValueError: a name is unknown.
    """
    if names is None:
        return tasks
    asked, known = [names] if isinstance(names, str) else list(names), [task.name for task in tasks]
    for name in asked:
        if name not in known:
            raise ValueError(f"unknown task {name!r}: the network has {', '.join(known)}{did_you_mean(name, known)}")
    return [task for task in tasks if task.name in asked]


def _check_weights(backbone: nn.Module) -> None:
    for name, part in backbone.named_modules():
        computed = [key for key, value in vars(part).items() if isinstance(value, Tensor) and not value.is_leaf]
        if computed:
            raise ValueError(
                f"{computed[0]!r} of {name or 'the backbone'!r} is computed by a hook, so that it can't be copied: "
                "make it a parameter first, as with torch.nn.utils.prune.remove or remove_weight_norm"
            )


def _joined(features: list[Tensor]) -> Tensor:
    if len(features) == 1:
        return features[0]
    finest = max((map_.shape[-2:] for map_ in features), key=lambda size: size[0] * size[1])
    return torch.cat([map_ if map_.shape[-2:] == finest else resize(map_, finest) for map_ in features], 1)


def checked_names(tasks: Sequence[Task]) -> list[str]:
    """The names of a network's tasks.

    Raises:
        ValueError: there are none, or two have the same name.
    """
    names = [task.name for task in tasks]
    if not names:
        raise ValueError("a network needs at least one task")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{names.count(name)} tasks are called {name!r}: give each a name of its own")
    return names


def _check_keys(what: str, given: object, names: Sequence[str], *, complete: bool) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is {given!r}: give a mapping from task names ({', '.join(names)}) to module names")
    for key in given:
        if key not in names:
            raise ValueError(
                f"{what} names an unknown task {key!r}: the tasks are {', '.join(names)}{did_you_mean(key, names)}"
            )
    missing = [name for name in names if complete and name not in given]
    if missing:
        raise ValueError(f"{what} has nothing for task {missing[0]!r}: name a module of the backbone for every task")


def _find_all(
    backbone: nn.Module, task: str, names: str | Sequence[str], candidates: Mapping[str, Tap]
) -> tuple[Tap, ...]:
    listed = [names] if isinstance(names, str) else list(names)
    found = tuple(dict.fromkeys(find(backbone, name, candidates) for name in listed))
    if not found:
        raise ValueError(f"task {task!r} has an empty list of taps: name at least one module of the backbone")
    return found


def _make_decoder(task: Task, channels: int, decoders: Decoders) -> nn.Module:
    single = isinstance(decoders, Mapping)
    choice = decoders.get(task.name) if isinstance(decoders, Mapping) else decoders
    if isinstance(choice, nn.Module):
        return choice
    if choice is None or isinstance(choice, str):
        make: Callable[[int, Task], nn.Module] = decoder(choice)
        if single and choice in DECODERS:
            make = DECODERS[choice]
        choice = make
    if not callable(choice):
        raise TypeError(f"decoder {choice!r} of task {task.name!r}: give a name, a class or function, or a module")
    made = choice(channels, task)
    if not isinstance(made, nn.Module):
        raise TypeError(f"the decoder made for task {task.name!r} is a {type(made).__name__}, not an nn.Module")
    return made


def _check_output(task: Task, made: nn.Module, found: Sequence[Tap], image: Tensor) -> None:
    """Run a decoder on empty features: shapes must fit before anything is trained. Built-in ones say theirs."""
    count = image.shape[0]
    if type(made) in DECODERS.values():
        decoder: Any = made
        if (decoder.in_channels, decoder.channels) == (sum(tap.channels for tap in found), task.channels):
            return
    features = [image.new_zeros(tap.shape) for tap in found]
    made.eval()
    try:
        with torch.no_grad():
            output = made(_joined(features))
    except RuntimeError as error:
        shape = tuple(_joined(features).shape)
        raise ValueError(f"the decoder of task {task.name!r} can't read features of shape {shape}: {error}") from error
    fits = output.shape[:2] == (count, task.channels) and output.dim() == (4 if task.dense else 2)
    if not fits:
        wanted = f"({count}, {task.channels}, h, w)" if task.dense else f"({count}, {task.channels})"
        raise ValueError(f"the decoder of task {task.name!r} gives {tuple(output.shape)}, but the task wants {wanted}")
