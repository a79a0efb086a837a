"""The saved networks of a run, wherever a saved network can be named."""

from collections.abc import Sequence
from pathlib import Path

from lomt.files import DamagedFileError, read_record

AGAIN = "remove it and run again to repeat that stage"


def saved(paths: Sequence[str | Path]) -> list[Path]:
    """Paths of saved networks; a run stands for those that it has exported, the one that it made small at the end.

    Raises:
        ValueError: a run that has exported nothing, or whose record of it is damaged.
    """
    return [one for path in paths for one in (_exported(Path(path)) if is_run(Path(path)) else [Path(path)])]


def is_run(path: Path) -> bool:
    """Whether this is a run's folder."""
    return (path / "config.yaml").exists() and (path / "stages").is_dir()


def _exported(path: Path) -> list[Path]:
    file = path / "stages/export/result.json"
    if not file.exists():
        raise ValueError(
            f"{path} is a run that has exported nothing: let it end with --study.export true and "
            "pip install 'lomt-kernels[export]'"
        )
    try:
        result = read_record(file, AGAIN)
        places = [path / "stages" / place for place in result["models"].values()]
    except (LookupError, TypeError, AttributeError) as error:
        raise DamagedFileError(file, repr(error), AGAIN) from error
    if not places:
        raise ValueError(f"{path} is a run whose networks could not be exported: {'; '.join(result['notes'])}")
    return places
