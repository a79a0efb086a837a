"""The steps on NVIDIA GPUs: ``csrc/prox/cuda.cu``, called as the code for processors is."""

import torch

from lomt_kernels import native
from lomt_kernels.layout import FLOATS
from lomt_kernels.prox.native import prox_adamw_, prox_sgd_

__all__ = ["prox_adamw_", "prox_sgd_", "refusal"]


def refusal(device: str, dtype: torch.dtype) -> str | None:
    """Why CUDA code can't be used on tensors like these; None where it can."""
    if device != "cuda":
        return f"CUDA code is for NVIDIA GPUs, and the tensor is on {device}"
    if dtype not in FLOATS:
        return f"CUDA code has no {dtype}"
    return native.why_no_cuda()
