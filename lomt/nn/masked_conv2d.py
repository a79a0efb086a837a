"""A convolution that looks which of its channels are dead, and skips them."""

import logging
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.overrides import is_tensor_like

from lomt_kernels import LiveList, group_alive, masked_conv2d, registry
from lomt_kernels.conv.function import left_to_torch

_LOG = logging.getLogger("lomt")
# Where torch can't tell an export from a compilation, both are taken for an export.
_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class _Frozen(NamedTuple):
    """Which input and output channels were alive when a layer was frozen: as masks, and as lists if some were dead."""

    masks: tuple[Tensor, Tensor]
    lists: tuple[LiveList | None, LiveList | None]

    @property
    def some(self) -> bool:
        """Whether anything was dead."""
        return self.lists != (None, None)

    @classmethod
    def of(cls, *masks: Tensor) -> "_Frozen":
        ins, outs = (None if bool(mask.all()) else LiveList.of(mask, mask.shape[0]) for mask in masks)
        return cls((masks[0], masks[1]), (ins, outs))


class Asked(NamedTuple):
    """A call of the kernel: stride, padding, dilation and groups are its window; None as a list: all are alive."""

    kernel: Tensor
    bias: Tensor | None
    window: tuple[Any, ...]
    live_in: LiveList | Tensor | None
    live_out: LiveList | Tensor | None
    revive: bool

    @property
    def skips(self) -> bool:
        """Whether anything is dead; on a GPU nobody looks."""
        return self.live_in is not None or self.live_out is not None


