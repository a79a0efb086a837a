"""Hard parameter sharing: one trunk, a head for each task, losses added up.

Command: python examples/shared_trunk.py [--help]

Trained as it was, and with the five lines that are numbered; then both are compared.
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


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A convolution, a norm, a rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Net(nn.Module):
    """A trunk with three strides, and a head a task."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            conv(3, 32, 2),
            conv(32, 64),
            conv(64, 64, 2),
            conv(64, 128),
            conv(128, 128, 2),
            conv(128, 256),
            conv(256, 256),
        )
        self.heads = nn.ModuleDict(
            {task: nn.Sequential(conv(256, 64), nn.Conv2d(64, outputs, 1)) for task, outputs in OUTPUTS.items()}
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Each task's map, as large as the image."""
        features = self.backbone(image)
        size = image.shape[2:]
        return {task: F.interpolate(head(features), size, mode="bilinear") for task, head in self.heads.items()}


def gradients(model: nn.Module, batch: Batch) -> None:
    """Those of the sum of the losses."""
    model.zero_grad()
    torch.stack(list(losses(model(batch["image"]), batch).values())).sum().backward()


def train(steps: int, size: int, batch: int, strength: float) -> nn.Module:
    """The training loop; a strength of 0 leaves out what is new."""
    torch.manual_seed(0)
    model: nn.Module = Net()
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    if strength:
        optimizer = ProxAdamW(parameter_groups(convert(model), penalty := GroupLasso(strength)), lr=2e-3)  # 1
    for step, images in enumerate(batches(steps, size, batch, seed=0)):
        gradients(model.train(), images)
        optimizer.step()
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
