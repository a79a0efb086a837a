"""Which groups are alive, layer by layer: all that selection and compaction know of a sparse network."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lomt.sparsity.dataflow import Dataflow, trace
from lomt.sparsity.group_lasso import GroupLasso
from lomt.sparsity.groups import Axis, GroupView, channel_groups
from lomt.sparsity.side_branches import side_branches


@dataclass(frozen=True)
class LayerPattern:
    """One layer's groups.

    Attributes:
        name: dotted name of the layer, relative to the backbone.
        alive: for each channel, whether any of its weights is not exactly 0.
        ranked: whether the layer is on the main branch, and so a candidate for a tap.
        block: the module that holds the layer's residual block, ``layer3.0`` say; the layer itself where there is
            none.
        end: the layer that ends the block's branch which this layer is part of. Layers with the same end stand in
            series: where one is dead, nothing comes of the others, however alive they look.
        mass: Σ sqrt(|g|) ‖W_g‖₂ over its groups, what a group lasso of λ = 1 costs; None where it was not noted.
    """

    name: str
    alive: tuple[bool, ...]
    ranked: bool = True
    block: str = ""
    end: str = ""
    mass: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "alive", tuple(bool(one) for one in self.alive))
        object.__setattr__(self, "block", self.block or self.name)
        object.__setattr__(self, "end", self.end or self.name)

    @property
    def density(self) -> float:
        """Share of channels that are alive."""
        return sum(self.alive) / max(len(self.alive), 1)

    @property
    def block_end(self) -> bool:
        """Whether this layer is the last one of its branch of the block."""
        return self.end == self.name


@dataclass(frozen=True)
class Pattern:
    """The groups of all layers that run, in execution order; a layer that no task reaches doesn't count."""

    layers: tuple[LayerPattern, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))

    @cached_property
    def _by_name(self) -> dict[str, LayerPattern]:
        return {layer.name: layer for layer in self.layers}

    def __getitem__(self, name: str) -> LayerPattern:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name)
            raise KeyError(f"no layer {name!r} in the pattern: it has {known}") from None

    @property
    def sparsity(self) -> float:
        """Dead groups / groups, from 0 to 1."""
        groups = sum(len(layer.alive) for layer in self.layers)
        return 1 - sum(sum(layer.alive) for layer in self.layers) / groups if groups else 0.0

    def density(self, name: str) -> float:
        """Share of a layer's channels that are alive.

        Raises:
            KeyError: there's no such layer.
        """
        return self[name].density

    @property
    def ranked(self) -> tuple[LayerPattern, ...]:
        """The layers of the main branch, in execution order."""
        return tuple(layer for layer in self.layers if layer.ranked)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; liveness is a string of 0s and 1s, which keeps files readable."""
        layers = [{**asdict(layer), "alive": "".join("01"[one] for one in layer.alive)} for layer in self.layers]
        return {"layers": layers}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "Pattern":
        """What :meth:`to_dict` gave.

        Raises:
            ValueError: it's no pattern.
        """
        try:
            layers = [{**layer, "alive": [_bit(one) for one in layer["alive"]]} for layer in state["layers"]]
            return cls(tuple(LayerPattern(**layer) for layer in layers))
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no pattern ({error!r}): give what Pattern.to_dict() returned") from error


def _bit(one: Any) -> bool:
    if one in ("0", "1", 0, 1):
        return one in ("1", 1)
    raise ValueError(f"liveness {one!r} is neither 0 nor 1: give what Pattern.to_dict() returned")


def pattern(
    module: nn.Module,
    example: Tensor | None = None,
    axis: Axis = "in",
    ranked: Callable[[str], bool] | None = None,
) -> Pattern:
    """The sparsity pattern of a network's backbone, or of any module.

    The module runs once, to learn which convolutions run, in which order, and which stand in series. Stems and
    shortcuts' projections are not ranked, nor are gates; see :func:`lomt.sparsity.side_branches.side_branches`.

    Args:
        module: a network with a ``backbone``, whose layers are then meant, or any module.
        example: an input, ``(N, C, H, W)``; by default one image of 64×64.
        axis: which channels are the groups.
        ranked: decides by a layer's name whether it is ranked, instead.

    Raises:
        ValueError: the module has no convolution, or none of them runs.
    """
    backbone = getattr(module, "backbone", None)
    views = channel_groups(backbone if isinstance(backbone, nn.Module) else module, axis)
    if not views:
        raise ValueError(f"{type(module).__name__} has no convolution (torch.nn.Conv2d): nothing there is grouped")
    root = backbone if isinstance(backbone, nn.Module) else module
    if example is None:
        first: Any = root.get_submodule(views[0].name)
        example = torch.zeros(1, first.in_channels, 64, 64, dtype=first.weight.dtype, device=first.weight.device)
    flow = trace(module, {view.name: root.get_submodule(view.name) for view in views}, example)
    if not flow.order:
        raise ValueError(f"no convolution of {type(module).__name__} runs in its forward pass: nothing to look at")
    return Pattern(_layers(flow, {view.name: view for view in views}, ranked))


def _layers(
    flow: Dataflow, views: dict[str, GroupView], ranked: Callable[[str], bool] | None
) -> tuple[LayerPattern, ...]:
    chains = flow.series()
    aside = side_branches(flow, chains)
    main = {name for name in flow.order if (name not in aside if ranked is None else ranked(name))}
    place: dict[str, tuple[str, str]] = {}
    for chain in chains:
        branch = [name for name in chain if name in main]
        # Only beside a bypass can the rest live without the chain; elsewhere each layer stands alone.
        if branch and flow.bypassed(chain):
            place |= dict.fromkeys(branch, (_holder(branch), branch[-1]))
    return tuple(
        LayerPattern(
            name,
            tuple(views[name].alive.tolist()),
            name in main,
            *place.get(name, ("", "")),
            mass=round(float(GroupLasso(1.0).value(views[name].tensor.detach())), 6),
        )
        for name in flow.order
    )


def _holder(names: list[str]) -> str:
    """The innermost module that holds all of these layers."""
    holder = names[0].rpartition(".")[0]
    while holder and not all(name.startswith(f"{holder}.") for name in names):
        holder = holder.rpartition(".")[0]
    return holder
