"""The way to ``lomt_kernels._C``: found, of the right version, with torch's threads; or why not."""

import ctypes
import importlib
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lomt_kernels import __version__

DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
"""As ``csrc/common/dtype.h`` numbers them."""

REBUILD = "build it anew: pip install . in the sources, or make install"


def binary() -> ModuleType:
    """``_C``.

    Raises:
        RuntimeError: it is not there, or does not fit; says why, and what to do.
    """
    found = _found()
    if type(found) is str:
        raise RuntimeError(found)
    return found  # type: ignore[return-value]


def why_not() -> str | None:
    """Why there is no ``_C``; None where there is."""
    found = _found()
    return found if isinstance(found, str) else None


def why_no_cuda() -> str | None:
    """Why there is no CUDA code; None where there is."""
    missing = why_not()
    if missing is None and not binary().facts()["cuda"]:
        missing = f"lomt_kernels._C was built without CUDA, since {build().get('why_no_cuda') or 'it was asked for so'}"
    return missing


def place(tensor: Tensor) -> tuple[int, int]:
    """Where a kernel is to run: the GPU's number and the current stream's address there; (-1, 0) on a processor."""
    if not tensor.is_cuda:
        return -1, 0
    device = tensor.get_device()
    return device, torch.cuda.current_stream(device).cuda_stream


@cache
def fast_in_torch(dtype: torch.dtype) -> bool:
    """Whether torch's products are fast on this processor: in halves, they need one that knows them."""
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype != torch.float16 or bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def build() -> dict[str, Any]:
    """What ``setup.py`` wrote of the build: mode, and why something is missing. Empty for sources never built."""
    file = Path(__file__).with_name("_build.json")
    try:
        said: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return said


@cache
def _found() -> ModuleType | str:
    try:
        module = importlib.import_module("lomt_kernels._C")
    except ModuleNotFoundError:
        reason = build().get("why_no_native")
        return f"there is no lomt_kernels._C ({reason or 'it was never built'}); {REBUILD}"
    except ImportError as error:
        return f"lomt_kernels._C can't be loaded ({error}); {REBUILD}"
    if module.__version__ != __version__:
        return (
            f"lomt_kernels._C is of version {module.__version__}, and the Python files beside it of {__version__}; "
            f"{REBUILD}"
        )
    module.set_pool(*_pool())
    module.set_torch(torch)
    return module


def _pool() -> tuple[int, int]:
    """Addresses of torch's parallel loop and of its number of threads, which ``libtorch_cpu`` exports since 2.10."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        torch_cpu = ctypes.CDLL(str(library))
        functions = (torch_cpu.torch_parallel_for, torch_cpu.torch_get_num_threads)
    except (OSError, AttributeError):
        return 0, 0
    loop, count = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return loop, count
