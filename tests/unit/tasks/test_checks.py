import pytest
import torch

from lomt.tasks import Classification, Depth, Segmentation, check_sample

TASKS = [Segmentation("seg", 3), Depth("depth"), Classification("room", 2)]


def sample(**changes):
    entries = {
        "image": torch.rand(3, 6, 8),
        "seg": torch.zeros(6, 8, dtype=torch.int64),
        "depth": torch.ones(1, 6, 8),
        "room": torch.tensor(1),
    }
    return {key: value for key, value in (entries | changes).items() if value is not None}


def test_good_samples_pass():
    check_sample(sample(), TASKS, "sample 0")
    check_sample(sample(image=torch.zeros(3, 6, 8, dtype=torch.uint8), depth=None), TASKS, "sample 0")
    check_sample(sample(depth=torch.full((1, 6, 8), torch.nan)), TASKS, "sample 0")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": None}, "sample 7: no 'image' among"),
        ({"image": torch.full((3, 6, 8), torch.nan)}, "sample 7: 144 of 144 values of the image are NaN"),
        ({"image": torch.full((3, 6, 8), torch.inf)}, "NaN or infinite"),
        ({"image": torch.rand(1, 6, 8)}, r"image of shape \(1, 6, 8\), expected \(3, H, W\)"),
        ({"image": torch.rand(3, 0, 8)}, r"image of shape \(3, 0, 8\)"),
        ({"image": torch.zeros(3, 6, 8, dtype=torch.int64)}, "image of dtype torch.int64"),
        ({"depth": torch.ones(1, 6, 9)}, "sample 7, label 'depth': label of 6×9 for an image of 6×8"),
        ({"seg": torch.full((6, 8), 3)}, "sample 7, label 'seg': class id 3 out of range 0 … 2"),
        ({"room": torch.tensor(2)}, "label 'room': class id 2"),
    ],
)
def test_bad_samples_are_named(changes, said):
    with pytest.raises(ValueError, match=said):
        check_sample(sample(**changes), TASKS, "sample 7")


def test_files_are_named_where_they_are_known():
    files = {"image": "images/7.jpg", "depth": "depth/7.npy"}
    with pytest.raises(ValueError, match=r"^depth/7\.npy: label of 3×4 for an image of 6×8"):
        check_sample(sample(depth=torch.ones(1, 3, 4)), TASKS, files)
    with pytest.raises(ValueError, match=r"^seg: class id 9"):
        check_sample(sample(seg=torch.full((6, 8), 9)), TASKS, files)
