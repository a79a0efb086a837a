"""A network of a run, made small anew: what is behind ``lomt compact``."""

from pathlib import Path

from lomt.compaction import Compaction
from lomt.files import ready
from lomt.methods import Setup
from lomt.methods.export import save
from lomt.runs.folder import RunFolder, RunFolderError
from lomt.runs.trained import together


def compact(
    folder: RunFolder,
    setup: Setup,
    out: str | Path,
    *,
    method: str = "",
    round_to: int = 1,
    overwrite: bool = False,
) -> Compaction:
    """Remove what is dead from a trained multi-task network of a run, and save it; the run stays as it is.

    Args:
        folder: of the run.
        setup: as the run was made with.
        out: a folder, written as :func:`lomt.export.save_pretrained` does.
        method: whose network, that of its first seed; by default the study's last one that has a network.
        round_to: channel counts are kept at multiples of this.
        overwrite: whether ``out`` may hold something.

    Returns:
        What was removed.

    Raises:
        NotWrittenError: where ``out`` can't be written to.
        RunFolderError: where this is no run, or no such network has ended: says which have.
    """
    networks = together(folder)
    if not networks:
        raise RunFolderError(f"{folder.path} holds no multi-task network that has ended: go on with the run first")
    if method and method not in networks:
        raise RunFolderError(f"{folder.path} holds no network of {method!r} that has ended: {', '.join(networks)} have")
    ready(Path(out).absolute().parent)
    first = networks[method or list(networks)[-1]][0]
    small, _ = save(first, setup, round_to, folder.result("compare"), Path(out), overwrite)
    return small.record
