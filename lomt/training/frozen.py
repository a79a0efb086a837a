"""Train small readers of a network that is frozen: it runs once a batch for all of them, and without gradients."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lomt.data import Source
from lomt.models.network import brought
from lomt.modes import evaluating
from lomt.tasks import Task
from lomt.training.progress import Progress
from lomt.training.recipe import Recipe
from lomt.training.seeds import Seeded


def probe(
    backbone: nn.Module,
    task: Task,
    source: Source,
    probes: Mapping[str, nn.Module],
    recipe: Recipe,
    seed: int,
    progress: Progress,
) -> dict[str, float]:
    """Train a decoder on each of a frozen backbone's taps, all at the same time, and say how each does.

    Args:
        backbone: maps images to ``{tap: features}``.
        task: what each of them predicts.
        source: where batches come from.
        probes: tap → decoder, trained in place.
        recipe: epochs, and the peak learning rate.
        seed: of the order of the images and their augmentation.
        progress: hears of every batch.

    Returns:
        Tap → mean loss on the validation split.
    """
    readers = nn.ModuleList(probes.values()).train()
    optimizer = torch.optim.AdamW(readers.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    loader = source.train_dataloader([task.name])
    steps = recipe.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, max(2, steps), cycle_momentum=False)

    device = next(readers.parameters()).device

    def losses(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        image, labels = batch["image"].to(device), batch[task.name].to(device)
        with torch.no_grad():
            features = backbone(image)
        return {tap: task.loss(brought(decoder(features[tap]), task, image), labels) for tap, decoder in probes.items()}

    with evaluating(backbone):
        for epoch in range(recipe.epochs):
            for number, batch in enumerate(Seeded(loader, "probe", seed, epoch)):
                optimizer.zero_grad()
                torch.stack(list(losses(batch).values())).sum().backward()
                optimizer.step()
                schedule.step()
                progress((epoch + (number + 1) / len(loader)) / recipe.epochs, f"epoch {epoch + 1}/{recipe.epochs}")
        readers.eval()
        totals, count = dict.fromkeys(probes, 0.0), 0
        with torch.no_grad():
            for batch in source.val_dataloader([task.name]):
                size = len(batch["image"])
                count += size
                for tap, loss in losses(batch).items():
                    totals[tap] += float(loss) * size
    return {tap: total / count for tap, total in totals.items()}
