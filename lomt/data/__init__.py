"""Where samples come from. A new source is one file and one line in :data:`SOURCES`."""

from lomt.extras import need

need("lomt.data", "train", "PIL", "tqdm")

from lomt.data.augment import Augmentation
from lomt.data.nyud_mt import NYUDMT
from lomt.data.nyuv2 import NYUv2
from lomt.data.samples import Samples
from lomt.data.scenes import Scenes
from lomt.data.source import Source, Split

SOURCES: dict[str, type[Source]] = {
    "scenes": Scenes,
    "nyuv2": NYUv2,
    "nyud_mt": NYUDMT,
}
"""Every source by the name that the command line knows it by."""

__all__ = ["NYUDMT", "SOURCES", "Augmentation", "NYUv2", "Samples", "Scenes", "Source", "Split"]
