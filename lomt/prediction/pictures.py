"""Any picture as RGB: grey, 16-bit, transparent, CMYK, turned by its camera."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

WHITE = (255, 255, 255, 255)
MOST = 2**26
"""The most pixels of a picture: its predictions take some thirty bytes for each."""


def read_picture(path: str | Path) -> np.ndarray:
    """The pixels of a picture as a person sees it: ``(H, W, 3)`` uint8, RGB.

    Grey values go to all three channels; 16-bit ones are divided by 257; what is transparent shows white; the camera's
    note how to turn the picture (EXIF) is followed; of several pictures in one file it is the first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, truncated, has more than :data:`MOST` pixels, or its pixels are of a kind that
            has no colours (floats, say).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of huge pictures, odd EXIF data: as long as it can be read
            with Image.open(path) as picture:
                if picture.width * picture.height > MOST:
                    raise Image.DecompressionBombError(f"{picture.width} × {picture.height} pixels")
                picture.load()
                return _rgb(ImageOps.exif_transpose(picture))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: give a picture, or a folder of them") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large ({error}): make it smaller, {MOST:,} pixels at most") from error
    except Exception as error:  # whatever a damaged file makes a decoder raise
        said = "it is no picture" if isinstance(error, Image.UnidentifiedImageError) else str(error) or repr(error)
        raise ValueError(f"{path} can't be read ({said}): restore it, or save it as PNG or JPEG") from error


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):
        return _from_16_bits(np.asarray(picture))
    if picture.mode == "F":
        raise ValueError("its pixels are floats, of which the range is not known")
    if picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, WHITE), picture.convert("RGBA"))
    return np.asarray(picture.convert("RGB"))


def _from_16_bits(values: np.ndarray) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"its pixels go from {low} to {high}, which is neither 8 nor 16 bits")
    grey = np.round(values / 257).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
