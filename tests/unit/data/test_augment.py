import pytest
import torch

from lomt.data import Augmentation
from lomt.data.augment import Window
from lomt.tasks import Classification, Depth, Edges, Normals, Segmentation

TASKS = [Segmentation("seg", 9), Depth("depth"), Normals("normals"), Edges("edges"), Classification("room", 3)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=4, height=12, width=16):
    """Every map shows where a pixel came from: the image and depth hold its row and column."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = (row * width + column).float()
    normals = torch.tensor([0.6, 0.0, -0.8]).view(3, 1, 1).expand(3, height, width)
    one = {
        "image": torch.stack([row / height, column / width, places / places.max()]).float(),
        "seg": places.long() % 9,
        "depth": 1 + places[None],
        "normals": normals,
        "edges": (places[None] % 2),
    }
    batch = {key: value.expand(count, *value.shape).clone() for key, value in one.items()}
    return batch | {"room": torch.arange(count)}


def test_a_flip_mirrors_everything_and_negates_normal_x():
    given = batch()
    result = Augmentation(flip=1, zoom=1, colour=0)(given, TASKS, generator())
    torch.testing.assert_close(result["image"], given["image"].flip(3))
    for key in ("seg", "depth", "edges"):
        assert torch.equal(result[key], given[key].flip(-1))
    assert torch.equal(result["normals"], given["normals"].flip(-1) * torch.tensor([-1, 1, 1]).view(1, 3, 1, 1))
    assert torch.equal(result["room"], given["room"])


def test_without_chances_nothing_changes():
    given = batch()
    result = Augmentation(flip=0, zoom=1, colour=0)(given, TASKS, generator())
    for key, value in given.items():
        torch.testing.assert_close(result[key], value)


def test_zoom_divides_depth_and_keeps_normals_in_step_with_the_image():
    given = batch(32)
    result = Augmentation(flip=0, zoom=2, colour=0)(given, TASKS, generator())
    scale = Window.draw(given["image"], 0, 2, generator()).scale
    assert (scale > 1).all()
    assert (scale <= 2).all()
    assert torch.equal(result["normals"], given["normals"])
    # depth × s is 1 + the index of the source pixel, and the image holds its row and column, interpolated
    source = (result["depth"][:, 0] * scale[:, None, None] - 1).round().long()
    assert source.min() >= 0
    assert source.max() < 12 * 16
    assert torch.equal(source % 9, result["seg"])
    assert torch.equal(source % 2, result["edges"][:, 0].long())
    torch.testing.assert_close(result["image"][:, 0], source // 16 / 12, atol=0.51 / 12, rtol=0)
    torch.testing.assert_close(result["image"][:, 1], source % 16 / 16, atol=0.51 / 16, rtol=0)


def test_missing_labels_stay_missing_and_spread_no_further_than_their_pixel():
    given = batch(8)
    given["seg"][:, 3:6] = 255
    given["depth"][:, :, 3:6] = torch.nan
    given["normals"][:, :, 3:6] = torch.nan
    given["edges"][:, :, 3:6] = torch.nan
    result = Augmentation(flip=0.5, zoom=1.5, colour=0.3)(given, TASKS, generator(3))
    missing = result["seg"] == 255
    assert missing.any()
    assert not missing.all()
    for key in ("depth", "edges"):
        assert torch.equal(result[key][:, 0].isnan(), missing)
    assert torch.equal(result["normals"].isnan().all(1), missing)
    torch.testing.assert_close(result["normals"].norm(dim=1)[~missing], torch.ones(int((~missing).sum())))


def test_the_generator_decides_and_the_given_batch_stays():
    given, copy = batch(), batch()
    augmentation = Augmentation()
    one, same, other = (augmentation(given, TASKS, generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["depth"], other["depth"])
    assert all(torch.equal(given[key], copy[key]) for key in given)


def test_colours_change_but_stay_colours_and_labels_stay():
    given = batch()
    result = Augmentation(flip=0, zoom=1, colour=0.5)(given, TASKS, generator())
    assert not torch.allclose(result["image"], given["image"], atol=0.05)
    assert result["image"].min() >= 0
    assert result["image"].max() <= 1
    assert torch.equal(result["depth"], given["depth"])


def test_a_label_without_a_task_and_a_task_without_a_label():
    given = batch()
    del given["depth"]
    result = Augmentation(flip=1)(given | {"name": torch.arange(4)}, TASKS, generator())
    assert "depth" not in result
    assert torch.equal(result["name"], torch.arange(4))


@pytest.mark.parametrize("wrong", [{"flip": 1.1}, {"flip": -0.1}, {"zoom": 0.9}, {"colour": 1.0}])
def test_arguments_out_of_range(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}={wrong[name]}"):
        Augmentation(**wrong)
