"""ONNX files written without a copy of their weights.

Protobuf's own writer copies the weights three times, each time to memory that the process has to be given first; that
takes longer than to write the file. Here all but the weights is serialized, and they follow where they belong: at the
end of the graph, of which they are a repeated field.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_LARGE = 2**16
"""Bytes from which on a tensor is written by itself."""
_MOST = 1_800_000_000
"""Bytes of weights in one file, of which protobuf allows 2 GiB."""


def save(program: Any, path: Path) -> None:
    """Write what ``torch.onnx.export`` made; weights too large for one file go into one of their own beside it.

    Args:
        program: a ``torch.onnx.ONNXProgram``.
        path: of the file.
    """
    initializers = program.model.graph.initializers
    large = {name: value for name, value in initializers.items() if _size(value) >= _LARGE}
    if sum(_size(value) for value in initializers.values()) > _MOST:
        program.save(str(path))
        return
    for name in large:
        del initializers[name]
    try:
        model = program.model_proto
    finally:
        initializers.update(large)
    graph = model.graph.SerializeToString()
    weights = [(_header(name, value.const_value), value.const_value) for name, value in large.items()]
    total = len(graph) + sum(len(header) + value.nbytes for header, value in weights)
    model.ClearField("graph")
    with path.open("wb") as file:
        file.write(model.SerializeToString() + _begin(model, "graph", total) + graph)
        for header, value in weights:
            file.write(header)
            file.writelines(_numbers(value))


def _size(value: Any) -> int:
    """Bytes of a tensor of numbers."""
    tensor = value.const_value
    return 0 if tensor is None or tensor.dtype.is_string() else int(tensor.nbytes)


def _header(name: str, tensor: Any) -> bytes:
    """What stands in the file before a weight's numbers."""
    from onnx import GraphProto, TensorProto

    stated = TensorProto(name=name, dims=list(tensor.shape.numpy()), data_type=int(tensor.dtype))
    begun = stated.SerializeToString() + _begin(stated, "raw_data", tensor.nbytes)
    return _begin(GraphProto, "initializer", len(begun) + tensor.nbytes) + begun


def _begin(message: Any, field: str, length: int) -> bytes:
    """The tag of a field of so many bytes: its number and kind, and the length in groups of seven bits."""
    parts = [message.DESCRIPTOR.fields_by_name[field].number << 3 | 2]
    while length >= 0x80:
        parts.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*parts, length])


def _numbers(tensor: Any) -> Iterator[Any]:
    array = tensor.numpy()
    plain = array.dtype.isnative and array.flags.c_contiguous and array.nbytes == tensor.nbytes
    yield memoryview(array.reshape(-1).view(np.uint8)) if plain else tensor.tobytes()
