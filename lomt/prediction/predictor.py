"""From a picture of any size to a network's outputs, and back to the picture's size."""

import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lomt.modes import evaluating
from lomt.prediction.fullsize import prediction_at

SMALLEST = 32
"""No side of what a network gets is smaller, in pixels, unless it was made for that."""


class Predictor:
    """Runs a saved network on pictures of any size.

    A picture is scaled, its sides' ratio kept, to as many pixels as the network was made for (bicubic, low-pass
    filtered, as training data are). A network that takes one size only gets it stretched to that size. Outputs
    are brought back to the picture's size.

    Args:
        model: what :func:`lomt.export.open_model` gives, or any module with the attributes ``tasks``,
            ``normalization`` and ``shapes``.
        device: where PyTorch computes; ONNX Runtime computes on the processor.

    Attributes:
        tasks: what is predicted.

    Raises:
        ValueError: the model does not say its tasks, its normalization or its size.
    """

    def __init__(self, model: nn.Module, device: str | torch.device = "cpu") -> None:
        says: Any = model
        for name, what in (("tasks", "tasks"), ("normalization", "normalization"), ("shapes", "size of images")):
            if not getattr(says, name, None):
                raise ValueError(
                    f"the model does not say its {what}: save it with lomt.export.save_pretrained or "
                    f"lomt.export.onnx from a lomt.Network, with normalization=(mean, std)"
                )
        self.tasks = list(says.tasks)
        self.device = torch.device(device)
        shape, channels = tuple(says.shapes[0]), len(says.normalization[0])
        if len(shape) != 4 or shape[1] != 3 or channels != 3:
            raise ValueError(
                f"the model is for inputs of shape {shape} with {channels} normalized channels: pictures have three, "
                f"(N, 3, H, W)"
            )
        self.size: tuple[int, int] = shape[-2:]
        self._model = model.to(self.device)
        self._stretches = not getattr(says, "free", True)
        mean, std = says.normalization
        self._mean, self._std = (torch.tensor(list(values)).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, picture: np.ndarray) -> dict[str, Tensor]:
        """Predictions at the picture's size.

        Args:
            picture: ``(H, W, 3)`` uint8, RGB.

        Returns:
            Task name → ``task.prediction`` without the batch dimension: maps ``(H, W)`` or ``(C, H, W)`` of dense
            tasks, a number or ``(C,)`` of others.
        """
        outputs = self.outputs(picture)
        return {
            task.name: prediction_at(task, outputs[task.name], picture.shape[:2])
            if task.dense
            else task.prediction(outputs[task.name][None])[0]
            for task in self.tasks
        }

    def outputs(self, picture: np.ndarray) -> dict[str, Tensor]:
        """Raw outputs at the network's size, on the processor, without the batch dimension.

        Raises:
            ValueError: the picture is no such array.
            RuntimeError: the network can't run even the size that it was made for.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
            raise ValueError(f"a picture of shape {picture.shape}, {picture.dtype}: give (H, W, 3), uint8, RGB")
        size = self.size if self._stretches else self.fitting(picture.shape[0], picture.shape[1])
        try:
            return self._run(picture, size)
        except (RuntimeError, ValueError):
            if size == self.size:
                raise
        return self._run(picture, self.size)  # a size that the network has no way for, such as an odd one

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The size a picture is scaled to: about as many pixels as the network was made for.

        Example:
            >>> from types import SimpleNamespace
            >>> Predictor.fitting(SimpleNamespace(size=(96, 128)), 480, 640)
            (96, 128)
            >>> Predictor.fitting(SimpleNamespace(size=(96, 128)), 640, 480)
            (128, 96)
        """
        scale = math.sqrt(self.size[0] * self.size[1] / (height * width))
        least = min(SMALLEST, *self.size)
        return max(least, round(scale * height)), max(least, round(scale * width))

    def _run(self, picture: np.ndarray, size: tuple[int, int]) -> dict[str, Tensor]:
        scaled = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC)
        image = torch.from_numpy(np.array(scaled)).permute(2, 0, 1).float().div_(255)
        with evaluating(self._model), torch.inference_mode():
            outputs = self._model(((image - self._mean) / self._std)[None].to(self.device))
        missing = [task.name for task in self.tasks if task.name not in outputs]
        if missing:
            raise ValueError(f"the model has no output {missing[0]!r}: it gives {', '.join(outputs)}")
        found = {task.name: outputs[task.name][0].float().cpu() for task in self.tasks}
        for name, output in found.items():
            if not bool(output.isfinite().all()):
                raise ValueError(f"the model's output {name!r} is NaN or infinite for this picture")
        return found
