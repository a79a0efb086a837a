"""A network of a run, made small anew: what is behind ``tailor compact``."""

from pathlib import Path

from tailor.compaction import Compaction
from tailor.methods import Result, Workshop
from tailor.methods.export import save
from tailor.runs.folder import RunFolder, RunFolderError


def compact(
    folder: RunFolder,
    workshop: Workshop,
    out: str | Path,
    *,
    method: str = "",
    round_to: int = 1,
    overwrite: bool = False,
) -> Compaction:
    """Remove what is dead from a trained multi-task network of a run, and save it; the run stays as it is.

    Args:
        folder: of the run.
        workshop: as the run was made with.
        out: a folder, written as :func:`tailor.export.save_pretrained` does.
        method: whose network, that of its first seed; by default the study's last one that has a network.
        round_to: channel counts are kept at multiples of this.
        overwrite: whether ``out`` may hold something.

    Returns:
        What was removed.

    Raises:
        RunFolderError: where this is no run, or no such network has ended: says which have.
    """
    order = list(folder.config()["study"]["methods"])
    together: dict[str, Result] = {}
    for result in folder.results().values():
        if "validation" in result and len(result.get("taps", ())) > 1:
            known = together.setdefault(result["method"], result)
            if result["seed"] < known["seed"]:
                together[result["method"]] = result
    if not together:
        raise RunFolderError(f"{folder.path} holds no multi-task network that has ended: go on with the run first")
    if method and method not in together:
        raise RunFolderError(f"{folder.path} holds no network of {method!r} that has ended: {', '.join(together)} have")
    last = max(together, key=lambda name: order.index(name) if name in order else -1)
    compared = folder.result("compare")
    small, _ = save(together[method or last], workshop, round_to, compared, Path(out), overwrite)
    return small.record
