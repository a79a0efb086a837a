"""A task more for a network that is trained: everything else is frozen, and the task selects its taps and channels."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lomt.checks import check_whole
from lomt.data import Source
from lomt.data.shots import shots as drawn
from lomt.data.source import Draw, Split
from lomt.models import MakeDecoder, Network, decoder, taps
from lomt.models.network import brought, checked_names
from lomt.models.selecting import check_extent, finest, reading
from lomt.models.taps import Tap
from lomt.models.truncated import Truncated
from lomt.modes import evaluating
from lomt.nn import TapSelector
from lomt.optim import ProxAdamW
from lomt.selection import TapPath, TapSearch
from lomt.selection.tap_search import spread
from lomt.sparsity import pattern
from lomt.tasks import Task
from lomt.training import seed_everything

_LOG = logging.getLogger("lomt")

VIEWS, BYTES = 1024, 2**30
"""Augmented images of the shots that are looked at, at most, and what their maps may take."""
BATCH = 16


def add_task(
    network: Network,
    task: Task,
    data: Source,
    shots: int | None = None,
    *,
    search: TapSearch | None = None,
    keep: int = 4,
    make_decoder: MakeDecoder | None = None,
    steps: int = 400,
    lr: float = 3e-3,
    seed: int = 0,
) -> Network:
    """Teach a trained network one task more, from a few labelled images, in seconds to minutes.

    The network is frozen and runs once on each image; on its maps a :class:`lomt.nn.TapSelector` and a decoder are
    trained, while the task loses its taps one by one. It may keep several of them, since a backbone that does not learn
    does not bring all that a task needs to one place. The old tasks' outputs stay what they are, bit for bit.

    Args:
        network: trained; stays as it is, and shares its weights with what is returned.
        task: a task of ``data`` that the network does not have.
        data: where the shots come from: its training split, and its augmentation.
        shots: so many labelled images, drawn by ``seed``, of all classes alike where the task has classes; None: all.
        search: how the taps are searched for; its candidates are named as ``lomt.taps(network.backbone)`` lists them,
            by default what the stem and each block compute last. Its ``finish`` and ``depth_price`` say nothing here:
            there is no second training, and the backbone runs as deep as before.
        keep: taps that the task reads in the end; fewer where there are fewer candidates.
        make_decoder: makes the decoder from (channels, task); by default ``deeplab`` as wide as the search, or ``head``
            for image-level tasks. A decoder that sees little around a pixel can't use fine taps, and won't choose them.
        steps: of the optimizer.
        lr: peak learning rate.
        seed: of the shots, the weights and the order of the images.

    Returns:
        The network with the task, in the mode in which it was.

    Raises:
        ValueError: the network has the task, the data does not, no image has a label of it, or the network's backbone
            can't be traced.
    """
    check_whole("steps", steps, 1)
    check_whole("keep", keep, 1)
    if shots is not None:
        check_whole("shots", shots, 1)
    checked_names([*network.tasks, task])
    search = search or TapSearch(width=32)
    split = data.split("train")
    indices = drawn(split, task, shots, seed)
    split = split.of([task.name])
    like = next(network.parameters())
    with evaluating(network), torch.no_grad():
        found = _candidates(network, search, split[indices[0]]["image"][None].to(like.device))
        check_extent(found, [task])
        names = [tap.name for tap in found]
        size = sum(4 * tap.channels * tap.shape[2] * tap.shape[3] for tap in found)
        seed_everything("add task", seed)
        maps, labels, image = _views(network.backbone.also(found), names, split, _repeated(indices, size), task)
    make = make_decoder or decoder("deeplab", width=search.width)
    selector = TapSelector({tap.name: tap.channels for tap in found}, [task.name], search.width, finest(found)).to(like)
    head = make(search.width, task).to(like)
    # As in the group lasso (Yuan and Lin 2006): the wider a map that stays as it is, the better it fits by chance.
    widest = max(tap.channels for tap in found)
    prices = {tap.name: (tap.channels / widest) ** 0.5 for tap in found}
    path = TapPath(selector, keep, search.mix, search.begin, search.end, prices)
    _train(selector, head, path, (maps, labels, image), task, steps, lr)
    _LOG.info("task %r: %s", task.name, path.selection(task.name).reason)
    made = reading(selector, task.name, head, {tap.name: tap.stride for tap in found})
    kept = selector.surviving(task.name)
    return network.with_task(task, [tap for tap in found if tap.name in kept], made.train(network.training))


def _candidates(network: Network, search: TapSearch, example: Tensor) -> list[Tap]:
    """Where the frozen backbone can be tapped: what its stem and each of its blocks compute last, or as asked for."""
    there = {tap.name: tap for tap in taps(network.backbone, example)}
    if search.candidates:
        unknown = [name for name in search.candidates if name not in there]
        if unknown:
            raise ValueError(f"no candidate {unknown[0]!r}: see lomt.taps(network.backbone, example)")
        return [there[name] for name in search.candidates]
    blocks = dict.fromkeys(layer.block for layer in pattern(network, example).ranked if layer.block_end)
    inside = [[name for name in there if name == block or name.startswith(f"{block}.")] for block in blocks]
    inside = [names for names in inside if names]
    order = list(there)
    stem = order[: order.index(inside[0][0])][-1:] if inside else []
    return [there[name] for name in (*stem, *spread([names[-1] for names in inside]))]


def _repeated(indices: Sequence[int], size: int) -> list[int]:
    """The shots, over and over: each time they are augmented in another way."""
    most = max(len(indices), min(VIEWS, BYTES // max(1, size)))
    return [index for _ in range(max(1, most // len(indices))) for index in indices]


def _views(
    backbone: Truncated, names: Sequence[str], split: Split, indices: Sequence[int], task: Task
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The frozen maps of augmented shots, their labels, and one of the images, for its size."""
    device = next(backbone.parameters()).device
    maps: dict[str, list[Tensor]] = {name: [] for name in names}
    labels: list[Tensor] = []
    for start in range(0, len(indices), BATCH):
        batch = split.__getitems__(Draw(indices[start : start + BATCH], int(torch.randint(2**62, ()))))
        image = batch["image"].to(device)
        for name, features in backbone(image, names).items():
            maps[name].append(features)
        labels.append(batch[task.name].to(device))
    return {name: torch.cat(parts) for name, parts in maps.items()}, torch.cat(labels), image[:1]


def _train(
    selector: TapSelector,
    head: nn.Module,
    path: TapPath,
    views: tuple[dict[str, Tensor], Tensor, Tensor],
    task: Task,
    steps: int,
    lr: float,
) -> None:
    maps, labels, image = views
    optimizer = ProxAdamW([*path.groups(), {"params": list(head.parameters())}], lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, max(2, steps), cycle_momentum=False)
    order = torch.empty(0, dtype=torch.long)
    selector.train(), head.train()
    for step in range(steps):
        if not len(order):
            order = torch.randperm(len(labels))
        batch, order = order[:BATCH].to(labels.device), order[BATCH:]
        read = selector({name: values[batch] for name, values in maps.items()})[task.name]
        loss = task.loss(brought(head(read), task, image), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        path.step((step + 1) / steps)
    selector.eval(), head.eval()
