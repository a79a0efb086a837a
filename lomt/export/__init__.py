"""Networks as files: safetensors and JSON, ONNX, torch.export programs.

Needs the extra `export`: `pip install 'lomt-kernels[export]'`.
"""

from lomt.extras import need

need("lomt.export", "export", "onnx", "onnxruntime", "onnxscript", "safetensors")

from lomt.export.checking import OnnxExport
from lomt.export.contenders import contenders, names_of, open_model
from lomt.export.int8 import Quantized, int8
from lomt.export.pretrained import from_pretrained, save_pretrained
from lomt.export.programs import program
from lomt.export.runtime import OnnxModel
from lomt.export.saved import saved
from lomt.export.to_onnx import onnx

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
    "saved",
]
