"""What was found on this machine, and what is chosen for each operation."""

import importlib.util
from typing import Any

import torch

from lomt_kernels import __version__, native, registry

INSTALL_TRITON = "pip install 'lomt-kernels[triton]'"


def info() -> dict[str, Any]:
    """What ``python -m lomt_kernels`` prints, as plain values for JSON.

    Returns:
        ``version``, ``torch``, ``triton`` (None: not installed), ``native`` and ``cuda`` (facts of the build, or why
        there is none), ``gpus``, ``asked`` (``LOMT_KERNELS_BACKEND``), and ``operations``: for each operation and
        device the ``chosen`` backend (None: none can) and ``why_not`` of each other one.
    """
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    missing = native.why_not()
    facts = {} if missing else dict(native.binary().facts())
    return {
        "version": __version__,
        "torch": torch.__version__,
        "triton": _version("triton"),
        "native": {"why_not": missing} if missing else facts,
        "cuda": {"why_not": native.why_no_cuda()}
        if native.why_no_cuda()
        else {"version": facts["cuda"], "architectures": facts["cuda_architectures"].split()},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "asked": registry.ASKED or None,
        "operations": {
            operation: {device: _choice(operation, device) for device in devices} for operation in registry.PUBLIC
        },
    }


def _choice(operation: str, device: str) -> dict[str, Any]:
    refusals = registry.refusals(operation, device, torch.float32)
    try:
        chosen = registry.choose(operation, torch.device(device), torch.float32)
    except ValueError as error:
        return {"chosen": None, "why_not": {"all": str(error)}}
    why_not = {name: reason or "comes after it" for name, reason in refusals.items() if name != chosen}
    return {"chosen": chosen, "why_not": why_not}


def _version(module: str) -> str | None:
    if importlib.util.find_spec(module) is None:
        return None
    found: str = importlib.import_module(module).__version__
    return found
