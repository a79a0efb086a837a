"""Arrays as images inside the page: data URIs, small, in colours that most eyes tell apart."""

import base64
import io

import numpy as np
from PIL import Image

WIDEST = 320
"""Pixels; larger images are reduced, a report is no archive."""

VOID = (128, 128, 128)
MISSING = (128, 128, 128)

# fmt: off
CLASSES = [
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e1e1e1", "#ee7733", "#332288", "#44bb99",
    "#ffaabb", "#882255", "#bbcc33", "#115577", "#ddaa33", "#004488", "#99ddff", "#bb5566", "#557700", "#ddddaa",
]
"""For classes in order: after Paul Tol's schemes, neighbours differ in lightness too."""

DEPTH = [
    "#fde725", "#b4de2c", "#6dcd59", "#35b779", "#1f9e89", "#26828e", "#31688e", "#3e4a89", "#482878", "#440154",
]
# fmt: on
"""Near is light, far is dark: ten steps of viridis, turned round, with straight lines between."""

MASK_INK = (31, 111, 178)


def photo(image: np.ndarray) -> str:
    """``(H, W, 3)`` uint8 as JPEG."""
    return _jpeg(Image.fromarray(np.ascontiguousarray(image, dtype=np.uint8)))


def class_map(classes: np.ndarray, count: int) -> str:
    """``(H, W)`` class ids as PNG; ids outside ``0 … count − 1`` are void, grey."""
    ids = classes.astype(np.int64)
    known = (ids >= 0) & (ids < count) & (ids < 255)
    palette = [class_colour(index) for index in range(min(count, 255))]
    full = [*palette, *[VOID] * (256 - len(palette))]
    return _png(_indexed(np.where(known, ids, 255).astype(np.uint8), full))


def class_colour(index: int) -> tuple[int, int, int]:
    """The colour of a class; past the table's end the colours come again, darker and darker."""
    dim = 0.7 ** (index // len(CLASSES))
    red, green, blue = _rgb(CLASSES[index % len(CLASSES)])
    return round(red * dim), round(green * dim), round(blue * dim)


def depth_map(metres: np.ndarray, low: float, high: float) -> str:
    """``(H, W)`` metres as PNG; missing ones (NaN) are grey."""
    share = (metres - low) / max(high - low, 1e-9)
    known = np.isfinite(share)
    levels = np.where(known, np.clip(np.nan_to_num(share), 0, 1) * 254, 255).round().astype(np.uint8)
    palette = [ramp(level / 254) for level in range(255)]
    return _png(_indexed(levels, [*palette, MISSING]))


def ramp(share: float) -> tuple[int, int, int]:
    """The depth colour for a share of the range, in [0, 1]."""
    position = share * (len(DEPTH) - 1)
    index = min(int(position), len(DEPTH) - 2)
    near, far = _rgb(DEPTH[index]), _rgb(DEPTH[index + 1])
    red, green, blue = (round(a + (b - a) * (position - index)) for a, b in zip(near, far, strict=True))
    return red, green, blue


def normal_map(normals: np.ndarray) -> str:
    """``(3, H, W)`` unit vectors as JPEG, each axis from −1 … 1 to a colour channel; missing ones are grey."""
    colours = np.moveaxis(np.clip(np.nan_to_num((normals + 1) * 127.5, nan=128.0), 0, 255), 0, -1)
    return _jpeg(Image.fromarray(colours.round().astype(np.uint8)))


def grey_map(values: np.ndarray, low: float = 0.0, high: float = 1.0) -> str:
    """``(H, W)`` as PNG, high values dark; missing ones (NaN) are mid-grey."""
    share = np.nan_to_num((values - low) / max(high - low, 1e-9), nan=0.5)
    return _png(Image.fromarray((255 - np.clip(share, 0, 1) * 255).round().astype(np.uint8)))


def alpha_image(opacity: np.ndarray) -> str:
    """``(H, W)`` in [0, 1] as PNG of one ink, see-through where 0."""
    levels = (np.clip(opacity, 0, 1) * 15).round().astype(np.uint8)
    return _png(_indexed(levels, [MASK_INK] * 16), transparency=bytes(level * 17 for level in range(16)))


def _indexed(indices: np.ndarray, palette: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.frombytes("P", (indices.shape[1], indices.shape[0]), np.ascontiguousarray(indices).tobytes())
    image.putpalette([value for colour in palette for value in colour])
    return image


def _fit(image: Image.Image, smooth: bool) -> Image.Image:
    if image.width <= WIDEST:
        return image
    size = (WIDEST, max(1, round(image.height * WIDEST / image.width)))
    return image.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    _fit(image, smooth=True).save(buffer, "JPEG", quality=82, optimize=True)
    return _uri("jpeg", buffer.getvalue())


def _png(image: Image.Image, transparency: bytes | None = None) -> str:
    buffer = io.BytesIO()
    options = {} if transparency is None else {"transparency": transparency}
    fitted = image if transparency is not None else _fit(image, smooth=image.mode == "L")
    fitted.save(buffer, "PNG", optimize=True, **options)
    return _uri("png", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
