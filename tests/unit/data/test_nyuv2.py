import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lomt.data import NYUv2
from lomt.data.frames import validation_names
from lomt.data.surface import normals_from_depth

REAL = os.environ.get("LOMT_NYUV2")
needs_data = pytest.mark.skipif(not REAL, reason="LOMT_NYUV2 names no folder of NYU-Depth v2")
SIZE = (24, 32)


@pytest.fixture
def root(tmp_path):
    """Eight frames: a border of 1 void pixel, wall left, bed right, a void block in the wall; a slanted wall."""
    names = [f"{i:04d}" for i in range(1, 9)]
    (tmp_path / "train.txt").write_text("\n".join(names[:6]))
    (tmp_path / "test.txt").write_text("\n".join(names[6:]))
    table = [0, *(1 + i % 13 for i in range(40))]
    meta = {
        "names40": ["void", *(f"c{i}" for i in range(1, 41))],
        "names13": ["void", *(f"m{i}" for i in range(1, 14))],
        "map40to13": table,
        "depth_metres": "(v + 0.5) * 9.99547 / 255",
        "intrinsics_640x480": [518.857901, 519.469611, 325.582449, 253.736166],
    }
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    for kind in ("image", "depth", "seg40"):
        (tmp_path / "small" / kind).mkdir(parents=True)
    for index, name in enumerate(names):
        seg = np.full((48, 64), 4, np.uint8)
        seg[:, 32:] = 40
        seg[15:33, 10:20] = 0
        seg[[0, -1]], seg[:, [0, -1]] = 0, 0
        Image.fromarray(np.full((48, 64, 3), 20 * index, np.uint8)).save(tmp_path / f"small/image/{name}.jpg")
        Image.fromarray(seg).save(tmp_path / f"small/seg40/{name}.png")
        depth = np.full((48, 64), 60 + index, np.uint8)
        Image.fromarray(depth).save(tmp_path / f"small/depth/{name}.png")
    return tmp_path


def make(root, **kwargs):
    return NYUv2(root, **({"size": SIZE, "batch_size": 2, "validation": 2} | kwargs))


def test_splits_are_disjoint_and_complete(root):
    source = make(root)
    counts = [
        len(loader.dataset) for loader in (source.train_dataloader(), source.val_dataloader(), source.test_dataloader())
    ]
    assert counts == [4, 2, 2]
    assert source.names["test"] == ["0007", "0008"]
    assert sorted(source.names["train"] + source.names["validation"]) == [f"{i:04d}" for i in range(1, 7)]
    assert make(root).names == source.names
    json.dumps(source.describe())


