"""Cutting a backbone that can't be traced: it runs as it is, and is stopped behind its deepest tap."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from torch import Tensor, nn

from lomt.models.probe import attempt
from lomt.models.truncated import Truncated, prune
from lomt.tracing.copying import shadow


class _Enough(BaseException):
    """All taps are known; no ``except Exception`` of the backbone may catch it."""


class _Removed:
    """Stands where a part was: it may be mentioned, as in ``self.part(self.other(x))``, but not used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _complain(self) -> NoReturn:
        raise RuntimeError(
            f"the backbone took a way that no dry run had taken: it needs {self._name!r}, which was removed; "
            f"give Network an example that takes this way"
        )

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        self._complain()

    def __getattr__(self, attribute: str) -> NoReturn:
        if attribute.startswith("_"):
            raise AttributeError(attribute)  # copying and pickling ask for what is not there
        self._complain()

    def __torch_function__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        self._complain()


class Stopped(Truncated):
    """A backbone that runs its own code until the last call of the deepest tap, which raises.

    Args:
        root: a copy of the backbone.
        taps: their names.
        calls: mode (training or not) → how often each tap is called in a forward pass.
        overwritten: taps whose value is changed in place later on, and must be kept safe.
    """

    def __init__(
        self,
        root: nn.Module,
        taps: Sequence[str],
        calls: Mapping[bool, Mapping[str, int]],
        overwritten: Collection[str],
    ) -> None:
        super().__init__(root, taps)
        self._root = (root,)  # a tuple hides it from nn.Module: its parts are ours
        self._calls = {training: dict(count) for training, count in calls.items()}
        self._overwritten = frozenset(overwritten)

    def train(self, mode: bool = True) -> "Stopped":
        """Set the mode, of the hidden root too."""
        self._root[0].training = mode
        super().train(mode)
        return self

    def prune(self, images: Sequence[Tensor]) -> None:
        """Remove every part that no forward pass over these images, in either mode, has called or read."""
        called: set[int] = set()
        read: set[int] = set()
        for image in images:
            for training in (False, True):
                tried = shadow(self)
                with _followed(self, tried, called, read):
                    attempt(tried, image, training=training)
        root = self._root[0]
        leaves = {id(part) for part in root.modules() if next(part.children(), None) is None}
        for container, name in prune(root, whole=called & leaves, tensors=read, present=called):
            container.__dict__[name] = _Removed(name)

    def _features(self, image: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        counts = self._calls[self.training]
        left = Counter({name: counts[name] for name in names})
        features: dict[str, Tensor] = {}

        def note(name: str, output: Tensor) -> None:
            features[name] = output.clone() if name in self._overwritten else output
            left[name] -= 1
            if all(count <= 0 for count in left.values()):
                raise _Enough

        handles = [self.get_submodule(name).register_forward_hook(_noting(name, note)) for name in names]
        try:
            self._root[0](image)
        except _Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in names if name not in features]
        if missing:
            raise RuntimeError(f"the backbone did not reach tap {missing[0]!r} with this input")
        return features


def _noting(name: str, note: Callable[[str, Any], None]) -> Callable[..., None]:
    return lambda _module, _inputs, output: note(name, output)


@contextmanager
def _followed(original: Stopped, tried: Stopped, called: set[int], read: set[int]) -> Iterator[None]:
    """Note which parts of ``tried`` are called, and which of its attributes are read, as ids in ``original``."""
    twins = {id(mine): theirs for mine, theirs in zip(tried.modules(), original.modules(), strict=True)}
    twins[id(tried._root[0])] = original
    plain_getattr = nn.Module.__getattr__

    def noting_getattr(module: nn.Module, name: str) -> Any:
        twin = twins.get(id(module))
        if twin is not None:
            for store in (twin._parameters, twin._buffers):
                if name in store:
                    read.add(id(store[name]))
        return plain_getattr(module, name)

    def noting_call(module: nn.Module, _inputs: Any) -> None:
        called.add(id(twins[id(module)]))

    handles = [part.register_forward_pre_hook(noting_call) for part in tried.modules()]
    nn.Module.__getattr__ = noting_getattr  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__getattr__ = plain_getattr  # type: ignore[method-assign]
        for handle in handles:
            handle.remove()