class MaskedConv2d(nn.Conv2d):
    """``nn.Conv2d`` that skips input and output channels whose weights are all exactly 0, forward and backward.

    Constructor, parameters, state dict and outputs are those of ``nn.Conv2d``; it gets faster as channels die. It reads
    stride, padding and dilation at each call, and while it is not frozen also which channels are alive, from the
    weight: nothing is remembered that another hand may have changed.

    A dead channel comes back only by its gradient. On every ``revive_every``-th optimizer step (1, the default: on
    each) that is computed, as in plain PyTorch; with None it never is, and what is dead stays dead. Steps are counted
    by changes of the weight's version, so with optimizers that write to ``weight.data`` it is computed on each. A
    weight's attribute ``computed_groups`` tells :class:`~lomt.optim.ProxAdamW` whose moments to leave alone.

    :meth:`freeze` takes the channels that are alive now for good, until :meth:`thaw`. Dead weights then have no
    gradient, and are held at 0: where another optimizer's momentum or decay has moved them, the next training forward
    sets them to 0 again and says so once, in a warning of the logger ``"lomt"``.

    Traced by ``torch.fx`` or ``torch.jit``, scripted, exported or written to ONNX, it is the plain convolution with its
    zeros.
    """

    __jit_unused_properties__ = ("frozen", "live", "revive_every")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 – torch's name for it
        """As ``nn.Conv2d``."""
        if torch.jit.is_scripting():
            return self._conv_forward(input, self.weight, self.bias)
        return self._skipping(input)

    @torch.jit.unused
    def _skipping(self, x: Tensor) -> Tensor:
        if not is_tensor_like(x) or captured(x, self.weight):
            return self._conv_forward(x, self.weight, self.bias)
        if not torch.compiler.is_compiling():
            shared = self.__dict__.get("_shared")  # set for the time of a network's forward: who reads this map, too
            if shared is not None:
                together: Tensor = shared.read(self, x)
                return together
        return self.convolved(x, self.asked(x))

    def asked(self, x: Tensor) -> Asked | None:
        """What this layer asks of the kernel for an input, or None where the plain convolution is the faster."""
        weight = self.weight
        trained = torch.is_grad_enabled() and weight.requires_grad
        frozen = self._fitting()
        if frozen is not None and self.training and trained and frozen.some and not torch.compiler.is_compiling():
            self._hold(frozen)
        masks = self._alive() if frozen is None else frozen.masks
        revive = trained and frozen is None and self._revives()
        if trained and not (revive and getattr(weight, "computed_groups", None) is None):
            weight.computed_groups = None if revive else dict(zip(("in", "out"), masks, strict=True))  # type: ignore[attr-defined]
        live_in, live_out = map(_some, masks) if frozen is None else frozen.lists
        needed = self.__dict__.get("_needed")  # set for the time of a network's forward: outputs that somebody reads
        if needed is not None:
            live_out = _some(masks[1] & needed)
        if live_in is None and live_out is None and left_to_torch(x, weight, self.groups):
            return None
        kernel, *window = self._window(x)
        return Asked(kernel, self.bias, (*window, self.groups), live_in, live_out, revive)

    def convolved(self, x: Tensor, asked: Asked | None) -> Tensor:
        """What :meth:`asked` describes."""
        if asked is None:
            return self._conv_forward(x, self.weight, self.bias)
        found: Tensor = masked_conv2d(
            *(x, asked.kernel, asked.bias, *asked.window),
            live_in=asked.live_in,
            live_out=asked.live_out,
            revive=asked.revive,
            padding_mode=self.padding_mode,
        )
        return found

    def geometry(self, x: Tensor) -> tuple[Any, ...]:
        """What layers must have in common to read a map in one call."""
        kernel, *window = self._window(x)
        return kernel.shape[1:], window, self.groups, self.padding_mode, kernel.dtype, kernel.device

    @property
    def revive_every(self) -> int | None:
        """On every so many-th optimizer step dead weights get their gradient; None: never."""
        every: int | None = self.__dict__.get("_revive_every", 1)
        return every

    @revive_every.setter
    def revive_every(self, every: int | None) -> None:
        self.__dict__["_revive_every"] = checked_revival(every)

    @property
    def live(self) -> LiveList:
        """Which input channels are alive: now, or since :meth:`freeze`."""
        frozen = self._fitting()
        return LiveList.of(self._alive()[0] if frozen is None else frozen.masks[0], self.in_channels)

    @property
    def frozen(self) -> bool:
        """Whether what is dead stays dead."""
        return self.__dict__.get("_frozen") is not None

    def freeze(self) -> None:
        """Take the channels that are alive now for good.

        Raises:
            ValueError: the weight holds NaNs, which are neither dead nor alive.
        """
        if bool(self.weight.isnan().any()):
            raise ValueError("a weight with NaNs can't be frozen: nobody knows what of it is alive")
        self.__dict__["_frozen"] = _Frozen.of(*self._alive())
        self.__dict__["_said"] = False

    def thaw(self) -> None:
        """Look at the weight at each call again; what is dead is set to 0 first, where the optimizer has moved it."""
        frozen = self._fitting()
        if frozen is not None:
            self._hold(frozen)
        self.__dict__["_frozen"] = None

    def read(self) -> Tensor:
        """Which input channels the next forward reads, ``(in_channels,)`` of bool: live ones, or all to revive them."""
        frozen = self._fitting()
        if frozen is not None:
            return frozen.masks[0]
        weight = self.weight.detach()
        if torch.is_grad_enabled() and self.weight.requires_grad and self._revives():
            return weight.new_ones(self.in_channels, dtype=torch.bool)
        return group_alive(weight, axis="in", groups=self.groups)

    def _window(self, x: Tensor) -> tuple[Tensor, Any, Any, Any]:  # noqa: ARG002 – kinds of it look at its size
        """The kernel, stride, padding and dilation with which an input is convolved."""
        return self.weight, self.stride, self.padding, self.dilation

    def _alive(self) -> tuple[Tensor, Tensor]:
        """Masks of input and output channels that are alive in the weight."""
        weight = self.weight.detach()
        return group_alive(weight, axis="in", groups=self.groups), group_alive(weight, axis="out", groups=self.groups)

    def _fitting(self) -> _Frozen | None:
        """What was frozen, on the weight's device."""
        frozen: _Frozen | None = self.__dict__.get("_frozen")
        if frozen is None:
            return None
        ins, outs = (mask.shape[0] for mask in frozen.masks)
        if (ins, outs) != (self.weight.shape[1] * self.groups, self.weight.shape[0]):
            raise RuntimeError(
                f"the weight was frozen with {outs} outputs and {ins} inputs, and is now of "
                f"{tuple(self.weight.shape)}: call thaw()"
            )
        if frozen.masks[0].device != self.weight.device:
            frozen = _Frozen.of(*(mask.to(self.weight.device) for mask in frozen.masks))
            self.__dict__["_frozen"] = frozen
        return frozen

    def _revives(self) -> bool:
        every = self.revive_every
        if every is None or every == 1:
            return every == 1
        seen, steps = self.__dict__.get("_counted", (None, -1))
        if seen != self.weight._version:
            steps += 1
            self.__dict__["_counted"] = (self.weight._version, steps)
        return bool(steps % every == 0)

    def _hold(self, frozen: _Frozen) -> None:
        """Set what is dead to 0 where it is not; without a word to autograd, since nothing reads it."""
        ins, outs = frozen.masks
        if ins.device.type == "cpu":  # elsewhere, looking would wait for the device
            now = self._alive()
            if not bool((now[0] > ins).any()) and not bool((now[1] > outs).any()):
                return
            if not self.__dict__["_said"]:
                _LOG.warning(
                    "dead weights of a frozen convolution were moved by the optimizer: they are set to 0 again"
                )
                self.__dict__["_said"] = True
        out, inner = self.weight.shape[:2]
        of_rows = ins.view(self.groups, 1, inner).expand(-1, out // self.groups, -1).reshape(out, inner)
        self.weight.data.masked_fill_(~(of_rows & outs[:, None])[:, :, None, None], 0)


def _some(mask: Tensor) -> Tensor | None:
    """A mask, or None where all are alive; on a GPU nobody looks, since that would wait for it."""
    return None if mask.device.type == "cpu" and not registry.watched(mask) and bool(mask.all()) else mask


def make_plain(layer: MaskedConv2d, kind: type[nn.Conv2d] = nn.Conv2d) -> None:
    """Make a layer an ``nn.Conv2d`` again, in place, which knows nothing of what was dead."""
    layer.thaw()
    for key in ("_frozen", "_said", "_counted", "_revive_every", "_needed", "_shared"):
        layer.__dict__.pop(key, None)
    vars(layer.weight).pop("computed_groups", None)
    layer.__class__ = kind  # type: ignore[assignment]


def checked_revival(every: int | None) -> int | None:
    """A number of steps from 1 on, or None."""
    if every is not None and not every >= 1:
        raise ValueError(f"revive_every={every}: give a number of steps from 1 on, or None for never")
    return every


def captured(*values: Any) -> bool:
    """Whether a graph is being made of these values, in which a layer is the plain convolution."""
    return any(isinstance(value, fx.Proxy) for value in values) or torch.jit.is_tracing() or _exporting()
