"""Kernels for group sparsity: what is dead is found, shrunk to exact zeros, and skipped.

Every operation has a reference in plain PyTorch, and faster backends for processors and GPUs;
``python -m lomt_kernels`` prints what was found here and what is chosen. Everything is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lomt_kernels.conv import gather_channels, masked_conv2d, masked_conv2d_readers, shrunk_conv2d
    from lomt_kernels.facts import info
    from lomt_kernels.ffn import pack_ffn, sparse_ffn, unpack_ffn
    from lomt_kernels.live import LiveList
    from lomt_kernels.prox import prox_adamw_, prox_sgd_
    from lomt_kernels.shrink import group_alive, group_norms, group_shrink

__version__ = "0.1.0"

_NAMES = {
    "LiveList": "live",
    "gather_channels": "conv",
    "group_alive": "shrink",
    "group_norms": "shrink",
    "group_shrink": "shrink",
    "info": "facts",
    "masked_conv2d": "conv",
    "masked_conv2d_readers": "conv",
    "pack_ffn": "ffn",
    "prox_adamw_": "prox",
    "prox_sgd_": "prox",
    "shrunk_conv2d": "conv",
    "sparse_ffn": "ffn",
    "unpack_ffn": "ffn",
}

__all__ = [
    "LiveList",
    "gather_channels",
    "group_alive",
    "group_norms",
    "group_shrink",
    "info",
    "masked_conv2d",
    "masked_conv2d_readers",
    "pack_ffn",
    "prox_adamw_",
    "prox_sgd_",
    "shrunk_conv2d",
    "sparse_ffn",
    "unpack_ffn",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"lomt_kernels.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'lomt_kernels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
