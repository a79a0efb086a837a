"""Where networks are computed, by the names that users know."""

import torch

NAMES = ("auto", "cpu", "gpu", "cuda")


def device_of(name: str) -> torch.device:
    """The device behind a name.

    Args:
        name: "auto" (a GPU where there is one), "cpu", "gpu" or "cuda".

    Raises:
        ValueError: there is no such device, or this machine has none.
    """
    if name not in NAMES:
        raise ValueError(f"unknown device {name!r}: use {', '.join(NAMES[:-1])} or {NAMES[-1]}")
    there = torch.cuda.is_available()
    if name in ("gpu", "cuda") and not there:
        raise ValueError(f"device {name!r} is asked for, and torch finds no GPU here: use auto or cpu")
    return torch.device("cuda" if name != "cpu" and there else "cpu")
