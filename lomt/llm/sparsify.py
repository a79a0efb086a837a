"""A model that reads only the active experts' weights, and back again."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lomt.llm.adapters import FFN, Linear, find_ffns, rows
from lomt.llm.router import Router, is_sparse, routers, set_mode
from lomt_kernels import pack_ffn, sparse_ffn, unpack_ffn

Model = TypeVar("Model", bound=nn.Module)


class SparseFFN(nn.Module):
    """An FFN over packed weights: each token reads and computes the experts that its router keeps.

    One rule for one token and for many: :func:`lomt_kernels.sparse_ffn` takes each row's own mask and chooses by the
    number of rows how to compute it. For inference only.

    Args:
        ffn: the FFN. Its weights go into the packed form and are gone from where they were.
        router: of the FFN.

    Attributes:
        gate_up: ``[experts, 2, size, d]``, or ``[experts, 1, size, d]`` where there is no gate.
        down_t: ``[experts, size, d_out]``.
        bias: of the neurons, ``[experts, 2 or 1, size]``, or None.
        down_bias: ``[d_out]``, or None.
    """

    gate_up: Tensor
    down_t: Tensor
    bias: Tensor | None
    down_bias: Tensor | None

    def __init__(self, ffn: FFN, router: Router) -> None:
        super().__init__()
        size = router.settings.expert_size
        gate_up, down_t = pack_ffn(None if ffn.gate is None else rows(ffn.gate), rows(ffn.up), rows(ffn.down), size)
        router.sparse = True
        self.router = router
        self.activation: Any = ffn.activation
        self.register_buffer("gate_up", gate_up)
        self.register_buffer("down_t", down_t)
        self.register_buffer("bias", _neurons_bias(ffn, size))
        self.register_buffer("down_bias", None if ffn.down.bias is None else ffn.down.bias.detach().clone())
        self._ffn = (ffn,)  # a tuple, so that its modules do not become this one's
        for linear in (*ffn.readers, ffn.down):
            for parameter in linear.parameters():
                parameter.data = parameter.data.new_empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., d]`` to ``[..., d_out]``."""
        return sparse_ffn(
            x,
            self.gate_up,
            self.down_t,
            self.router.active(x),
            activation=self.activation,
            bias=self.bias,
            down_bias=self.down_bias,
        )

    def release(self) -> FFN:
        """The FFN that this one was made of, its weights where they were, bit for bit; nothing is left here."""
        (ffn,) = self._ffn
        self.router.sparse = False
        gate, up, down = unpack_ffn(self.gate_up, self.down_t)
        readers = [up] if gate is None else [gate, up]
        biases = [None] * len(readers) if self.bias is None else self.bias.unbind(1)
        for linear, weight, bias in zip(ffn.readers, readers, biases, strict=True):
            _put(linear, weight, None if bias is None else bias.flatten())
        _put(ffn.down, down, self.down_bias)
        del self.gate_up, self.down_t
        return ffn


def sparsify(model: Model) -> Model:
    """Swap each FFN of a model with routers for its packed, sparse form, in place; the model is for inference then.

    The packed weights replace the originals, one FFN at a time: they are never both there for the whole model.
    ``generate`` works as before, greedy, sampling or with beams, in batches with left padding, with a cache; prompts
    and new tokens go by the same rule, G > τ. It is the model of mode ``"hard"``, but for rounding.

    Args:
        model: of :func:`lomt.llm.moefy`.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: it has no routers, or is sparse already.
    """
    found = routers(model)
    if is_sparse(model):
        raise ValueError(f"{type(model).__name__} is sparse already: densify(model) gives its dense form back")
    set_mode(model, "hard")
    for ffn in find_ffns(model):
        sparse = SparseFFN(ffn, found[ffn.name])
        if ffn.gate is not None:
            model.set_submodule(ffn.name, sparse)
            continue
        del ffn.holder.router
        model.set_submodule(ffn.paths["up"], sparse)
        model.set_submodule(ffn.paths["act"], nn.Identity())
        model.set_submodule(ffn.paths["down"], nn.Identity())
    return model.eval()


def densify(model: Model) -> Model:
    """Undo :func:`sparsify`, in place: the same modules and parameters, bit for bit, in mode ``"hard"``.

    Raises:
        ValueError: the model is not sparse, or has no routers.
    """
    if not is_sparse(model):
        raise ValueError(f"{type(model).__name__} is not sparse: sparsify(model) makes it so")
    for module in [module for module in model.modules() if isinstance(module, SparseFFN)]:
        ffn = module.release()
        if ffn.gate is not None:
            model.set_submodule(ffn.name, ffn.holder)
            continue
        for role in ("up", "act", "down"):
            model.set_submodule(ffn.paths[role], getattr(ffn, role))
        ffn.holder.router = module.router
    return model


def _neurons_bias(ffn: FFN, size: int) -> Tensor | None:
    biases = [linear.bias for linear in ffn.readers]
    there = [bias for bias in biases if bias is not None]
    if not there:
        return None
    each = [torch.zeros_like(there[0]) if bias is None else bias for bias in biases]
    return torch.stack([bias.detach().unflatten(0, (-1, size)) for bias in each], 1).contiguous()


def _put(linear: Linear, weight: Tensor, bias: Tensor | None) -> None:
    linear.weight.data = weight.T.contiguous() if isinstance(linear, Conv1D) else weight
    if linear.bias is not None and bias is not None:
        linear.bias.data = bias
