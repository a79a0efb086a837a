import json

import numpy as np
import pytest
import torch

from lomt.data import SOURCES, Augmentation, Samples, Source
from lomt.tasks import Classification, Depth, Edges, Segmentation


class Counting(Source):
    """Sample i is an image of the colour i."""

    def __init__(self, train=10, validation=5, test=3, **kwargs):
        tasks = [Segmentation("seg", 3), Depth("depth"), Edges("edges"), Classification("kind", 300)]
        kwargs = {"size": (8, 8), "batch_size": 4} | kwargs
        super().__init__(tasks, kwargs.pop("size"), kwargs.pop("batch_size"), **kwargs)
        self.counts = {"train": train, "validation": validation, "test": test}

    def samples(self, split):
        number = np.arange(20)
        maps = np.broadcast_to(number[:, None, None, None], (20, 1, 8, 8))
        arrays = {
            "image": np.repeat(maps, 3, axis=1).astype(np.uint8),
            "seg": np.where(maps[:, 0] == 7, 255, maps[:, 0] % 3).astype(np.uint8),
            "depth": np.where(maps == 7, np.nan, maps + 1).astype(np.float16),
            "edges": np.where(maps == 7, 255, maps % 2).astype(np.uint8),
            "kind": number.astype(np.int64),
        }
        return Samples(arrays, np.arange(20)[: self.counts[split]])


def numbers(loader):
    return [batch["kind"].tolist() for batch in loader]


def flat(loader):
    return [number for batch in numbers(loader) for number in batch]


def test_batches_are_what_tasks_want():
    source = Counting(augment=False)
    batch = next(iter(source.val_dataloader()))
    assert batch["image"].shape == (4, 3, 8, 8)
    assert batch["image"].dtype == torch.float32
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in source.normalization)
    torch.testing.assert_close((batch["image"] * std + mean)[:, 0, 0, 0] * 255, torch.arange(4.0), atol=1e-3, rtol=0)
    everything = source.split("train")
    for index in range(len(everything)):
        sample = everything[index]
        for task in source.tasks:
            task.check(sample[task.name], "sample")
    assert (everything[7]["seg"] == 255).all()
    assert everything[7]["depth"].isnan().all()
    assert everything[7]["edges"].isnan().all()
    with pytest.raises(IndexError):
        everything[10]


class Given(Source):
    """Eight samples, with any of the arrays changed, and rows."""

    def __init__(self, tasks, rows=None, **changes):
        super().__init__(tasks, (8, 10), 4, augment=False)
        draw = np.random.default_rng(0)
        self.arrays = {
            "image": draw.integers(0, 256, (8, 3, 8, 10), dtype=np.uint8),
            "seg": draw.integers(0, 2, (8, 8, 10), dtype=np.uint8),
            "depth": np.full((8, 1, 8, 10), 2.0, np.float32),
            "kind": draw.integers(0, 2, 8),
        } | changes
        self.rows = np.arange(8) if rows is None else rows

    def samples(self, split):
        del split
        return Samples({key: array for key, array in self.arrays.items() if array is not None}, self.rows)


def given(**changes):
    return Given([Segmentation("seg", 2), Depth("depth"), Classification("kind", 2)], **changes)


def one(value, **where):
    """The arrays of ``given``, with a value in sample 5."""
    ((key, place),) = where.items()
    array = given().arrays[key].copy()
    array[(5, *place)] = value
    return {key: array}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_images_are_bytes_or_floats_from_0_to_1(dtype):
    pixels = given().arrays["image"]
    bytes_, floats = (
        source.split("test")[3]["image"] for source in (given(), given(image=(pixels / 255).astype(dtype)))
    )
    torch.testing.assert_close(floats, bytes_, atol=2e-3 if dtype == np.float16 else 1e-6, rtol=0)


IMAGE = given().arrays["image"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"image": IMAGE.astype(np.float32)},
            "sample 0 of the test split .*image from 0 to 255, expected 0 to 1 for fl",
        ),
        (
            {"image": IMAGE.astype(np.float32) / 127.5 - 1},
            "sample 0 of the test split .*values of the image from -1 to 1",
        ),
        ({"image": np.full(IMAGE.shape, np.nan, np.float32)}, "sample 0 of the test split .*240 of 240 values .* NaN"),
        (
            {"image": IMAGE.astype(np.uint16)},
            "images of the test split are uint16: give uint8 from 0 to 255, or floats",
        ),
        (
            {"image": IMAGE.transpose(0, 2, 3, 1)},
            r"images of the test split are \(8, 10, 3\), .*transpose\(0, 3, 1, 2\)",
        ),
        ({"image": IMAGE[:, :, :4]}, r"images of the test split are \(3, 4, 10\), expected \(3, 8, 10\)"),
        ({"image": IMAGE[:, 0]}, r"images of the test split are \(8, 10\)"),
        ({"image": None}, r"the test split has no 'image' among \['depth', 'kind', 'seg'\]"),
        ({"seg": given().arrays["seg"][:6]}, "'seg' of the test split has 6 samples and 'image' has 8"),
        ({"seg": [0] * 8}, "'seg' of the test split is a list"),
        (
            one(77, seg=(3, 4)),
            r"sample 5 of the test split \(row 5 of its arrays\), label 'seg': class id 77 out of range",
        ),
        ({"seg": given().arrays["seg"] / 2}, "sample 0 of the test split .*label 'seg': label of dtype float64"),
        ({"seg": given().arrays["seg"][:, ::2]}, "sample 0 of .*label 'seg': label of 4×10 for an image of 8×10"),
        (one(0, depth=(0, 3, 4)), "sample 5 of .*label 'depth': depth of 0 m at row 3, column 4"),
        (
            {"depth": np.full((8, 1, 8, 10), 2500, np.uint16)},
            "label 'depth': depth of 2500 m .*divide millimetres by 1000",
        ),
        ({"depth": np.full((8, 8, 10), 2.0)}, r"label 'depth': label of shape \(8, 10\), expected \(1, H, W\)"),
        (one(2, kind=()), "sample 5 of .*label 'kind': class id 2 out of range 0 … 1"),
        ({"rows": np.array([0, 8])}, "the test split has row 8, and its arrays have rows 0 … 7"),
        ({"rows": np.array([-1])}, "the test split has row -1"),
        ({"rows": np.array([0.0])}, "the rows of the test split are .* give whole numbers"),
        ({"rows": [0, 1]}, "the rows of the test split are .* give whole numbers"),
    ],
)
def test_what_can_not_be_a_sample_is_named_before_any_is_given(changes, said):
    with pytest.raises(ValueError, match=said):
        given(**changes).setup("test")


