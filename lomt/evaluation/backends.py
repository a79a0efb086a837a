"""The ways to run a network: eager, channels-last, bfloat16, ONNX Runtime."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Pass = Callable[[], object]
"""One forward pass, over when it returns."""


@dataclass(frozen=True)
class Contender:
    """A model to measure, in one or both of its forms.

    Attributes:
        network: for PyTorch; a module that takes one tensor.
        onnx: a file, for ONNX Runtime.
        delta_m: what the model is worth, in percent, where that is known.
        parameters: as the file says, where there is no ``network`` to count them in.
        macs: likewise.
        example: shape of the images that it was made for, ``(N, C, H, W)``.
    """

    network: nn.Module | None = None
    onnx: Path | None = None
    delta_m: float | None = None
    parameters: int | None = None
    macs: int | None = None
    example: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Prepared:
    """A model made ready to run in one way.

    Attributes:
        weights: bytes of its parameters and buffers, or of its file.
        begin: makes a pass over images ``(N, C, H, W)``.
    """

    weights: int
    begin: Callable[[Tensor], Pass]


class NotMadeFor(ValueError):  # noqa: N818 – nothing failed: there is no such form of the model
    """The model does not exist in the form that a backend runs."""


def eager(model: Contender, threads: int) -> Prepared:
    """PyTorch as it is, float32."""
    del threads
    return _torch(_network(model), lambda image: image)


def channels_last(model: Contender, threads: int) -> Prepared:
    """PyTorch, float32, with the channels of a pixel beside each other in memory."""
    del threads
    network: Any = copy.deepcopy(_network(model))
    network = network.to(memory_format=torch.channels_last)
    return _torch(network, lambda image: image.to(memory_format=torch.channels_last))


def bf16(model: Contender, threads: int) -> Prepared:
    """PyTorch with weights and activations in bfloat16."""
    del threads
    return _torch(copy.deepcopy(_network(model)).to(torch.bfloat16), lambda image: image.to(torch.bfloat16))


def onnxruntime(model: Contender, threads: int) -> Prepared:
    """ONNX Runtime on the processor, with so many threads and all its graph optimizations."""
    if model.onnx is None:
        raise NotMadeFor("there is no ONNX file of it")
    session = onnx_session(model.onnx, threads)
    name = session.get_inputs()[0].name

    def begin(image: Tensor) -> Pass:
        fed = {name: image.contiguous().numpy()}
        return lambda: session.run(None, fed)

    return Prepared(model.onnx.stat().st_size, begin)


BACKENDS: dict[str, Callable[[Contender, int], Prepared]] = {
    "eager": eager,
    "channels_last": channels_last,
    "bf16": bf16,
    "onnxruntime": onnxruntime,
}
"""Every way by its name: a function of the model and the number of threads."""


def onnx_session(path: str | Path, threads: int | None = None, *, pack: bool = True) -> Any:
    """A session of ONNX Runtime on the processor.

    Its threads do not wait busily between passes: they would take the processor from whoever runs next.

    Args:
        path: of the file.
        threads: how many compute; by default one a core.
        pack: lay weights out anew for fast passes, which takes a second a gigabyte and as much memory again; without
            it, a few passes are had sooner.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX file, or a damaged one.
        ImportError: ONNX Runtime is not installed; says how to.
    """
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise ImportError("ONNX Runtime is not installed: pip install 'lomt-kernels[export]'") from error
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}: give one that lomt.export.onnx wrote")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not pack:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4  # errors are raised, too
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(f"{path} can't be opened as an ONNX file ({error}): export the network anew") from error


def _network(model: Contender) -> nn.Module:
    if model.network is None:
        raise NotMadeFor("it is an ONNX file")
    return model.network


def _torch(network: nn.Module, convert: Callable[[Tensor], Tensor]) -> Prepared:
    network.eval()
    tensors = [*network.parameters(), *network.buffers()]

    def begin(image: Tensor) -> Pass:
        converted = convert(image)

        def run() -> object:
            with torch.inference_mode():
                return network(converted)

        return run

    return Prepared(sum(tensor.numel() * tensor.element_size() for tensor in tensors), begin)
