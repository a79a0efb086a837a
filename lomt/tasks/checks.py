"""Checks of labels and samples, once at the door: data sources call :func:`check_sample`."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lomt.tasks.base import Task


def check_form(target: Tensor, where: str, dtype: torch.dtype, shape: tuple[int | None, ...]) -> None:
    """Raise if a label has another dtype or shape.

    Args:
        target: one sample's label.
        where: what to blame, a file's path as a rule.
        dtype: the only dtype that is right.
        shape: the shape, with ``None`` for a length that is free.

    Raises:
        ValueError: names ``where``, what was found and what is expected.
    """
    if target.dtype != dtype:
        expected = str(dtype).removeprefix("torch.")
        found = str(target.dtype).removeprefix("torch.")
        raise ValueError(
            f"{where}: label of dtype {found}, expected {expected} – convert it with .to(torch.{expected})"
        )
    fits = target.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, target.shape, strict=True)
    )
    if not fits:
        free = iter("HW")
        names = ", ".join(next(free) if want is None else str(want) for want in shape)
        raise ValueError(f"{where}: label of shape {tuple(target.shape)}, expected ({names})")


def check_sample(sample: Mapping[str, Tensor], tasks: Iterable[Task], where: str | Mapping[str, str]) -> None:
    """Raise if the image or a label of one sample can't be true.

    A label that is absent from the sample is missing, which is no error; so is one that is wholly NaN or
    ignored.

    Args:
        sample: ``"image"`` ``(3, H, W)``, uint8 or floats from 0 to 1, and one label a task, without the batch
            dimension.
        tasks: whose labels to check.
        where: what to blame in messages: one text for the whole sample (its index, its folder), or a path for
            each entry of the sample.

    Raises:
        ValueError: names the file, the value, what was expected and what to do.
    """
    places = {key: where if isinstance(where, str) else where.get(key, key) for key in sample}
    if "image" not in sample:
        raise ValueError(f"{where}: no 'image' among {sorted(sample)} – every sample needs one")
    image = sample["image"]
    check_image(image, places["image"])
    for task in tasks:
        if task.name not in sample:
            continue
        target = sample[task.name]
        place = places[task.name] if isinstance(where, Mapping) else f"{where}, label {task.name!r}"
        task.check(target, place)
        if task.dense and target.shape[-2:] != image.shape[-2:]:
            raise ValueError(
                f"{place}: label of {_size(target)} for an image of {_size(image)} (height × width) "
                f"– resize both alike (nearest neighbour for ids), or check that both files belong together"
            )


def check_image(image: Tensor, where: str) -> None:
    """Raise if an image is not ``(3, H, W)`` with H, W ≥ 1, or neither uint8 nor floats from 0 to 1."""
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        raise ValueError(f"{where}: image of shape {tuple(image.shape)}, expected (3, H, W) – convert it to RGB")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise ValueError(f"{where}: image of dtype {image.dtype}, expected uint8 or floating point")
    if image.is_floating_point() and not bool(image.isfinite().all()):
        bad = int((~image.isfinite()).sum())
        raise ValueError(
            f"{where}: {bad} of {image.numel()} values of the image are NaN or infinite – an image has no "
            f"missing pixels; repair the file or leave it out of the split"
        )
    if image.is_floating_point() and (float(image.min()) < 0 or float(image.max()) > 1):
        raise ValueError(
            f"{where}: values of the image from {float(image.min()):g} to {float(image.max()):g}, expected 0 to 1 for "
            f"floats – divide them by their white, and leave the normalization to the source"
        )


def pixel(mask: Tensor) -> str:
    """Where the first True of a map ``(…, H, W)`` is, for a message."""
    index = mask.nonzero()[0].tolist()
    return f"row {index[-2]}, column {index[-1]}"


def _size(map_: Tensor) -> str:
    return f"{map_.shape[-2]}×{map_.shape[-1]}"
