"""What compaction removed, for reports and for optimizers."""

from dataclasses import dataclass, field, replace

from torch import nn

from lomt.compaction.cuts import Cut

Widths = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Compaction:
    """What became of a module.

    Attributes:
        before: ``(input, output)`` channels of each convolution and linear layer, by name.
        after: the same for the layers that are left.
        parameters: how many numbers there were, and are.
        cuts: for each parameter and buffer that became smaller, the part that is left; all other ones are whole.
        gone: parameters and buffers that took part in the outputs, by name, of which nothing is left.
        notes: what should be said, such as why nothing could be done.
    """

    before: Widths = field(default_factory=dict)
    after: Widths = field(default_factory=dict)
    parameters: tuple[int, int] = (0, 0)
    cuts: dict[str, Cut] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether the module is unchanged."""
        return self.before == self.after

    @property
    def removed(self) -> list[str]:
        """Layers that are gone."""
        return [name for name in self.before if name not in self.after]

    def between(self, before: Widths, after: Widths, module: nn.Module, small: nn.Module) -> "Compaction":
        """The same record with the sizes of both modules."""
        sizes = tuple(sum(p.numel() for p in m.parameters()) for m in (module, small))
        return replace(self, before=before, after=after, parameters=(sizes[0], sizes[1]))

    def __str__(self) -> str:
        said = "".join(f"; {note}" for note in self.notes)
        if self.nothing:
            return f"nothing is dead, unchanged{said}"
        smaller = sum(self.after.get(name) not in (None, size) for name, size in self.before.items())
        old, new = self.parameters
        return (
            f"{len(self.removed)} of {len(self.before)} layers removed, {smaller} narrowed, "
            f"{old:,} → {new:,} parameters{said}"
        )


def widths(module: nn.Module) -> Widths:
    """``(input, output)`` channels of each convolution and linear layer below ``module``."""
    found: Widths = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            found[name] = (layer.in_features, layer.out_features)
        elif hasattr(layer, "kernel_size") and hasattr(layer, "groups"):
            found[name] = (layer.in_channels, layer.out_channels)
    return found
