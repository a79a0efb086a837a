"""Which files are predicted, and under which names their predictions are stored."""

from collections import Counter
from pathlib import Path

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pnm", ".jp2", ".avif"}
)
"""What files in a folder are taken for pictures; a file that is named itself may have any."""


def find_pictures(source: str | Path, out: str | Path) -> dict[str, Path]:
    """Name of the predictions → file, in order.

    Args:
        source: a file, or a folder, whose folders are searched as well; hidden files are left alone.
        out: where predictions go; nothing there is a picture to predict.

    Returns:
        Names are paths below ``source`` without suffix; with it where another picture has the same name.

    Raises:
        FileNotFoundError: there is no ``source``.
        ValueError: a folder without a picture.
    """
    source, out = Path(source), Path(out).resolve()
    if not source.exists():
        raise FileNotFoundError(f"{source} is missing: give a picture, or a folder of them")
    if source.is_file():
        return {source.stem: source}
    found = sorted(path for path in source.rglob("*") if _is_picture(path, source, out))
    if not found:
        raise ValueError(f"{source} has no picture ({' '.join(sorted(SUFFIXES))}): give a folder that has")
    below = {path: path.relative_to(source) for path in found}
    bare = Counter(str(name.with_suffix("")).casefold() for name in below.values())
    return {
        (str(name) if bare[str(name.with_suffix("")).casefold()] > 1 else str(name.with_suffix(""))): path
        for path, name in below.items()
    }


def _is_picture(path: Path, source: Path, out: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
    return path.suffix.lower() in SUFFIXES and path.is_file() and not hidden and out not in path.resolve().parents
