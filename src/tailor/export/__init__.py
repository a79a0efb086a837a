"""Networks as files: safetensors and JSON, ONNX, torch.export programs.

Needs the extra `export`: `pip install 'tailor-mtl[export]'`.
"""

try:
    import onnx as _onnx  # noqa: F401
    import onnxruntime as _onnxruntime  # noqa: F401
    import onnxscript as _onnxscript  # noqa: F401
    import safetensors as _safetensors  # noqa: F401
except ImportError as error:
    raise ImportError(
        "tailor.export needs safetensors, onnx, onnxscript and onnxruntime: pip install 'tailor-mtl[export]'"
    ) from error

from tailor.export.checking import OnnxExport
from tailor.export.contenders import contenders, names_of, open_model
from tailor.export.int8 import Quantized, int8
from tailor.export.pretrained import from_pretrained, save_pretrained
from tailor.export.programs import program
from tailor.export.runtime import OnnxModel
from tailor.export.to_onnx import onnx

__all__ = [
    "OnnxExport",
    "OnnxModel",
    "Quantized",
    "contenders",
    "from_pretrained",
    "int8",
    "names_of",
    "onnx",
    "open_model",
    "program",
    "save_pretrained",
]
