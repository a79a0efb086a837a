import base64
import io

import numpy as np
import pytest
from PIL import Image

from lomt.report import pictures


def decoded(uri):
    head, data = uri.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)


def test_classes_have_their_colours_and_void_is_grey():
    image = decoded(pictures.class_map(np.array([[0, 1], [255, 7]]), 3))
    assert tuple(image[0, 0, :3]) == pictures.class_colour(0)
    assert tuple(image[0, 1, :3]) == pictures.class_colour(1)
    assert tuple(image[1, 0, :3]) == tuple(image[1, 1, :3]) == pictures.VOID


def test_forty_classes_have_forty_colours():
    assert len({pictures.class_colour(index) for index in range(40)}) == 40


def test_depth_gets_darker_with_distance_and_missing_is_grey():
    image = decoded(pictures.depth_map(np.array([[1.0, 2.0, 3.0, np.nan, 99.0]]), 1.0, 3.0))[0, :, :3]
    light = image[:3].sum(1)
    assert light[0] > light[1] > light[2]
    assert tuple(image[3]) == pictures.MISSING
    assert tuple(image[4]) == tuple(image[2])


def test_ramp_meets_its_ends():
    assert pictures.ramp(0.0) == (0xFD, 0xE7, 0x25)
    assert pictures.ramp(1.0) == (0x44, 0x01, 0x54)


def test_normals_are_colours():
    normals = np.zeros((3, 16, 16))
    normals[2] = -1
    colour = decoded(pictures.normal_map(normals))[8, 8, :3]
    assert np.abs(colour - [128, 128, 0]).max() <= 4


def test_missing_normals_are_grey():
    assert np.abs(decoded(pictures.normal_map(np.full((3, 8, 8), np.nan)))[4, 4, :3] - 128).max() <= 3


def test_edges_are_dark_on_light():
    assert [row[0] for row in decoded(pictures.grey_map(np.array([[0.0], [1.0]])))[:, 0]] == [255, 0]


def test_opacity_survives():
    alpha = decoded(pictures.alpha_image(np.array([[0.0, 1.0]])))[0, :, 3]
    assert alpha.tolist() == [0, 255]


@pytest.mark.parametrize("width", [200, 640])
def test_large_images_are_reduced(width):
    image = decoded(pictures.photo(np.zeros((width // 2, width, 3), np.uint8)))
    assert image.shape[1] == min(width, pictures.WIDEST)
    assert image.shape[0] == image.shape[1] // 2
