"""What networks are built of, as a few values that a config file can hold."""

import importlib
from dataclasses import dataclass

from torch import nn

from lomt.models.catalogue import MakeDecoder, backbone, decoder


@dataclass(frozen=True)
class Architecture:
    """Backbone and decoders by name.

    Attributes:
        backbone: resnetd18, resnetd26, resnetd50, resnetd101, or package.module:callable that makes your own.
        width: channels of the stem of a built-in backbone.
        output_stride: image pixels a step of the last map of a built-in backbone: 8, 16 or 32.
        decoder: decoder of the dense tasks, deeplab or light; other tasks have a classification head.
        decoder_width: channels inside the decoder of a dense task.
    """

    backbone: str = "resnetd18"
    width: int = 64
    output_stride: int = 8
    decoder: str = "deeplab"
    decoder_width: int = 256

    def make_backbone(self) -> nn.Module:
        """A fresh backbone.

        Raises:
            ValueError: where there is no such backbone, or its width or stride is impossible.
        """
        if ":" not in self.backbone:
            return backbone(self.backbone, self.width, self.output_stride)
        module, _, name = self.backbone.partition(":")
        try:
            make = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"backbone {self.backbone!r} can't be imported ({error}): write package.module:callable"
            ) from error
        made: nn.Module = make()
        return made

    def make_decoder(self) -> MakeDecoder:
        """What makes a task's decoder from (channels, task)."""
        return decoder(self.decoder, width=self.decoder_width)
