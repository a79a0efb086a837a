"""Which colour is which class, as a picture."""

import logging
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

_LOG = logging.getLogger("lomt")

SIZE, ROW = 16, 26
"""Height of letters, and from one class to the next, in pixels."""

SYSTEM = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial.ttf",
    "NotoSansCJK-Regular.ttc",
)
"""Fonts that many systems have, for letters that Pillow's own does not have."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def legend(names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> Image.Image:
    """A box, a number and a name for each class, one below the other.

    Pillow's own font has the letters of English; for others a font of the system is looked for. Letters that no font
    has are written as ?, with a warning: the number still says which class it is.
    """
    font, lacking = _font("".join(names))
    if lacking:
        _LOG.warning("no font here has the letters %s of class names: the legend has ? in their place", lacking)
    texts = [
        f"{index} {''.join('?' if letter in lacking else letter for letter in name)}"
        for index, name in enumerate(names)
    ]
    width = max(font.getlength(text) for text in texts)
    picture = Image.new("RGB", (round(width) + 3 * ROW, ROW * len(names) + ROW // 2), "white")
    draw = ImageDraw.Draw(picture)
    for index, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        top = ROW // 2 + ROW * index
        draw.rectangle((ROW // 2, top, ROW // 2 + SIZE, top + SIZE), fill=colour, outline="black")
        draw.text((ROW // 2 + SIZE + 10, top - 2), text, fill="black", font=font)
    return picture


def _font(text: str) -> tuple[Font, str]:
    """The first font that has all letters of a text, else the one that lacks the fewest, and what it lacks."""
    best: tuple[Font, str] | None = None
    for font in _fonts():
        lacking = _lacking(font, text)
        if best is None or len(lacking) < len(best[1]):
            best = font, lacking
        if not lacking:
            break
    assert best is not None, "Pillow has a font of its own"
    return best


def _fonts() -> Iterator[Font]:
    yield ImageFont.load_default(SIZE)
    for name in SYSTEM:
        try:
            yield ImageFont.truetype(name, SIZE)
        except OSError:
            continue


def _lacking(font: Font, text: str) -> str:
    """The letters of a text that a font shows as it shows what is no letter at all."""
    box = _drawn(font, "\uffff")
    return "".join(letter for letter in sorted(set(text)) if _drawn(font, letter) == box)


def _drawn(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
