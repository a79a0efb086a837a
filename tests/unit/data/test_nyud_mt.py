import logging
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lomt.data import NYUDMT

HEIGHT, WIDTH = 20, 24


@pytest.fixture
def root(tmp_path):
    for folder in ("images", "segmentation", "depth", "normals", "edge", "gt_sets"):
        (tmp_path / folder).mkdir()
    names = [f"{i:04d}" for i in range(10)]
    (tmp_path / "gt_sets/train.txt").write_text("\n".join(names[:8]) + "\n")
    (tmp_path / "gt_sets/val.txt").write_text("\n".join(names[8:]) + "\n")
    for index, name in enumerate(names):
        Image.new("RGB", (WIDTH, HEIGHT), (20 * index, 30, 40)).save(tmp_path / f"images/{name}.jpg")
        seg = np.full((HEIGHT, WIDTH), 40, np.uint8)
        seg[:, :12] = 0
        Image.fromarray(seg).save(tmp_path / f"segmentation/{name}.png")
        np.save(tmp_path / f"depth/{name}.npy", np.full((HEIGHT, WIDTH), 1.5 + index, np.float32))
        normals = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        normals[..., 0], normals[..., 2] = 0.6, -0.8
        np.save(tmp_path / f"normals/{name}.npy", normals)
        edge = np.zeros((HEIGHT, WIDTH), np.float64)
        edge[5] = 1
        np.save(tmp_path / f"edge/{name}.npy", edge)
    return tmp_path


def make(root, **kwargs):
    return NYUDMT(root, **({"size": (HEIGHT, WIDTH), "batch_size": 2, "augment": False} | kwargs))


def test_what_a_sample_is(root):
    source = make(root)
    assert {split: len(names) for split, names in source.names.items()} == {"train": 7, "validation": 1, "test": 2}
    sample = source.split("test")[1]
    for task in source.tasks:
        task.check(sample[task.name], "sample")
    assert set(sample) == {"image", "seg", "depth", "normals", "edges"}
    assert sample["seg"][3, 11:13].tolist() == [255, 39]
    assert (sample["depth"] == 10.5).all()
    torch.testing.assert_close(sample["normals"][:, 0, 0], torch.tensor([0.6, 0, -0.8]), atol=1e-3, rtol=0)
    assert sample["edges"][0, 4:7, 0].tolist() == [0, 1, 0]


def test_another_size(root):
    sample = make(root, size=(10, 48)).split("test")[0]
    assert sample["image"].shape == (3, 10, 48)
    assert sample["seg"].shape == (10, 48)
    assert sample["edges"].shape == (1, 10, 48)


def test_a_task_without_a_folder_is_absent_and_said(root, caplog):
    shutil.rmtree(root / "edge")
    with caplog.at_level(logging.WARNING):
        source = make(root)
    assert [task.name for task in source.tasks] == ["seg", "depth", "normals"]
    assert "has no folder edge: there is no task 'edges'" in caplog.text
    assert "edges" not in source.split("test")[0]
    for folder in ("segmentation", "depth", "normals"):
        shutil.rmtree(root / folder)
    with pytest.raises(FileNotFoundError, match="no labels at all: expected at least one of segmentation, depth"):
        make(root)


def test_a_label_without_a_file_is_missing_and_said(root, caplog):
    for path in ("depth/0009.npy", "segmentation/0009.png", "edge/0009.npy"):
        (root / path).unlink()
    with caplog.at_level(logging.WARNING):
        source = make(root)
    assert "1 of 10 labels are missing, the first is 0009.npy" in caplog.text
    whole, sample = source.split("test")[0], source.split("test")[1]
    assert (sample["seg"] == 255).all()
    assert sample["depth"].isnan().all()
    assert sample["edges"].isnan().all()
    assert not sample["normals"].isnan().any()
    assert not whole["depth"].isnan().any()


def infinite(array):
    array[3, 4] = np.inf
    return array


def negative(array):
    array[3, 4] = -1
    return array


def millimetres(array):
    return (array * 1000).astype(np.uint16)


def near_in_millimetres(array):
    return np.full_like(array, 700)


def line(array):
    return array.ravel()


def halved(array):
    return array / 2


def smaller(array):
    return array[:, :-1]


@pytest.mark.parametrize(
    ("folder", "harm", "message"),
    [
        ("depth", infinite, r"depth/0002\.npy: depth of inf m at row 3, column 4"),
        ("depth", negative, r"depth/0002\.npy: depth of -1 m"),
        ("depth", smaller, r"depth/0002\.npy is 20 × 23 but its image .*0002\.jpg is 20 × 24"),
        ("depth", millimetres, r"depth/0002\.npy: depth of 3500 m.* – divide millimetres by 1000"),
        ("depth", near_in_millimetres, r"depth/0002\.npy: depth of 700 m.* – divide millimetres by 1000"),
        ("depth", line, r"depth/0002\.npy has shape \(480,\), expected a map"),
        ("normals", halved, r"normals/0002\.npy: normal of length 0\.5 at row 0, column 0"),
        ("edge", negative, r"edge/0002\.npy: .*-1"),
    ],
)
def test_a_label_that_cannot_be_true_is_named(root, folder, harm, message):
    path = root / folder / "0002.npy"
    np.save(path, harm(np.load(path)))
    with pytest.raises(ValueError, match=message):
        make(root).setup()


def test_nan_is_missing(root):
    for folder in ("depth", "normals", "edge"):
        array = np.load(root / folder / "0008.npy")
        array[3, 4] = np.nan
        np.save(root / folder / "0008.npy", array)
    sample = make(root).split("test")[0]
    for key in ("depth", "normals", "edges"):
        assert sample[key][:, 3, 4].isnan().all()
        assert sample[key].isnan().any(0).sum() == 1


def test_zero_is_missing_in_depth_and_normals_as_in_the_layout_s_own_reader(root):
    for folder in ("depth", "normals"):
        array = np.load(root / folder / "0008.npy")
        array[3, 4] = 0
        np.save(root / folder / "0008.npy", array)
    sample = make(root).split("test")[0]
    for key in ("depth", "normals"):
        assert sample[key][:, 3, 4].isnan().all()
        assert sample[key].isnan().any(0).sum() == 1
    assert sample["normals"][1, 0, 0] == 0  # of a vector that is not 0
    assert sample["edges"][0, 3, 4] == 0


def test_a_list_with_a_byte_order_mark_names_the_same_frames(root):
    path = root / "gt_sets/train.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert make(root).names["train"][0] in {f"{i:04d}" for i in range(8)}


def test_a_class_out_of_range_is_named(root):
    Image.fromarray(np.full((HEIGHT, WIDTH), 41, np.uint8)).save(root / "segmentation/0001.png")
    with pytest.raises(ValueError, match=r"segmentation/0001\.png .*class id 40 out of range 0 … 39"):
        make(root).setup()


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no NYUD_MT folder: images, .* is missing .*found nothing"):
        NYUDMT(tmp_path)
