"""Dense prediction: a dilated residual network, DeepLab heads, and PCGrad (arXiv 2001.06782).

Command: python examples/deeplab.py [--help]

Gradients of tasks that contradict each other are projected. Trained as it was, and with the five lines that are
numbered; then both are compared.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lomt
from lomt.nn import convert, freeze
from lomt.optim import ProxSGD, parameter_groups
from lomt.sparsity import GroupLasso
from measuring import arguments, compare
from shapes import OUTPUTS, Batch, batches, losses

OPTIONS = {"lr": 0.05, "momentum": 0.9}


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution and a norm."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False), nn.BatchNorm2d(outputs)
    )


class Block(nn.Module):
    """A residual block."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, 3, stride, dilation), nn.ReLU(), conv(outputs, outputs, 3, 1, dilation)
        )
        self.skip = conv(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The input and what the block makes of it."""
        return F.relu(self.body(x) + self.skip(x))


class DeepLab(nn.Module):
    """A map looked at with several dilations."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv(inputs, width, 1), *(conv(inputs, width, 3, 1, rate) for rate in (2, 3))])
        self.out = nn.Sequential(conv(3 * width, width), nn.ReLU(), nn.Conv2d(width, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The task's map, as small as the features."""
        return self.out(F.relu(torch.cat([branch(x) for branch in self.branches], 1)))


class Net(nn.Module):
    """A backbone of stride 4, and a head a task."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            conv(3, 16, 3, 2), nn.ReLU(), Block(16, 16), Block(16, 32, 2), Block(32, 32), Block(32, 64, 1, 2)
        )
        self.heads = nn.ModuleDict({task: DeepLab(64, 32, outputs) for task, outputs in OUTPUTS.items()})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Each task's map, as large as the image."""
        features = self.backbone(image)
        size = image.shape[2:]
        return {task: F.interpolate(head(features), size, mode="bilinear") for task, head in self.heads.items()}


def gradients(model: nn.Module, batch: Batch) -> None:
    """Each task's, less what of it contradicts another's, added up; heads have their own task's."""
    each = list(losses(model(batch["image"]), batch).values())
    shared = list(model.backbone.parameters())
    model.zero_grad()
    torch.stack(each).sum().backward(inputs=list(model.heads.parameters()), retain_graph=True)
    tasks = [torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared, retain_graph=True)]) for loss in each]
    total = torch.zeros_like(tasks[0])
    for mine in tasks:
        projected = mine.clone()
        for other in tasks:
            against = torch.dot(projected, other)
            if other is not mine and against < 0:
                projected -= against / other.square().sum() * other
        total += projected
    for parameter, found in zip(shared, total.split([p.numel() for p in shared]), strict=True):
        parameter.grad = found.view_as(parameter)


def train(steps: int, size: int, batch: int, strength: float) -> nn.Module:
    """The training loop; a strength of 0 leaves out what is new."""
    torch.manual_seed(0)
    model: nn.Module = Net()
    optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), **OPTIONS)
    if strength:
        optimizer = ProxSGD(
            parameter_groups(convert(model), penalty := GroupLasso(strength), where=model), **OPTIONS
        )  # 1
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
    dense, model = train(*shape, strength=0), train(*shape, strength=options.strength or 1e-2)
    images = next(batches(1, options.size, options.batch, seed=3))["image"]
    small = lomt.compact(model.eval(), images)  # 4
    if options.onnx:
        lomt.export.onnx(small, options.onnx, images)  # 5
    compare({"as it was": dense, "with lomt": model}, small, gradients)


if __name__ == "__main__":
    main()
