"""A backbone without what lies beyond its deepest tap."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence, Set
from typing import Any

from torch import Tensor, nn

from lomt.models.taps import Tap


class Truncated(nn.Module):
    """Base of cut backbones: features at its taps, under the original's parameter names.

    It takes over the modules, parameters and buffers of ``root``, which is given up to it.

    Args:
        root: a copy of the backbone, already pruned.
        taps: names of the modules whose outputs it gives, in order of completion.

    Attributes:
        channels_last: taps that give ``(N, h, w, c)`` by themselves, which is brought to ``(N, c, h, w)``.
    """

    def __init__(self, root: nn.Module, taps: Sequence[str]) -> None:
        super().__init__()
        for store in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[store] = root.__dict__[store]
        self._taps = tuple(taps)
        self.channels_last: frozenset[str] = frozenset()
        self.training = root.training

    def forward(self, image: Tensor, taps: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Map images ``(N, C, H, W)`` to ``{tap: features (N, c, h, w)}``, running no deeper than ``taps`` ask.

        Args:
            image: a batch of images.
            taps: some of this backbone's taps; by default all.
        """
        chosen = set(self._taps if taps is None else taps)
        names = tuple(name for name in self._taps if name in chosen)
        features = self._features(image, names)
        return {
            name: map_.permute(0, 3, 1, 2) if name in self.channels_last else map_ for name, map_ in features.items()
        }

    def also(self, taps: Sequence[Tap]) -> "Truncated":
        """The same backbone, its parts shared, that gives the outputs of more of the modules that it calls.

        Args:
            taps: as ``lomt.taps(backbone)`` lists them; those that it has already are no more.

        Raises:
            ValueError: it can't, since it is not traced, or a tap is no module that it calls.
        """
        if all(tap.name in self._taps for tap in taps):
            return self
        more = self._also([tap.name for tap in taps if tap.name not in self._taps])
        more.channels_last = self.channels_last | {tap.name for tap in taps if tap.channels_last}
        return more

    def _also(self, names: Sequence[str]) -> "Truncated":
        raise ValueError(f"the backbone can't be traced, so that it gives its own taps alone and not {names[0]!r}")

    @abstractmethod
    def _features(self, image: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]: ...


def prune(
    module: nn.Module, whole: Set[int], tensors: Set[int], present: Set[int] = frozenset()
) -> list[tuple[nn.Module, str]]:
    """Remove what is not needed from a module, in place.

    Args:
        module: loses its children, parameters and buffers that are not kept.
        whole: ids of the modules that stay as they are.
        tensors: ids of parameters and buffers that stay although their module is not kept whole.
        present: ids of the modules that stay even if they are empty in the end.

    Returns:
        For each removed part, where it was and its name there.
    """
    removed = []
    for name, child in list(module._modules.items()):
        if child is None or id(child) in whole:
            continue
        removed += prune(child, whole, tensors, present)
        if id(child) not in present and not _content(child):
            del module._modules[name]
            removed.append((module, name))
    stores: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
    for store in stores:
        for name, tensor in list(store.items()):
            if tensor is not None and id(tensor) not in tensors:
                del store[name]
                module._non_persistent_buffers_set.discard(name)
                removed.append((module, name))
    return removed


def _content(module: nn.Module) -> bool:
    stores: tuple[dict[str, Any], ...] = (module._modules, module._parameters, module._buffers)
    return any(part is not None for store in stores for part in store.values())
