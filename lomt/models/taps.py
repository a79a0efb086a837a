"""The places of a backbone where a decoder can be attached."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lomt.models.sizes import SizesOnly
from lomt.models.spelling import did_you_mean
from lomt.modes import evaluating


@dataclass(frozen=True)
class Tap:
    """A module whose output is a map that a decoder can read.

    Attributes:
        name: as in ``named_modules()``.
        channels: of the module's output.
        stride: image pixels a step of the output, rounded, at least 1 (the larger of both axes).
        shape: of the output in the dry run, brought to ``(N, C, h, w)``.
        channels_last: whether the module itself gives ``(N, h, w, C)``.
    """

    name: str
    channels: int
    stride: int
    shape: tuple[int, int, int, int]
    channels_last: bool = False


def taps(module: nn.Module, example: Tensor | Sequence[Any] | None = None) -> list[Tap]:
    """List every submodule of a backbone whose output is a map of the image, in order of completion.

    The module runs twice, on the example and on one image more, all of them of another size, in eval mode and without
    gradients; its modes and buffers are as before afterwards. The second time convolutions only say their sizes. What
    changes with the images tells which axes are height and width, and what is no map of the images at all, such as a
    weight that a module computes. Where the module takes no other size, channels are taken to come first, unless only
    the other order fits the image. Containers are listed behind their parts. A module that is called several times
    counts where it ends last.

    Args:
        module: any module that maps images ``(N, C, H, W)``.
        example: images of a size that it accepts; by default one RGB image of 64×64. Or a tuple of all arguments of the
            module, of which the first one with four dimensions is the image.

    Raises:
        ValueError: if the module can't run the example.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> [(tap.name, tap.channels, tap.stride) for tap in taps(net)]
        [('0', 8, 2), ('1', 8, 2)]
    """
    alone = example is None or isinstance(example, Tensor)
    arguments: tuple[Any, ...] = (example_for(module, example),) if alone else tuple(example or ())  # type: ignore[arg-type]
    image = next((one for one in arguments if isinstance(one, Tensor) and one.dim() == 4), None)
    if image is None:
        raise ValueError("the example has no images (N, channels, height, width) among its values: give the arguments")
    first, second, other = _outputs(module, arguments), {}, image
    for resize in (_smaller, _larger):
        others = _another(arguments, len(image), resize)
        other = next(one for one in others if isinstance(one, Tensor) and one.dim() == 4)
        try:
            with SizesOnly():
                second = _outputs(module, others)
            break
        except ValueError:
            continue
    found = {name: _tap(name, shape, second.get(name), image, other) for name, shape in first.items()}
    return [tap for tap in found.values() if tap is not None]


def _outputs(module: nn.Module, arguments: tuple[Any, ...]) -> dict[str, torch.Size]:
    """Shapes of all outputs with four dimensions."""
    found: dict[str, torch.Size] = {}

    def note(name: str, output: Any) -> None:
        found.pop(name, None)
        if isinstance(output, Tensor) and output.dim() == 4:
            found[name] = output.shape

    with evaluating(module), watched(module, note):
        dry_run(module, *arguments)
    return found


def _another(arguments: tuple[Any, ...], count: int, size: Callable[[int, int], tuple[int, int]]) -> tuple[Any, ...]:
    """One image more, of another size and aspect."""

    def another(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.dim() or len(value) != count:
            return value
        value = torch.cat([value, value[:1]])
        maps = value.dim() == 4 and value.is_floating_point()
        return F.interpolate(value, size(*value.shape[2:])) if maps else value

    return tuple(another(value) for value in arguments)


def _smaller(height: int, width: int) -> tuple[int, int]:
    """About half as high and three quarters as wide, for speed; what is too small for that grows; never a square."""
    rows, columns = (height + 31) // 64 * 32 or height + 64, width * 3 // 64 * 16 or width + 32
    return rows, columns + 32 * (rows == columns)


def _larger(height: int, width: int) -> tuple[int, int]:
    return height + 64, width + 32


def _tap(name: str, shape: torch.Size, second: torch.Size | None, image: Tensor, other: Tensor) -> Tap | None:
    """The tap; none where the output is no map of the images."""
    last = _channels_last(shape, second, image)
    if shape[0] != len(image) or "parametrizations" in name.split("."):
        return None
    order = (0, 3, 1, 2) if last else (0, 1, 2, 3)
    n, channels, height, width = (shape[axis] for axis in order)
    if second is not None:
        more, same, *sizes = (second[axis] for axis in order)
        pairs = height == width != sizes[0] == sizes[1]  # of places with places: no image changed like that
        if more != len(other) or same != channels or pairs:
            return None
    stride = max(image.shape[-2] / max(height, 1), image.shape[-1] / max(width, 1))
    return Tap(name, channels, max(1, round(stride)), (n, channels, height, width), last)


def _channels_last(shape: torch.Size, second: torch.Size | None, image: Tensor) -> bool:
    if second is not None:
        return second[1] != shape[1] and second[3] == shape[3]

    def fits(height: int, width: int) -> bool:
        return image.shape[-2] * width == image.shape[-1] * height and image.shape[-2] % max(height, 1) == 0

    return fits(*shape[1:3]) and not fits(*shape[2:4])


def example_for(module: nn.Module, example: Tensor | None) -> Tensor:
    """The example, or one RGB image of 64×64, with the device and type of the module's first parameter.

    Raises:
        TypeError: if the example is no tensor.
        ValueError: if it is no batch of images.
    """
    if example is not None and not isinstance(example, Tensor):
        raise TypeError(f"the example is a {type(example).__name__}: a network maps one batch of images, give it alone")
    if example is not None and (example.dim() != 4 or 0 in example.shape or not example.is_floating_point()):
        shape = tuple(example.shape)
        raise ValueError(f"example of shape {shape}, {example.dtype}: give float images (N, channels, height, width)")
    image = torch.zeros(1, 3, 64, 64) if example is None else example.detach()
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    return image if like is None else image.to(like)


def dry_run(module: nn.Module, *arguments: Any) -> None:
    """Run a module without gradients.

    Raises:
        ValueError: if it can't run images of this shape.
    """
    try:
        with torch.no_grad():
            module(*arguments)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        shapes = ", ".join(str(tuple(one.shape)) for one in arguments if isinstance(one, Tensor))
        raise ValueError(
            f"the backbone can't run an example of shape {shapes}: {error}; pass a fitting example"
        ) from error


@contextmanager
def watched(module: nn.Module, note: Any) -> Iterator[None]:
    """Call ``note(name, output)`` whenever a submodule (not the module itself) has run."""
    handles = [
        part.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, part in module.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def find(module: nn.Module, name: str, candidates: Mapping[str, Tap]) -> Tap:
    """The tap of this name; a module that goes by several names is found by each of them.

    Raises:
        ValueError: if there is no such module, or its output is no map.
    """
    parts = dict(module.named_modules(remove_duplicate=False))
    if not name or name not in parts:
        children = [child for child, _ in module.named_children()]
        known = f"{children[0]} … {children[-1]}" if len(children) > 2 else " and ".join(children) or "no parts"
        known = f"the backbone has {known}; see lomt.taps(backbone, example)"
        raise ValueError(f"unknown tap {name!r} – {known}{did_you_mean(name, parts)}")
    first = next(canonical for canonical, part in module.named_modules() if part is parts[name])
    if first not in candidates:
        raise ValueError(
            f"tap {name!r} ({type(parts[name]).__name__}) gives no map (N, C, h, w) in a forward pass; "
            f"choose one of lomt.taps(backbone, example)"
        )
    return candidates[first]