def test_a_sample_that_is_in_no_split_is_not_looked_at():
    assert len(given(**one(77, seg=(3, 4)), rows=np.array([0, 7])).split("test")) == 2


def test_labels_of_several_classes_may_be_bytes():
    stored = np.array([[0, 1, 255]] * 8, np.uint8)
    label = Given([Classification("tags", 3, multilabel=True)], tags=stored).split("test")[0]["tags"]
    assert label[:2].tolist() == [0.0, 1.0]
    assert label[2].isnan()


def test_a_train_epoch_is_a_permutation_decided_at_iter():
    source = Counting()
    loader = source.train_dataloader()
    torch.manual_seed(5)
    iterator = iter(loader)
    torch.rand(100)  # what training draws meanwhile must change nothing
    first = list(iterator)
    torch.manual_seed(5)
    second = list(loader)
    third = list(loader)
    for a, b in zip(first, second, strict=True):
        assert all(torch.equal(a[key].nan_to_num(-9), b[key].nan_to_num(-9)) for key in a)
    assert numbers(second) != numbers(third)
    assert len(set(flat(loader))) == 8


def depths(workers, epochs):
    augmentation = Augmentation(flip=0, zoom=1.5)
    loader = Counting(train=8, workers=workers, augment=augmentation).train_dataloader()
    result = []
    for epoch in epochs:
        torch.manual_seed(epoch)
        result.append(torch.cat([batch["depth"][:, 0, 0, 0] for batch in loader]).nan_to_num(-9))
    return result


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_repeats_itself_whatever_came_before(workers):
    first, second = depths(workers, [0, 1])
    (alone,) = depths(workers, [1])
    assert torch.equal(second, alone)
    assert not torch.equal(first, second)


def test_every_sample_is_zoomed_by_its_own_scale():
    (depth,) = depths(0, [0])
    assert len(set(depth.tolist())) == 8
    assert (depth.sort().values[1:] != depth.sort().values[1:].round()).all()


def test_only_training_drops_the_last_batch_and_only_if_there_is_another():
    source = Counting(train=10, validation=5, test=3)
    assert [len(batch) for batch in numbers(source.train_dataloader())] == [4, 4]
    assert numbers(source.val_dataloader()) == [[0, 1, 2, 3], [4]]
    assert numbers(source.test_dataloader()) == [[0, 1, 2]]
    assert [len(batch) for batch in numbers(Counting(train=3).train_dataloader())] == [3]
    assert len(source.train_dataloader()) == 2
    assert len(source.val_dataloader()) == 2
    assert len(source.val_dataloader().dataset) == 5


def test_validation_is_never_augmented():
    batch = next(iter(Counting(augment=True).val_dataloader()))
    assert batch["depth"][:, 0, 0, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader"])
def test_labels_that_nobody_wants_change_nothing_but_that_they_are_not_there(loader):
    def batches(tasks):
        torch.manual_seed(0)
        return list(getattr(Counting(augment=True), loader)(tasks))

    for whole, part in zip(batches(None), batches(["depth"]), strict=True):
        assert part.keys() == {"image", "depth"}
        assert whole.keys() == {"image", "seg", "depth", "edges", "kind"}
        assert all(torch.equal(part[name].nan_to_num(), whole[name].nan_to_num()) for name in part)


def test_setup_prepares_what_a_stage_needs():
    source = Counting()
    asked = []
    prepared, source.samples = source.samples, lambda split: (asked.append(split), prepared(split))[1]
    source.setup("fit")
    assert asked == ["train", "validation"]
    source.setup()
    assert asked == ["train", "validation", "test"]


def test_an_empty_split_is_an_error():
    with pytest.raises(ValueError, match="test split of Counting is empty"):
        Counting(test=0).test_dataloader()
    with pytest.raises(ValueError, match="unknown split 'val'"):
        Counting().split("val")


@pytest.mark.parametrize(
    "wrong",
    [{"size": (4, 64)}, {"size": (64,)}, {"batch_size": 0}, {"batch_size": 2.5}, {"workers": -1}, {"size": (8.5, 64)}],
    ids=lambda wrong: str(wrong),
)
def test_arguments_out_of_range(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Counting(**wrong)


def test_a_description_is_json():
    assert json.loads(json.dumps(Counting().describe()))["source"] == "Counting"
    assert {"scenes", "nyuv2", "nyud_mt"} <= set(SOURCES)
