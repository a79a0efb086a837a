"""The saved networks of a run, wherever a saved network can be named."""

from collections.abc import Sequence
from pathlib import Path

from lomt.runs.folder import RunFolder, RunFolderError


def saved(paths: Sequence[str | Path]) -> list[Path]:
    """Paths of saved networks; a run stands for those that it has exported, the one that it made small at the end.

    Raises:
        RunFolderError: a run that has exported nothing.
    """
    return [one for path in paths for one in (_exported(Path(path)) if is_run(Path(path)) else [Path(path)])]


def is_run(path: Path) -> bool:
    """Whether this is a run's folder."""
    return (path / "config.yaml").exists() and (path / "stages").is_dir()


def _exported(path: Path) -> list[Path]:
    folder = RunFolder(path)
    result = folder.result("export")
    if result is None:
        raise RunFolderError(
            f"{path} is a run that has exported nothing: let it end with --study.export true and "
            "pip install 'lomt-kernels[export]'"
        )
    if not result["models"]:
        raise RunFolderError(f"{path} is a run whose networks could not be exported: {'; '.join(result['notes'])}")
    return [folder.stages / place for place in result["models"].values()]
