"""Where networks are computed, by the names that users know."""

import re

import torch


def device_of(name: str) -> torch.device:
    """The device behind a name.

    Args:
        name: "auto" (a GPU where there is one), "cpu", "gpu", "cuda" or, for one of several, "cuda:1".

    Raises:
        ValueError: there is no such device, or this machine has none.
    """
    if not re.fullmatch(r"auto|cpu|gpu|cuda(:\d+)?", name):
        raise ValueError(f"unknown device {name!r}: use auto, cpu, gpu, cuda or cuda:1")
    there = torch.cuda.device_count()
    if name in ("auto", "cpu"):
        return torch.device("cuda" if name == "auto" and there else "cpu")
    number = int(name.partition(":")[2] or 0)
    if number >= there:
        found = f"only {there} GPUs, counted from 0" if there else "no GPU"
        raise ValueError(f"device {name!r} is asked for, and torch finds {found} here: use auto or cpu")
    return torch.device("cuda", number)
