import numpy as np
import pytest
from PIL import Image

from lomt.data.files import code_version, expect_folder, fingerprint, read_array, read_image, read_names, same_size


def picture(path, mode="RGB", size=(16, 12)):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.mark.parametrize("end", [".jpg", ".png"])
def test_a_truncated_picture_is_named(tmp_path, end):
    path = picture(tmp_path / f"0007{end}", size=(200, 200))
    assert read_image(path, "RGB").shape == (200, 200, 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"0007\{end} can't be read as a picture \(.*truncated.*restore"):
        read_image(path, "RGB")


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_what_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.png can't be read as a picture"):
        read_image(tmp_path / "x.png", "L")
    with pytest.raises(FileNotFoundError, match=r"y\.png is missing"):
        read_image(tmp_path / "y.png", "L")


def test_a_map_of_numbers_keeps_its_numbers(tmp_path):
    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = Image.fromarray(numbers).convert("P")
    palette.putdata(numbers.ravel().tolist())
    palette.putpalette([255, 0, 0] * 256)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png", "L"), numbers)
    with pytest.raises(ValueError, match=r"c\.png .*pixels are RGB, and one byte each was expected"):
        read_image(picture(tmp_path / "c.png"), "L")


def test_arrays(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((30, 40)))
    assert read_array(path).shape == (30, 40)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"a\.npy can't be read as a \.npy array"):
        read_array(path)
    np.save(path, np.array(["x"]))
    with pytest.raises(ValueError, match="holds <U1 and no numbers"):
        read_array(path)


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"


def npy(header):
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04" + bytes(40),  # begins like a zip
        npy(HEADER % "(100000, 100000)"),  # 40 GB that are not there
        npy(HEADER % "(10000000000000, 10000000000000)"),
        npy(HEADER % "(-1, 4)"),
        npy("{" * 60000),
        npy("(" * 9000),
        b"\x93NUMPY\x09\x00" + bytes(60),
        b"\x80\x04\x95",  # begins like a pickle
    ],
)
def test_what_is_no_array_is_named_in_one_line_without_memory_for_it(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy can't be read as a \.npy array \(.*\): restore it") as caught:
        read_array(path)
    assert "\n" not in str(caught.value)
    assert "pickle" not in str(caught.value)


def test_lists_of_names(tmp_path):
    path = tmp_path / "train.txt"
    with pytest.raises(ValueError, match=r"train\.txt can't be read"):
        read_names(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"train\.txt is empty"):
        read_names(path)
    path.write_text("a\nb\na\n")
    with pytest.raises(ValueError, match="names a more than once"):
        read_names(path)
    path.write_text("a\r\nb\n\n")
    assert read_names(path) == ["a", "b"]


def test_what_is_no_folder_of_the_data(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: Data is a folder with a, b"):
        expect_folder(tmp_path / "nowhere", ["a", "b"], "Data")
    (tmp_path / "a").write_text("")
    with pytest.raises(FileNotFoundError, match="a is a file"):
        expect_folder(tmp_path / "a", ["a", "b"], "Data")
    with pytest.raises(FileNotFoundError, match=r"no Data folder: b is missing \(expected a, b; found a\)"):
        expect_folder(tmp_path, ["a", "b"], "Data")
    expect_folder(tmp_path, ["a"], "Data")


def test_sizes_are_said(tmp_path):
    with pytest.raises(ValueError, match=r"seg\.png is 3 × 5 but its image .*im\.jpg is 3 × 4"):
        same_size(np.zeros((3, 5)), np.zeros((3, 4, 3)), tmp_path / "seg.png", tmp_path / "im.jpg")
    same_size(np.zeros((1, 3, 4)), np.zeros((3, 4, 3)), tmp_path, tmp_path)


def test_a_fingerprint_follows_files(tmp_path):
    path = tmp_path / "a"
    missing = fingerprint([path])
    path.write_text("one")
    one, same = fingerprint([path]), fingerprint([path], times=False)
    path.write_text("two")
    assert fingerprint([path], times=False) == same
    path.write_text("three")
    assert len({missing, one, fingerprint([path])}) == 3
    assert fingerprint([path], times=False) != same
    assert code_version(__file__) == code_version(__file__)
