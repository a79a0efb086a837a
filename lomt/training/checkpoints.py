"""The checkpoints of a training that was broken off: the last epoch's, and the one before in case that is damaged."""

import warnings
from pathlib import Path

from lomt.files import DamagedFileError, written
from lomt.training.stored import check, packed

CHECKPOINT = "last.ckpt"
PREVIOUS = "previous.ckpt"
"""The checkpoint of the epoch before that of :data:`CHECKPOINT`."""


def keep(checkpoint: object, path: Path) -> None:
    """Write a checkpoint; the one of the epoch before, in whose place it comes, stays under another name.

    Raises:
        NotWrittenError: it can't be written.
    """
    with written(path) as draft:
        draft.write_bytes(packed(checkpoint))
        if path.name == CHECKPOINT and path.exists():
            path.replace(path.with_name(PREVIOUS))


def newest(folder: Path) -> Path | None:
    """The checkpoint to go on from, or none; a damaged one is named and removed, and an older one takes its place."""
    for name, instead in ((CHECKPOINT, "the epoch before, or the start"), (PREVIOUS, "the start")):
        file = folder / name
        if not file.exists():
            continue
        try:
            check(file, f"it is removed, and the training goes on from {instead}")
        except DamagedFileError as error:
            warnings.warn(str(error), stacklevel=2)
            file.unlink()
        else:
            return file
    return None


def forget(folder: Path) -> None:
    """Remove the checkpoints of a training that has ended: they serve a broken-off one alone."""
    for name in (CHECKPOINT, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
