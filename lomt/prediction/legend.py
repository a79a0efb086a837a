"""Which colour is which class, as a picture."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

SIZE, ROW = 16, 26
"""Height of letters, and from one class to the next, in pixels."""


def legend(names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> Image.Image:
    """A box and a name for each class, one below the other."""
    font = _font()
    width = max(font.getlength(f"{index} {name}") for index, name in enumerate(names))
    picture = Image.new("RGB", (round(width) + 3 * ROW, ROW * len(names) + ROW // 2), "white")
    draw = ImageDraw.Draw(picture)
    for index, (name, colour) in enumerate(zip(names, colours, strict=True)):
        top = ROW // 2 + ROW * index
        draw.rectangle((ROW // 2, top, ROW // 2 + SIZE, top + SIZE), fill=colour, outline="black")
        draw.text((ROW // 2 + SIZE + 10, top - 2), f"{index} {name}", fill="black", font=font)
    return picture


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu, which matplotlib brings along: it has the letters of most alphabets."""
    try:
        from matplotlib import get_data_path

        return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", SIZE)
    except (ImportError, OSError):
        return ImageFont.load_default()
