"""LTE: language models that learn which of their neurons a token needs, and read no others.

Needs the extra `llm`: `pip install 'lomt-kernels[llm]'`.
"""

from lomt.extras import need

need("lomt.llm", "llm", "accelerate", "safetensors", "transformers")

from lomt.llm.adapters import ADAPTERS, Adapter, register_adapter
from lomt.llm.gates import measure_sparsity
from lomt.llm.generation import generate
from lomt.llm.moefy import moefy
from lomt.llm.perplexity import perplexity
from lomt.llm.router import set_mode
from lomt.llm.saving import from_pretrained, save_pretrained
from lomt.llm.sparsify import densify, sparsify
from lomt.llm.stages import train
from lomt.llm.thresholds import calibrate, set_sparsity
from lomt.llm.trainer import LTETrainer

__all__ = [
    "ADAPTERS",
    "Adapter",
    "LTETrainer",
    "calibrate",
    "densify",
    "from_pretrained",
    "generate",
    "measure_sparsity",
    "moefy",
    "perplexity",
    "register_adapter",
    "save_pretrained",
    "set_mode",
    "set_sparsity",
    "sparsify",
    "train",
]
