"""Whatever a picture is, it comes out as RGB that a person would recognize."""

import io

import numpy as np
import pytest
from PIL import Image

from lomt.prediction import read_picture

RGB = np.array([[[200, 10, 10], [10, 200, 10]], [[10, 10, 200], [250, 250, 250]], [[0, 0, 0], [90, 60, 30]]], np.uint8)


def saved(picture, path, **options):
    picture.save(path, **options)
    return path


def test_rgb_as_it_is(tmp_path):
    np.testing.assert_array_equal(read_picture(saved(Image.fromarray(RGB), tmp_path / "a.png")), RGB)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_goes_to_all_channels(tmp_path, mode):
    grey = Image.fromarray(RGB).convert(mode)
    found = read_picture(saved(grey, tmp_path / "a.png"))
    np.testing.assert_array_equal(found, np.repeat(np.asarray(grey.convert("L"))[..., None], 3, 2))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_keep_their_brightness(tmp_path, suffix):
    values = np.array([[0, 257, 32768], [65535, 514, 255]], np.uint16)
    found = read_picture(saved(Image.fromarray(values), tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(found[..., 0], [[0, 1, 128], [255, 2, 1]])
    assert found.shape == (2, 3, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_is_white(tmp_path, mode):
    picture = Image.new("LA", (2, 1), (40, 255))
    picture.putpixel((1, 0), (40, 0))
    suffix = "tif" if mode == "PA" else "png"
    found = read_picture(saved(picture.convert("RGBA").convert(mode), tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(found, [[[40] * 3, [255] * 3]])


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("L")
    picture.putpalette([9, 9, 9, 200, 0, 0])
    found = read_picture(saved(picture, tmp_path / "a.png", transparency=0))
    np.testing.assert_array_equal(found, [[[255] * 3, [200, 0, 0]]])


def test_cmyk(tmp_path):
    path = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), tmp_path / "a.jpg", quality=95)
    assert np.abs(read_picture(path).astype(int) - [0, 255, 255]).max() < 8


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_camera_s_note_is_followed(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    upright = Image.fromarray(RGB)
    back = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[turn]  # fmt: skip
    stored = upright if back is None else upright.transpose(back)
    np.testing.assert_array_equal(read_picture(saved(stored, tmp_path / "a.png", exif=exif)), RGB)


def test_one_pixel(tmp_path):
    assert read_picture(saved(Image.new("RGB", (1, 1), "red"), tmp_path / "a.png")).tolist() == [[[255, 0, 0]]]


def truncated(format_):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format_)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


@pytest.mark.parametrize(
    "content",
    [truncated("PNG"), truncated("JPEG"), truncated("TIFF"), b"", b"no picture at all", b"\x89PNG\r\n\x1a\n"],
    ids=["half a png", "half a jpeg", "half a tiff", "empty", "text", "a png's first bytes"],
)
def test_damage_is_said_with_the_file_s_name(tmp_path, content):
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.jpg can't be read"):
        read_picture(tmp_path / "broken.jpg")


def test_floats_have_no_known_range(tmp_path):
    path = saved(Image.fromarray(np.ones((2, 2), np.float32)), tmp_path / "a.tif")
    with pytest.raises(ValueError, match="floats"):
        read_picture(path)
    path = saved(Image.fromarray(np.full((2, 2), -7, np.int32)), tmp_path / "b.tif")
    with pytest.raises(ValueError, match="from -7 to -7"):
        read_picture(path)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    path = saved(Image.new("1", (100, 100)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"a\.png is too large"):
        read_picture(path)


def test_no_file():
    with pytest.raises(FileNotFoundError, match="nowhere is missing"):
        read_picture("nowhere")
