"""Weights of all shapes and layouts, and what a group shrinks to, by brute force in float64."""

import math

import numpy as np
import torch

SHAPES = [
    # shape, memory format, conv groups, block
    ((7, 5, 3, 3), "contiguous", 1, 1),
    ((7, 5, 3, 3), "channels_last", 1, 1),
    ((16, 12, 3, 3), "channels_last", 1, 4),
    ((16, 12, 1, 1), "contiguous", 1, 4),
    ((12, 4, 3, 3), "contiguous", 3, 2),
    ((12, 4, 3, 3), "channels_last", 3, 2),
    ((12, 1, 5, 5), "contiguous", 12, 1),  # depthwise
    ((31, 17), "contiguous", 1, 1),  # primes
    ((96, 130), "contiguous", 1, 2),  # a tile's rows and more
    ((6, 8, 5), "contiguous", 2, 1),  # 1-D
    ((4, 6, 2, 3, 2), "contiguous", 1, 3),  # 3-D
    ((4, 6, 2, 3, 2), "channels_last", 1, 3),
    ((9, 6, 3, 3), "sliced", 1, 1),
    ((9, 6, 3, 3), "permuted", 1, 2),
    ((9, 6, 3, 3), "expanded", 1, 1),
    ((1, 1, 1, 1), "contiguous", 1, 1),
    ((8, 300, 3, 3), "channels_last", 1, 1),  # long rows
    ((300, 8, 7, 7), "contiguous", 1, 1),  # long groups of output channels
]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def weight(shape, layout, dtype, seed=0):
    """Random numbers of several sizes, laid out in memory as asked; the first of several input channels is dead."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
    numbers = (numbers * torch.rand((1, shape[1], *[1] * (len(shape) - 2)), generator=generator).double() * 2).to(dtype)
    if shape[1] > 1:
        numbers[:, 0] = 0
    if layout == "channels_last":
        return numbers.contiguous(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)
    if layout == "sliced":
        whole = torch.full((shape[0], shape[1] + 3, *shape[2:]), 7.0, dtype=dtype)
        whole[:, 1:-2] = numbers
        return whole[:, 1:-2]
    if layout == "permuted":
        return numbers.permute(1, 0, 3, 2).contiguous().permute(1, 0, 3, 2)
    if layout == "expanded":
        return numbers[:, :, :1].expand(shape)
    return numbers


def members(tensor, axis, groups, block):
    """A list of flat float64 arrays, one a group, picked index by index."""
    array = tensor.detach().double().numpy()
    out, inner = array.shape[:2]
    if axis == "out":
        return [array[first : first + block].ravel() for first in range(0, out, block)]
    rows = out // groups
    return [
        array[part * rows : (part + 1) * rows, first : first + block].ravel()
        for part in range(groups)
        for first in range(0, inner, block)
    ]


def fits(shape, axis, groups, block):
    """Whether blocks of output channels fit."""
    return axis == "in" or (shape[0] // groups) % block == 0


def bisected(W, D, tau):
    """The shrunk group in the metric D: its norm found by bisection."""
    if tau == 0:
        return W.copy()
    if math.sqrt(((W * D) ** 2).sum()) <= tau:
        return np.zeros_like(W)
    low, high = 0.0, float(np.linalg.norm(W))
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if ((W * D / (middle * D + tau)) ** 2).sum() > 1 else (low, middle)
    return W * low * D / (low * D + tau)
