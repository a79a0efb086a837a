"""An ONNX file as a module, run by ONNX Runtime: a drop-in for the network that it was made of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lomt.evaluation.backends import onnx_session
from lomt.export.facts import Facts

METADATA = "lomt"
"""Key of our entry in the file's metadata."""


class OnnxModel(nn.Module):
    """What an ONNX file computes.

    Its images are those of the network that the file was made of: where normalization is inside of the file, it is
    undone before. So it stands wherever the network does, as in :func:`lomt.evaluation.evaluate`.

    Args:
        path: of the file.
        threads: of ONNX Runtime; by default one a core.

    Attributes:
        tasks: what its outputs mean; empty for a file that is not ours, as all of what follows.
        taps: as the network's.
        normalization: of the images.
        shapes: of the inputs that the network was made for.
        delta_m: what it is worth, in percent, or None.
        free: whether images of every height and width fit.
        parameter_count: how many parameters the network has, or None.
        macs: multiply-accumulates of one image, or None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX file, or has more inputs than one.
    """

    tasks: Any
    taps: Any
    normalization: Any
    shapes: Any
    delta_m: float | None

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self.session = onnx_session(path, threads)
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            found = {one.name: one.shape for one in inputs}
            raise ValueError(f"{path} has the inputs {found}: one, of images (N, C, H, W), is expected")
        self.input = inputs[0].name
        self.outputs = [one.name for one in self.session.get_outputs()]
        sizes = inputs[0].shape[2:]
        self.free = not any(isinstance(size, int) for size in sizes)
        said = _said(self.session, self.path)
        facts = Facts.from_dict(said) if said else Facts()
        if not facts.shapes and not self.free:
            facts = Facts(shapes=[(1, 3, *sizes)])
        facts.put_on(self)
        self.inside = bool(said.get("normalization_inside"))
        self.parameter_count: int | None = said.get("parameters")
        self.macs: int | None = said.get("macs")

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map images ``(N, C, H, W)`` to a dict of outputs by their names in the file.

        Raises:
            RuntimeError: ONNX Runtime can't run the file on them.
        """
        try:
            found = self.session.run(None, {self.input: self.fed(image)})
        except Exception as error:
            shape = tuple(image.shape)
            raise RuntimeError(
                f"{self.path} can't run images of shape {shape}: {str(error).splitlines()[0]}"
            ) from error
        return {name: torch.from_numpy(value) for name, value in zip(self.outputs, found, strict=True)}

    def fed(self, image: Tensor) -> np.ndarray:
        """The array that the file itself takes for images of the network."""
        array = image.detach().cpu().float()
        if self.inside and self.normalization is not None:
            mean, std = (torch.tensor(list(values)).view(1, -1, 1, 1) for values in self.normalization)
            array = array * std + mean
        return np.ascontiguousarray(array.numpy())


def _said(session: Any, path: Path) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if text is None:
        return {}
    try:
        said: dict[str, Any] = json.loads(text)
        Facts.from_dict(said)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the metadata of {path} are damaged ({error!r}): export the network anew") from error
    return said
