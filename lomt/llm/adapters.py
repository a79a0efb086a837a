"""Where the families of language models have their FFNs; a new family is one :class:`Adapter` and one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

ACTIVATIONS = {
    "SiLU": "silu",
    "SiLUActivation": "silu",
    "GELUActivation": "gelu",
    "GELUTanh": "gelu_tanh",
    "NewGELUActivation": "gelu_tanh",
    "FastGELUActivation": "gelu_tanh",
    "ReLU": "relu",
}
"""Classes of activations, and what :func:`lomt_kernels.sparse_ffn` calls them."""


Linear = nn.Linear
"""Or transformers' Conv1D, which has ``weight`` and ``bias``, too."""


@dataclass(frozen=True)
class FFN:
    """One FFN of a model: ``down(act(gate(x)) * up(x))``, or ``down(act(up(x)))`` where it has no gate.

    Attributes:
        name: of the module that has ``up``, as in ``named_modules()``; the router becomes a child of that.
        holder: that module.
        paths: of its parts, by role: ``"gate"``, ``"up"``, ``"down"``, ``"act"``.
        gate, up, down: its linear maps, :class:`torch.nn.Linear` or :class:`transformers.pytorch_utils.Conv1D`.
        act: its activation.
    """

    name: str
    holder: nn.Module
    paths: dict[str, str]
    gate: Linear | None
    up: Linear
    down: Linear
    act: nn.Module

    @property
    def readers(self) -> list[Linear]:
        """The maps that read the FFN's input; the first decides what its neurons are alike in."""
        return [self.up] if self.gate is None else [self.gate, self.up]

    @property
    def activation(self) -> str:
        """As :func:`lomt_kernels.sparse_ffn` calls it; the name of its class where that has none."""
        kind = type(self.act).__name__
        return ACTIVATIONS.get(kind, kind)

    @property
    def neurons(self) -> int:
        """How many there are."""
        return len(rows(self.up))


@dataclass(frozen=True)
class Adapter:
    """Where a family of models has its FFNs: names from a layer of the model on, as ``"mlp.up_proj"``.

    A layer is any module below which all of the names are found. A gated FFN is a module of its own and
    ``sparsify`` swaps it whole; a plain one may be inlined in the layer.

    Attributes:
        up: the linear map that reads the FFN's input (in a gated FFN, the one without the activation).
        down: the linear map that writes its output; called after ``up``, with the neurons' values.
        act: the activation.
        gate: in a gated FFN, the linear map with the activation; called before or after ``up``, with the same input.
    """

    up: str
    down: str
    act: str
    gate: str | None = None

    def find(self, model: nn.Module) -> Iterator[FFN]:
        """The FFNs of a model, in its order."""
        roles = {"gate": self.gate, "up": self.up, "down": self.down, "act": self.act}
        for name, layer in model.named_modules():
            found: dict[str, Any] = {role: _below(layer, path) for role, path in roles.items() if path}
            if None in found.values():
                continue
            paths = {role: _joined(name, path) for role, path in roles.items() if path}
            holder = paths["up"].rpartition(".")[0]
            yield FFN(name=holder, holder=model.get_submodule(holder), paths=paths, **({"gate": None} | found))


def _below(layer: nn.Module, path: str) -> nn.Module | None:
    try:
        return layer.get_submodule(path)
    except AttributeError:
        return None


def _joined(*names: str) -> str:
    return ".".join(filter(None, names))


_LLAMA = Adapter(gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj", act="mlp.act_fn")
_BERT = Adapter(up="intermediate.dense", down="output.dense", act="intermediate.intermediate_act_fn")

ADAPTERS: dict[str, Adapter] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gpt2": Adapter(up="mlp.c_fc", down="mlp.c_proj", act="mlp.act"),
    "opt": Adapter(up="fc1", down="fc2", act="activation_fn"),
    "bert": _BERT,
    "roberta": _BERT,
}
"""The families that are known, by ``model.config.model_type``."""


def register_adapter(model_type: str, adapter: Adapter) -> None:
    """Make a family of models known.

    Args:
        model_type: as in ``model.config.model_type``; for a model without a config, the name of its class.
        adapter: where its FFNs are.

    Example:
        >>> register_adapter("my_llama", Adapter(gate="ffn.w1", up="ffn.w3", down="ffn.w2", act="ffn.act"))
    """
    ADAPTERS[model_type] = adapter


def find_ffns(model: nn.Module) -> list[FFN]:
    """The FFNs of a model of a known family.

    Raises:
        ValueError: the family is not known, has no FFN where its adapter looks, one of a kind that the kernel does
            not have, or one with weights that are not ordinary floating-point numbers, as in a quantized model.
    """
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind not in ADAPTERS:
        raise ValueError(
            f"no FFNs are known in models of type {kind!r} (known: {', '.join(ADAPTERS)}): "
            f"register_adapter({kind!r}, Adapter(up=…, down=…, act=…, gate=…)) says where they are"
        )
    found = list(ADAPTERS[kind].find(model))
    if not found:
        raise ValueError(
            f"{type(model).__name__} of type {kind!r} has no FFN as {ADAPTERS[kind]} describes it: "
            "register_adapter says where they are"
        )
    for ffn in found:
        for role in ("gate", "up", "down"):
            linear = getattr(ffn, role)
            if linear is not None:
                _check_linear(f"the {role} map of {ffn.name}", linear)
        if ffn.activation not in ACTIVATIONS.values():
            raise ValueError(
                f"{ffn.name} has the activation {ffn.activation}: there are kernels for "
                f"{', '.join(sorted(set(ACTIVATIONS.values())))}"
            )
    return found


def rows(linear: Linear) -> Tensor:
    """A view of a linear map's weights as ``[out, in]``, whichever way they are stored."""
    weight = linear.weight.data
    return weight.T if isinstance(linear, Conv1D) else weight


def _check_linear(where: str, linear: nn.Module) -> None:
    weight: Any = getattr(linear, "weight", None)
    ordinary = (
        type(linear) in (nn.Linear, Conv1D)
        and type(weight) is nn.Parameter
        and weight.dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    )
    if not ordinary:
        kind = type(weight).__name__ if isinstance(weight, Tensor) else "no tensor"
        dtype = f" of {str(weight.dtype).removeprefix('torch.')}" if isinstance(weight, Tensor) else ""
        raise ValueError(
            f"{where} is a {type(linear).__module__}.{type(linear).__name__} with weights in {kind}{dtype}, not an "
            "ordinary linear map: load the model unquantized and merge what wraps its layers, quantize afterwards"
        )
    if weight.is_meta:
        raise ValueError(f"{where} has no weights in memory (device 'meta'): load the whole model on one device")
