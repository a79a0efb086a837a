"""Attention on a shared encoder, in the manner of MTAN (arXiv 1803.10704).

Command: python examples/mtan.py [--help]

Each task has a mask for each block of the encoder; uncertainties weigh the losses. Trained as it was, and with the five
lines that are numbered; then both are compared.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lomt
from lomt.nn import convert, freeze
from lomt.optim import ProxAdamW, parameter_groups
from lomt.sparsity import GroupLasso
from measuring import arguments, compare
from shapes import OUTPUTS, Batch, batches, losses

WIDTHS = (16, 32, 64, 64)


def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """A convolution, a norm, a rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Attention(nn.Module):
    """A task's masks over the features of all blocks."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        before = (0, *WIDTHS[:-1])
        self.masks = nn.ModuleList(
            nn.Sequential(conv(width + less, width // 2, 1), nn.Conv2d(width // 2, width, 1), nn.Sigmoid())
            for width, less in zip(WIDTHS, before, strict=True)
        )
        self.out = nn.ModuleList(conv(width, width) for width in WIDTHS)
        self.head = nn.Conv2d(WIDTHS[-1], outputs, 1)

    def forward(self, features: list[Tensor], size: torch.Size) -> Tensor:
        """The task's map, as large as the image."""
        attended: Tensor | None = None
        for feature, mask, out in zip(features, self.masks, self.out, strict=True):
            read = feature if attended is None else torch.cat([feature, attended], 1)
            attended = F.max_pool2d(out(mask(read) * feature), 2)
        return F.interpolate(self.head(attended), size, mode="bilinear")


class Net(nn.Module):
    """The encoder, and each task's attention on it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(conv(*pair) for pair in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True))
        self.attention = nn.ModuleDict({task: Attention(outputs) for task, outputs in OUTPUTS.items()})
        self.log_variances = nn.Parameter(torch.zeros(len(OUTPUTS)))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Each task's map."""
        features, x = [], image
        for block in self.encoder:
            features.append(block(x))
            x = F.max_pool2d(features[-1], 2)
        return {task: attention(features, image.shape[2:]) for task, attention in self.attention.items()}


def gradients(model: nn.Module, batch: Batch) -> None:
    """Those of the losses weighed by learned uncertainties."""
    model.zero_grad()
    each = torch.stack(list(losses(model(batch["image"]), batch).values()))
    (each * (-model.log_variances).exp() + model.log_variances).sum().backward()


def train(steps: int, size: int, batch: int, strength: float) -> nn.Module:
    """The training loop; a strength of 0 leaves out what is new."""
    torch.manual_seed(0)
    model: nn.Module = Net()
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    if strength:
        optimizer = ProxAdamW(
            parameter_groups(convert(model), penalty := GroupLasso(strength), where=model), lr=2e-3
        )  # 1
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(1, steps // 2), gamma=0.3)
    for step, images in enumerate(batches(steps, size, batch, seed=0)):
        gradients(model.train(), images)
        optimizer.step()
        schedule.step()
        if strength and step == steps // 2:
            freeze(model)  # 2: what is dead stays dead
            penalty.weight = 0.0  # 3: and what lives is no longer shrunk
    return model


def main() -> None:
    """Train twice, compact, compare."""
    options = arguments(__doc__)
    shape = (options.steps, options.size, options.batch)
    dense, model = train(*shape, strength=0), train(*shape, strength=options.strength or 2e-3)
    images = next(batches(1, options.size, options.batch, seed=3))["image"]
    small = lomt.compact(model.eval(), images)  # 4
    if options.onnx:
        lomt.export.onnx(small, options.onnx, images)  # 5
    compare({"as it was": dense, "with lomt": model}, small, gradients)


if __name__ == "__main__":
    main()
