"""Networks as files: safetensors and JSON, ONNX, torch.export programs."""

from tailor.export.pretrained import from_pretrained, save_pretrained
from tailor.export.to_onnx import OnnxExport, onnx, program

__all__ = ["OnnxExport", "from_pretrained", "onnx", "program", "save_pretrained"]
