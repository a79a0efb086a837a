"""The structured-sparsity-inducing layer: every task reads all taps, until the penalty has left what it needs."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lomt.checks import check_whole
from lomt_kernels.conv import masked_conv2d_readers


class TapSelector(nn.Module):
    """A projection of each tap for each task, summed: what a task's decoder reads while its tap is being chosen.

    ``y[task] = bias[task] + Σ_tap weight[task, tap] · norm(tap)``, with 1×1 convolutions to a common width. Each tap's
    map is brought to a common size and every channel of it to variance 1, and each tap begins with the same share of
    the sum, so that none is ahead by being loud or wide. The groups are a task's (tap, channel) pairs, and its taps;
    :class:`lomt.selection.TapPath` drives them to 0. What is dead is not computed: the tasks that read a tap do so in
    one call of :func:`lomt_kernels.masked_conv2d_readers`. It stays dead (:meth:`settle`).

    Args:
        channels: tap → channels, from shallow to deep.
        tasks: their names.
        width: channels of what each task's decoder reads.
        size_of: the tap whose map's size all are brought to: larger maps by averaging, smaller ones bilinearly; the
            first tap, if it is not named, as a rule the finest. A coarser one makes decoders cheaper, and hides what
            finer taps could do for a dense task.

    Attributes:
        taps: names of the taps.
        channels: of each tap.
        weights: task → one weight a tap, ``(width, channels, 1, 1)``.
        biases: task → ``(width,)``.

    Raises:
        ValueError: there are no taps or tasks, a count is impossible, or ``size_of`` is no tap.

    Example:
        >>> selector = TapSelector({"layer1": 8, "layer2": 16}, ["depth"], width=4)
        >>> maps = {"layer1": torch.randn(2, 8, 12, 16), "layer2": torch.randn(2, 16, 6, 8)}
        >>> selector(maps)["depth"].shape
        torch.Size([2, 4, 12, 16])
        >>> _ = selector.weights["depth"][0].data.zero_()
        >>> selector.settle()
        >>> selector.surviving("depth")
        {'layer2': 16}
    """

    def __init__(
        self, channels: Mapping[str, int], tasks: Iterable[str], width: int = 64, size_of: str | None = None
    ) -> None:
        super().__init__()
        self.taps, self.channels, names = tuple(channels), tuple(channels.values()), list(tasks)
        if not self.taps or not names:
            raise ValueError("a TapSelector needs a tap and a task at least")
        if size_of is not None and size_of not in channels:
            raise ValueError(f"size_of={size_of!r} is no tap: the taps are {', '.join(channels)}")
        check_whole("the width of a TapSelector", width, 1)
        for tap, count in channels.items():
            check_whole(f"the channels of tap {tap!r}", count, 1)
        self.size_of, self.width = size_of or self.taps[0], width
        self.norms = nn.ModuleList(nn.BatchNorm2d(count, affine=False) for count in channels.values())
        self.weights: Mapping[str, Sequence[Tensor]] = nn.ModuleDict(  # type: ignore[assignment]
            {
                name: nn.ParameterList(
                    torch.randn(width, count, 1, 1) * (len(channels) * count) ** -0.5 for count in channels.values()
                )
                for name in names
            }
        )
        self.biases: Mapping[str, Tensor] = nn.ParameterDict(  # type: ignore[assignment]
            {name: torch.zeros(width) for name in names}
        )
        self.tasks = tuple(names)
        for number, count in enumerate(channels.values()):
            self.register_buffer(f"live{number}", torch.ones(len(names), count, dtype=torch.bool))

    def forward(self, features: Mapping[str, Tensor], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """What each task's decoder reads.

        Args:
            features: tap → its map ``(N, channels, h, w)``.
            tasks: names of the tasks wanted; by default all.

        Returns:
            Task → ``(N, width, H, W)``, of the common size.
        """
        wanted = self.tasks if tasks is None else tuple(tasks)
        size = features[self.size_of].shape[-2:]
        # Maps of one size are summed before they grow: both are linear, and growing is what costs.
        sums: dict[str, dict[torch.Size, Tensor]] = {name: {} for name in wanted}
        for number, tap in enumerate(self.taps):
            live = self.live(number)
            readers = [name for name in wanted if self._reads(live[self.tasks.index(name)])]
            if not readers:
                continue
            found = masked_conv2d_readers(
                self.norms[number](shrunk(features[tap], size)),
                [self.weights[name][number] for name in readers],
                live_in=[live[self.tasks.index(name)] for name in readers],
            )
            for name, maps in zip(readers, found, strict=True):
                by_size, place = sums[name], maps.shape[-2:]
                by_size[place] = by_size[place] + maps if place in by_size else maps
        return {name: self._whole(name, list(by_size.values()), features) for name, by_size in sums.items()}

    def _whole(self, task: str, parts: Sequence[Tensor], features: Mapping[str, Tensor]) -> Tensor:
        """The sum of a task's projections, each of another size."""
        like = features[self.size_of]
        whole = self.biases[task][:, None, None]
        for maps in parts:
            whole = whole + grown(maps, like.shape[-2:])
        return whole if parts else whole.expand(len(like), -1, *like.shape[-2:])

    def live(self, tap: int) -> Tensor:
        """Which channels of a tap, by its number, each task may read, ``(tasks, channels)`` of bool."""
        found: Tensor = getattr(self, f"live{tap}")
        return found

    def surviving(self, task: str) -> dict[str, int]:
        """Tap → how many of its channels the task still reads, without the taps that are dead."""
        row = self.tasks.index(task)
        counts = {tap: int(self.live(number)[row].sum()) for number, tap in enumerate(self.taps)}
        return {tap: count for tap, count in counts.items() if count}

    @torch.no_grad()
    def hold(self) -> None:
        """What is dead is 0 again, wherever an optimizer's momentum has moved it."""
        for number in range(len(self.taps)):
            dead = ~self.live(number)
            for row, name in enumerate(self.tasks):
                self.weights[name][number].data.masked_fill_(dead[row][None, :, None, None], 0)

    @torch.no_grad()
    def settle(self) -> None:
        """What is exactly 0 by now is dead, and stays so; call it after each step of an optimizer."""
        for number in range(len(self.taps)):
            live = self.live(number)
            for row, name in enumerate(self.tasks):
                live[row] &= self.weights[name][number].ne(0).any(0).flatten()
        self.hold()

    @torch.no_grad()
    def keep(self, task: str, taps: Iterable[str]) -> None:
        """Let all taps of a task die but these."""
        kept = set(taps)
        for number, tap in enumerate(self.taps):
            if tap not in kept:
                self.weights[task][number].data.zero_()
        self.settle()

    @staticmethod
    def _reads(live: Tensor) -> bool:
        """Whether anything is alive; on a GPU nobody looks, since that would wait for it."""
        return live.device.type != "cpu" or bool(live.any())


def shrunk(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps that are averaged to a size, where they are larger."""
    side = max(-(-maps.shape[-2] // size[0]), -(-maps.shape[-1] // size[1]))
    if side == 1:
        return maps
    even = F.avg_pool2d(maps, side, ceil_mode=True)
    return even if tuple(even.shape[-2:]) == tuple(size) else F.adaptive_avg_pool2d(maps, (size[0], size[1]))


def grown(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps that are bilinearly brought to a size, where they are smaller."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=list(size), mode="bilinear", align_corners=False)