def test_labels_of_a_frame(root):
    source = make(root)
    sample = source.split("test")[0]
    for task in source.tasks:
        task.check(sample[task.name], "sample")
    assert [task.name for task in source.tasks] == ["seg", "depth", "normals", "edges"]
    assert source.tasks[0].class_names == tuple(f"m{i}" for i in range(1, 14))
    seg, depth, normals, edges = sample["seg"], sample["depth"][0], sample["normals"], sample["edges"][0]
    border = torch.ones(SIZE, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    for missing in (seg == 255, depth.isnan(), normals.isnan().all(0), edges.isnan()):
        assert missing[border].all()
        assert not missing[2:-2, 2:4].any()
    assert set(seg[2:-2].unique().tolist()) == {3, 0, 255}  # 4 → 4 − 1, 40 → 1 + 39 % 13 − 1
    assert depth[5, 5] == pytest.approx((66 + 0.5) * 9.99547 / 255, rel=1e-3)
    assert torch.allclose(normals[:, 5, 20], torch.tensor([0.0, 0.0, -1.0]), atol=1e-2)
    columns = torch.arange(32)
    assert torch.equal(edges[4, 2:-2] == 1, ((columns == 15) | (columns == 16))[2:-2])
    # The void block is 10 pixels wide: no edge around it, unknown within; the rest of its depth is still there.
    assert (edges[6:18, 3:12].nan_to_num(0) == 0).all()
    assert edges[12, 7].isnan()
    assert not depth[12, 7].isnan()


def test_forty_classes_and_frames_without_a_folder_of_their_own(root):
    source = make(root, classes=40)
    assert set(source.split("test")[0]["seg"].unique().tolist()) == {3, 39, 255}
    for kind in ("image", "depth", "seg40"):
        (root / "small" / kind).rename(root / kind)
    (root / "small").rmdir()
    again = make(root, classes=40)
    assert torch.equal(again.split("test")[0]["seg"], source.split("test")[0]["seg"])


def test_a_void_seam_between_classes_is_an_edge(root):
    path = root / "small/seg40/0007.png"
    seg = np.array(Image.open(path).resize((256, 192), Image.Resampling.NEAREST))
    seg[:, 127:129] = 0
    for kind in ("seg40", "depth"):
        Image.fromarray(seg if kind == "seg40" else np.full((192, 256), 60, np.uint8)).save(
            root / f"small/{kind}/0007.png"
        )
    Image.new("RGB", (256, 192)).save(root / "small/image/0007.jpg")
    edges = make(root).split("test")[0]["edges"][0]
    assert (edges[4, 14:18] == torch.tensor([0, 1, 1, 0])).all()


def spoil(root, kind, name, content):
    end = ".jpg" if kind == "image" else ".png"
    path = root / "small" / kind / f"{name}{end}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("image", b"\xff\xd8\xff", r"0005\.jpg can't be read"),
        ("depth", b"", r"0005\.png can't be read"),
        (
            "seg40",
            np.full((48, 64), 41, np.uint8),
            r"seg40/0005\.png has the class 41: classes are 0 \(void\) and 1 to 40",
        ),
        ("seg40", np.zeros((48, 60), np.uint8), r"seg40/0005\.png is 48 × 60 but its image .*0005\.jpg is 48 × 64"),
        ("depth", np.zeros((40, 64), np.uint8), r"depth/0005\.png is 40 × 64"),
    ],
)
def test_a_bad_file_is_named_and_nothing_is_cached(root, cache, kind, content, message):
    spoil(root, kind, "0005", content)
    with pytest.raises(ValueError, match=message):
        make(root).setup()
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_missing_file_is_named(root):
    (root / "small/depth/0003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"depth/0003\.png is missing"):
        make(root).setup()


def test_a_changed_file_is_read_again(root):
    before = make(root).split("test")[0]["depth"]
    spoil(root, "depth", "0007", np.full((48, 64), 99, np.uint8))
    assert make(root).split("test")[0]["depth"][0, 5, 5] > before[0, 5, 5]


def test_a_folder_that_is_none(root):
    with pytest.raises(FileNotFoundError, match=r"no NYU-v2 folder: train\.txt, test\.txt, meta\.json is missing"):
        NYUv2(root / "small")
    (root / "meta.json").write_text("{}")
    with pytest.raises(ValueError, match=r"meta\.json can't be understood"):
        NYUv2(root)


def test_arguments_and_lists_that_contradict(root):
    with pytest.raises(ValueError, match="classes=12"):
        make(root, classes=12)
    with pytest.raises(ValueError, match="validation=6: of 6 frames"):
        make(root, validation=6)
    with pytest.raises(ValueError, match="validation split of NYUv2 is empty"):
        make(root, validation=0).val_dataloader()
    (root / "test.txt").write_text("0001")
    with pytest.raises(ValueError, match="frame 0001 is listed to train and to test"):
        make(root)


def test_validation_takes_whole_runs():
    names = [f"{i:04d}" for i in range(1, 100) if i % 5]
    chosen = validation_names(names, 20, np.random.default_rng(1))
    assert len(set(chosen)) == 20
    assert all(len([n for n in chosen if int(n) // 5 == run]) in (0, 4) for run in {int(n) // 5 for n in chosen})
    assert len(validation_names(names, 18, np.random.default_rng(1))) == 18
    assert chosen != validation_names(names, 20, np.random.default_rng(2))
    assert len(validation_names(["a", "b"], 1, np.random.default_rng(0))) == 1


@needs_data
def test_the_official_split():
    source = NYUv2(REAL)
    assert len(source.names["train"]) + len(source.names["validation"]) == 795
    assert len(source.names["test"]) == 654
    assert source.classes[0] == "bed"
    assert source.classes[-1] == "window"


@needs_data
def test_the_white_border_of_real_frames_is_judged_by_no_task():
    source = NYUv2(REAL)
    for name in source.names["train"][:400:40]:
        frame = source.frame(name)
        white = (frame["image"].min(0) > 235) & (frame["seg"] == 255)
        rim = np.ones((96, 128), bool)
        rim[4:-4, 4:-4] = False
        assert np.isnan(frame["depth"][0][white & rim]).mean() > 0.9
        assert np.isnan(frame["depth"]).mean() < 0.12
        lost = np.isnan(frame["depth"][0])
        assert lost[0].all()
        assert lost[-1].all()
        assert lost[:, 0].all()
        assert lost[:, -1].all()
        assert (frame["seg"][lost] == 255).all()
        assert (frame["edges"][0][lost] == 255).all()
        assert np.isnan(frame["normals"][:, lost]).all()
        assert np.isfinite(frame["normals"][:, ~lost]).all()


@needs_data
def test_normals_against_the_real_ones():
    """The only frame with real normals: a Gaussian over everything has a median of 4.0° and a mean of 12.4°."""
    source = NYUv2(REAL)
    stored = np.asarray(Image.open(Path(REAL) / "reference/norm_gt_000433.png").convert("RGB")) / 127.5 - 1
    real = np.stack([stored[..., 0], -stored[..., 2], stored[..., 1]])
    length = np.linalg.norm(real, axis=0)
    steps = np.asarray(Image.open(Path(REAL) / "small/depth/0433.png"))
    depth = source.meta.depth(steps).astype(np.float32)
    found = normals_from_depth(depth, *source.meta.rays(*depth.shape), 6 / 640 * 256, step=source.meta.step)
    rows, columns = np.arange(480) * 192 // 480, np.arange(640) * 256 // 640
    cosine = (found[:, rows[:, None], columns] * real).sum(0) / np.maximum(length, 1e-6)
    angle = np.degrees(np.arccos(np.clip(cosine[length > 0.5], -1, 1)))
    assert np.median(angle) < 4.2
    assert angle.mean() < 7.5
