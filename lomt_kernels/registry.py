"""Which backend does an operation: the argument, else ``LOMT_KERNELS_BACKEND``, else the first that can.

A backend of an operation is a module of its folder, with a function for the operation and
``refusal(device, dtype) -> str | None``: why it can't, or None. It is chosen from what is constant in a trace.
"""

import importlib
import os
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch

BACKENDS = ("cuda", "triton", "native", "reference")
"""From the first to the last choice."""

FOLDERS = {
    "group_norms": "shrink",
    "group_alive": "shrink",
    "group_shrink": "shrink",
    "group_shrink_backward": "shrink",
    "prox_adamw_": "prox",
    "prox_sgd_": "prox",
    "masked_conv2d": "conv",
    "masked_conv2d_backward": "conv",
    "gather_channels": "conv",
    "scatter_channels": "conv",
    "sparse_ffn": "ffn",
}
"""Operation → the folder where its backends are."""

PUBLIC = (
    "group_norms",
    "group_alive",
    "group_shrink",
    "prox_adamw_",
    "prox_sgd_",
    "masked_conv2d",
    "gather_channels",
    "sparse_ffn",
)
"""What users call."""

PROVEN: dict[tuple[str, str], str] = {
    ("shrink", "native"): "the tests of every commit",
    ("shrink", "reference"): "the tests of every commit",
    ("prox", "native"): "the tests of every commit",
    ("prox", "reference"): "the tests of every commit",
    ("conv", "native"): "the tests of every commit",
    ("conv", "reference"): "the tests of every commit",
    ("ffn", "native"): "the tests of every commit",
    ("ffn", "reference"): "the tests of every commit",
}
"""(Folder, backend) → where it passed its tests. GPU backends stand here by device and versions once ``pytest -m gpu``
has passed there; before that, they are only taken when asked for by name."""

VARIABLE = "LOMT_KERNELS_BACKEND"
ASKED = os.environ.get(VARIABLE, "")
"""What the variable says, read once: where caches are cold, looking it up costs a call a tenth of all that it does."""


@cache
def implementation(operation: str) -> Callable[..., Any]:
    """What the dispatcher calls: the operation's function in the backend that its last argument names."""
    known: dict[str, Callable[..., Any]] = {}

    def run(*arguments: Any) -> Any:
        backend = arguments[-1]
        if backend not in known:
            known[backend] = getattr(_module(FOLDERS[operation], backend), operation)
        return known[backend](*arguments[:-1])

    return run


def choose(operation: str, device: torch.device, dtype: torch.dtype, backend: str | None = None) -> str:
    """The backend that does an operation on tensors of this device and dtype.

    Raises:
        ValueError: the one that was asked for can't, or is unknown; says why.
    """
    return _chosen(FOLDERS[operation], device, dtype, backend or ASKED, backend is not None)


# A trace takes the choice for a constant. torch.compiler.assume_constant_result does this, but loads the compiler.
choose._dynamo_marked_constant = True  # type: ignore[attr-defined]


def watched(*tensors: torch.Tensor) -> bool:
    """Whether the dispatcher has more to do than to call a kernel.

    Somebody is looking (:func:`traced`), or tensors are of a kind of their own, or views that negate.
    """
    return traced() or any(
        type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.is_neg() for tensor in tensors
    )


def traced() -> bool:
    """Whether somebody compiles, traces, transforms, counts or profiles what is done to tensors."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd._profiler_enabled()
    )


def refusals(operation: str, device: str, dtype: torch.dtype) -> dict[str, str | None]:
    """Every backend, and why it would not be taken for an operation; None where it could be."""
    folder = FOLDERS[operation]
    return {name: _refusal(folder, name, device, dtype) or _unproven(folder, name) for name in BACKENDS}


@cache
def _chosen(folder: str, device: torch.device, dtype: torch.dtype, asked: str, by_argument: bool) -> str:
    if asked:
        source = f"backend={asked!r}" if by_argument else f"{VARIABLE}={asked}"
        if asked not in BACKENDS:
            raise ValueError(f"{source}: there are {', '.join(BACKENDS)}")
        reason = _refusal(folder, asked, device.type, dtype)
        if reason:
            raise ValueError(f"{source} can't be taken: {reason}")
        return asked
    for name in BACKENDS:
        if _unproven(folder, name) is None and _refusal(folder, name, device.type, dtype) is None:
            return name
    raise ValueError(_refusal(folder, BACKENDS[-1], device.type, dtype))


def _refusal(folder: str, backend: str, device: str, dtype: torch.dtype) -> str | None:
    try:
        module = _module(folder, backend)
    except ModuleNotFoundError as error:
        return f"it has no {backend} code" if error.name == f"lomt_kernels.{folder}.{backend}" else f"{error}"
    except ImportError as error:
        return f"{error}"
    reason: str | None = module.refusal(device, dtype)
    return reason


def _unproven(folder: str, backend: str) -> str | None:
    if (folder, backend) in PROVEN:
        return None
    return f"no GPU has run its tests yet: it is taken only when asked for, by backend={backend!r} or {VARIABLE}"


@cache
def _module(folder: str, backend: str) -> ModuleType:
    return importlib.import_module(f"lomt_kernels.{folder}.{backend}")
