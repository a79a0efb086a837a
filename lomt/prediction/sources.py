"""Which files are predicted, and under which names their predictions are stored."""

import hashlib
import itertools
from collections import Counter
from pathlib import Path

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pnm", ".jp2", ".avif"}
)
"""What files in a folder are taken for pictures; a file that is named itself may have any."""
LONGEST = 255 - len(".png")
"""Bytes of a name to which a suffix is added."""


def find_pictures(source: str | Path, out: str | Path) -> dict[str, Path]:
    """Name of the predictions → file, in order.

    Args:
        source: a file, or a folder, whose folders are searched as well; hidden files are left alone.
        out: where predictions go; nothing there is a picture to predict.

    Returns:
        Names are paths below ``source`` without suffix; with it where another picture has the same name, in capitals
        or not. No two are the same, and each can be a file's name with a suffix.

    Raises:
        FileNotFoundError: there is no ``source``.
        ValueError: a folder without a picture.
    """
    source, out = Path(source), Path(out).resolve()
    if not source.exists():
        raise FileNotFoundError(f"{source} is missing: give a picture, or a folder of them")
    if source.is_file():
        return {_fitting(Path(source.stem)): source}
    found = sorted(path for path in source.rglob("*") if _is_picture(path, source, out))
    if not found:
        raise ValueError(f"{source} has no picture ({' '.join(sorted(SUFFIXES))}): give a folder that has")
    below = {path: path.relative_to(source) for path in found}
    bare = Counter(str(name.with_suffix("")).casefold() for name in below.values())
    names: dict[str, Path] = {}
    taken: set[str] = set()
    for path, name in below.items():
        alone = bare[str(name.with_suffix("")).casefold()] == 1
        numbered = (name.with_name(f"{name.name}-{number}") for number in itertools.count(2))
        choices = map(_fitting, itertools.chain([name.with_suffix("")] if alone else [], [name], numbered))
        chosen = next(choice for choice in choices if choice.casefold() not in taken)
        taken.add(chosen.casefold())
        names[chosen] = path
    return names


def _fitting(name: Path) -> str:
    """The name, cut where it is too long for a suffix; bytes that are no UTF-8 are written out."""
    words = name.name.encode(errors="backslashreplace")
    if len(words) > LONGEST:
        mark = f"~{hashlib.sha256(words).hexdigest()[:8]}".encode()
        words = words[: LONGEST - len(mark)] + mark
    parents = str(name.parent).encode(errors="backslashreplace").decode()
    return str(Path(parents) / words.decode(errors="ignore"))


def _is_picture(path: Path, source: Path, out: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
    return path.suffix.lower() in SUFFIXES and path.is_file() and not hidden and out not in path.resolve().parents
