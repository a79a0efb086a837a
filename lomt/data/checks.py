"""What a source gives for a split, checked once, before anything is computed with it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lomt.data.samples import Samples
from lomt.tasks import Task, check_sample


def check_samples(
    samples: Samples,
    tasks: Sequence[Task],
    size: tuple[int, int],
    split: str,
    decode: Callable[[np.ndarray, Task], Tensor],
) -> None:
    """Raise where a split can't be what it should be: see :class:`Samples`.

    Args:
        samples: of the split.
        tasks: whose labels to check.
        size: height and width of images.
        split: its name, for messages.
        decode: stored labels and their task → labels as the task wants them.

    Raises:
        ValueError: names the split, the array, and the sample, what was found and what is expected.
    """
    arrays, rows = samples
    if "image" not in arrays:
        raise ValueError(f"the {split} split has no 'image' among {sorted(arrays)}: every split needs its images")
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            raise ValueError(f"{key!r} of the {split} split is a {type(array).__name__}: give a NumPy array of samples")
        if len(array) != len(arrays["image"]):
            raise ValueError(
                f"{key!r} of the {split} split has {len(array)} samples and 'image' has {len(arrays['image'])}: "
                "arrays belong together row by row"
            )
    _check_rows(rows, len(arrays["image"]), split)
    _check_images(arrays["image"], size, split)
    present = [task for task in tasks if task.name in arrays]
    for place, row in enumerate(rows):
        sample = {"image": torch.from_numpy(arrays["image"][[row]])[0]}
        for task in present:
            sample[task.name] = decode(arrays[task.name][[row]], task)[0]
        check_sample(sample, present, f"sample {place} of the {split} split (row {row} of its arrays)")


def _check_rows(rows: np.ndarray, count: int, split: str) -> None:
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise ValueError(f"the rows of the {split} split are {rows!r}: give whole numbers, such as np.arange(count)")
    wrong = rows[(rows < 0) | (rows >= count)]
    if len(wrong):
        raise ValueError(f"the {split} split has row {wrong[0]}, and its arrays have rows 0 … {count - 1}")


def _check_images(images: np.ndarray, size: tuple[int, int], split: str) -> None:
    shape, dtype = images.shape[1:], images.dtype
    if shape != (3, *size):
        hint = (
            "move channels to the front with .transpose(0, 3, 1, 2)" if shape[-1:] == (3,) else "resize or convert them"
        )
        raise ValueError(f"images of the {split} split are {shape}, expected (3, {size[0]}, {size[1]}): {hint}")
    if dtype != np.uint8 and dtype.kind != "f":
        raise ValueError(f"images of the {split} split are {dtype}: give uint8 from 0 to 255, or floats from 0 to 1")
