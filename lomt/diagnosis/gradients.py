"""Each task's own gradient at every shared layer: all that conflict and imbalance are judged by."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lomt.models import Network


@dataclass(frozen=True)
class LayerGradients:
    """The inner products of the tasks' gradients with respect to one layer's weight.

    Attributes:
        name: of the layer, within the backbone.
        parameters: how many numbers its weight has.
        products: ``(batches, tasks, tasks)`` float64, ⟨gₛ, gₜ⟩ of the unweighted losses; NaN for a task that does not
            reach the layer, or has no label in the batch.
    """

    name: str
    parameters: int
    products: Tensor

    def reached(self, task: int) -> bool:
        """Whether a task has a gradient here in any batch."""
        return bool(self.products[:, task, task].isfinite().any())


@dataclass(frozen=True)
class Gradients:
    """What the tasks want of the layers that they share.

    Attributes:
        tasks: their names, in the order of ``products``.
        layers: the layers that two tasks or more reach, in the backbone's order.
        batches: how many batches were measured.
        images: how many images they held.
    """

    tasks: tuple[str, ...]
    layers: tuple[LayerGradients, ...]
    batches: int
    images: int


def gradients(
    network: Network,
    batches: Iterable[Mapping[str, Tensor]],
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> Gradients:
    """Backpropagate every task's loss by itself, in train mode, and compare what arrives at the shared layers.

    Layers are the modules of the backbone with a weight of two dimensions or more: convolutions and linear layers.
    A layer beyond a task's tap is out of that task's reach. Dropout draws from ``seed``; neither the network nor
    torch's random numbers are changed.

    Args:
        network: with the weights at which to look.
        batches: training batches, as the network was trained on.
        device: where to compute.
        seed: of dropout.

    Raises:
        ValueError: no batches, or fewer than two tasks.
    """
    names = [task.name for task in network.tasks]
    if len(names) < 2:
        raise ValueError(f"a network for {names[0]!r} alone shares nothing – give one of two tasks or more")
    network = copy.deepcopy(network).to(device).train()
    weights = _weights(network.backbone)
    found: dict[str, list[Tensor]] = {name: [] for name in weights}
    images = 0
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        for batch in batches:
            images += len(batch["image"])
            for layer, products in _products(network, weights, batch, device).items():
                found[layer].append(products)
    if not images:
        raise ValueError("no batches – gradients are measured on one training batch or more")
    layers = [LayerGradients(name, weights[name].numel(), torch.stack(products)) for name, products in found.items()]
    shared = [layer for layer in layers if sum(layer.reached(task) for task in range(len(names))) > 1]
    return Gradients(tuple(names), tuple(shared), len(next(iter(found.values()))), images)


def _weights(backbone: nn.Module) -> dict[str, nn.Parameter]:
    """The weight of every convolution and linear layer, by the layer's name; one that is used twice counts once."""
    return {
        name.rpartition(".")[0]: parameter
        for name, parameter in backbone.named_parameters()
        if parameter.ndim > 1 and parameter.requires_grad
    }


def _products(
    network: Network, weights: Mapping[str, nn.Parameter], batch: Mapping[str, Tensor], device: str | torch.device
) -> dict[str, Tensor]:
    """``(tasks, tasks)`` inner products for each layer, from one forward pass."""
    labelled = [task for task in network.tasks if task.name in batch]
    outputs = network(batch["image"].to(device), tasks=[task.name for task in labelled])
    count = len(network.tasks)
    rows: dict[str, list[Tensor | None]] = {name: [None] * count for name in weights}
    for task in labelled:
        loss = task.loss(outputs[task.name], batch[task.name].to(device))
        arrived = torch.autograd.grad(loss, list(weights.values()), retain_graph=True, allow_unused=True)
        for name, gradient in zip(weights, arrived, strict=True):
            rows[name][network.tasks.index(task)] = gradient
    return {name: _gram(row) for name, row in rows.items()}


def _gram(row: list[Tensor | None]) -> Tensor:
    there = [index for index, gradient in enumerate(row) if gradient is not None]
    products = torch.full((len(row), len(row)), torch.nan, dtype=torch.float64)
    if there:
        stacked = torch.stack([gradient.flatten().double() for gradient in row if gradient is not None])
        products[torch.tensor(there)[:, None], torch.tensor(there)] = (stacked @ stacked.T).cpu()
    return products
