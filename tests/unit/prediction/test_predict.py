"""A folder of pictures becomes a folder of predictions."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from lomt.prediction import Predictor, predict
from lomt.prediction.sources import find_pictures
from lomt.prediction.writers import Arrays, writer
from lomt.tasks import Depth, Segmentation, Task


@pytest.fixture
def pictures(tmp_path):
    """Four pictures, of which one is broken, one is a pixel, and two have one name."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name, size in (("a.png", (40, 60)), ("a.jpg", (30, 30)), ("more/pixel.png", (1, 1))):
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / name)
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("no picture either")
    return folder


@pytest.fixture
def done(pictures, colours, tmp_path):
    return predict(pictures, colours, tmp_path / "out", progress=False)


def test_bad_files_stop_nothing_and_are_said(done, pictures):
    assert list(done.values) == ["a.jpg", "a.png", "more/pixel"]
    assert list(done.bad) == [pictures / "broken.jpg"]
    assert "3 of 4 pictures predicted" in str(done)
    assert "broken.jpg can't be read" in str(done)


def test_maps_hold_the_predictions(done, pictures, colours):
    with Image.open(pictures / "a.png") as picture:
        expected = Predictor(colours)(np.asarray(picture))
    out = done.folder
    with Image.open(out / "seg/a.png.png") as found:
        assert (found.mode, found.size) == ("P", (60, 40))
        np.testing.assert_array_equal(np.asarray(found), expected["seg"])
        palette = found.getpalette()[:9]
    with Image.open(out / "depth/a.png.png") as found:
        assert found.mode == "I;16"
        np.testing.assert_allclose(np.asarray(found) / 1000, expected["depth"][0], atol=5.1e-4)
    with Image.open(out / "normals/a.png.png") as found:
        vectors = np.moveaxis(np.asarray(found) / 127.5 - 1, -1, 0)
        np.testing.assert_allclose(vectors, expected["normals"], atol=0.5 / 127.5 + 1e-5)
    with Image.open(out / "edges/a.png.png") as found:
        np.testing.assert_allclose(np.asarray(found) / 255, expected["edges"][0], atol=0.5 / 255 + 1e-5)
    with Image.open(out / "depth-view/a.png.png") as found:
        view, metres = np.asarray(found).astype(int), expected["depth"][0].numpy()
    assert view[metres <= np.quantile(metres, 0.02)].mean() > 2 * view[metres >= np.quantile(metres, 0.98)].mean()
    about = json.loads((out / "about.json").read_text())
    assert [one["name"] for one in about["seg"]["classes"]] == ["red", "green", "blue"]
    assert [one["colour"] for one in about["seg"]["classes"]] == [
        "#" + bytes(palette[k : k + 3]).hex() for k in (0, 3, 6)
    ]
    assert "millimetres" in about["depth"]["files"]
    with Image.open(out / "seg-legend.png") as legend:
        colours_there = {colour for _, colour in legend.convert("RGB").getcolors(10**6)}
    assert {tuple(palette[k : k + 3]) for k in (0, 3, 6)} <= colours_there


def test_one_pixel_has_predictions(done):
    with Image.open(done.folder / "normals/more/pixel.png") as found:
        assert found.size == (1, 1)


def test_values_as_json_and_csv(done):
    said = json.loads((done.folder / "values.json").read_text())
    assert said == {name: {t: v for t, v in row.items() if v} for name, row in done.values.items()}
    room = said["a.png"]["room"]
    assert room["class"] in ("dark", "light")
    assert 0.5 <= room["probability"] <= 1
    assert said["a.png"]["labels"].keys() == {"warm", "cold"}
    assert said["a.png"]["light"]["1"] == pytest.approx(2 * said["a.png"]["light"]["0"])
    rows = list(csv.DictReader((done.folder / "values.csv").read_text().splitlines()))
    assert [row["picture"] for row in rows] == ["a.jpg", "a.png", "more/pixel"]
    assert float(rows[1]["room.probability"]) == room["probability"]


def test_a_folder_that_holds_something(done, pictures, colours):
    (done.folder / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        predict(pictures, colours, done.folder)
    predict(pictures, colours, done.folder, overwrite=True, progress=False)
    assert (done.folder / "mine.txt").read_text() == "mine"


def test_predictions_are_no_pictures_to_predict(pictures, colours):
    for _ in range(2):
        found = predict(pictures, colours, pictures / "out", overwrite=True, progress=False)
        assert len(found.values) == 3


def test_a_stop_keeps_the_values_so_far(pictures, colours, tmp_path):
    def stop(*_):
        if len(colours.seen) > 1:
            raise KeyboardInterrupt

    colours.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        predict(pictures, colours, tmp_path / "out", progress=False)
    assert len(json.loads((tmp_path / "out/values.json").read_text())) == 2


def test_a_full_disk_is_no_bad_picture(pictures, colours, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lomt.prediction.writer.Image.Image.save", full)
    with pytest.raises(OSError, match=r"out/seg-legend\.png can't be written, its disk is full"):
        predict(pictures, colours, tmp_path / "out", progress=False)


def test_a_full_disk_in_the_midst_leaves_whole_files_only(pictures, colours, tmp_path, monkeypatch):
    save = Image.Image.save

    def full(picture, path, *rest):
        save(picture, path, *rest)
        if "a.png" in path.name:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("lomt.prediction.writer.Image.Image.save", full)
    with pytest.raises(OSError, match=r"seg/a\.png\.png can't be written, its disk is full"):
        predict(pictures, colours, tmp_path / "out", progress=False)
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "out/seg/a.png.png").exists()
    assert list(json.loads((tmp_path / "out/values.json").read_text())) == ["a.jpg"]


def test_a_prediction_that_can_not_be_written_stops_no_other(pictures, colours, tmp_path):
    (tmp_path / "out/seg/a.jpg.png").mkdir(parents=True)
    done = predict(pictures, colours, tmp_path / "out", overwrite=True, progress=False)
    assert list(done.values) == ["a.png", "more/pixel"]
    assert "seg/a.jpg.png can't be written" in done.bad[pictures / "a.jpg"]


def test_no_two_pictures_have_one_name_and_every_name_can_be_written(tmp_path, colours):
    draw = np.random.default_rng(0)
    long, names = "n" * 249, ["a.png", "a.jpg", "a.png.png", "A.bmp", "a.PNG", "b-2.png", "b.png", "=1+1.png"]
    odd = ["line\nbreak.png", b"\xff.png".decode(errors="surrogateescape")]
    for name in [*names, *odd, f"{long}.png", f"{long}.gif", "ä" * 125 + ".png", "ä" * 125 + ".bmp"]:
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / name)
    found = find_pictures(tmp_path, "out")
    assert len({name.casefold() for name in found}) == len(found) == 14
    done = predict(tmp_path, colours, tmp_path / "out", progress=False)
    assert not done.bad
    assert len(list((done.folder / "seg").iterdir())) == 14
    with Image.open(tmp_path / "a.png") as picture:
        expected = Predictor(colours)(np.asarray(picture.convert("RGB")))["seg"]
    with Image.open(done.folder / f"seg/{next(name for name in found if found[name].name == 'a.png')}.png") as written:
        np.testing.assert_array_equal(np.asarray(written), expected)
    lines = (done.folder / "values.csv").read_text().splitlines()
    assert any(line.startswith("'=1+1,") for line in lines)
    assert not any(line.startswith("=") for line in lines)


def test_a_picture_of_too_many_pixels_is_left_out_by_its_size(pictures, colours, tmp_path):
    Image.new("1", (13300, 13300)).save(pictures / "huge.png")
    done = predict(pictures, colours, tmp_path / "out", progress=False)
    assert len(done.values) == 3
    assert "huge.png is too large (13300 × 13300 pixels): make it smaller" in done.bad[pictures / "huge.png"]


def test_one_file_may_have_any_suffix(tmp_path):
    (tmp_path / "x.raw").write_bytes(b"")
    assert find_pictures(tmp_path / "x.raw", "out") == {"x": tmp_path / "x.raw"}


def test_nothing_to_predict(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is missing"):
        find_pictures(tmp_path / "nowhere", "out")
    with pytest.raises(ValueError, match=r"has no picture.*\.png"):
        find_pictures(tmp_path, "out")


def test_more_classes_than_a_palette_has_room_for(tmp_path):
    task = Segmentation("seg", 300, ignore_index=999)
    output = torch.zeros(300, 2, 2)
    output[299] = 1
    one = writer(task, tmp_path)
    one.write("a", output, (2, 2))
    with Image.open(tmp_path / "seg/a.png") as found:
        np.testing.assert_array_equal(np.asarray(found), 299)


def test_far_things_end_at_65_metres(tmp_path):
    one = writer(Depth("depth"), tmp_path)
    said = one.write("a", torch.full((1, 2, 2), 100.0), (2, 2))
    with Image.open(tmp_path / "depth/a.png") as found:
        assert np.asarray(found).max() == 65535
    assert said["far"] == pytest.approx(300, rel=0.02)


def test_a_kind_from_outside_is_an_array(tmp_path):
    class Heat(Task):
        dense = True

        def loss(self, output, target): ...

        def metrics(self): ...

        def check(self, target, where): ...

        def prediction(self, output):
            return 2 * output

    one = writer(Heat("heat", 1), tmp_path)
    assert isinstance(one, Arrays)
    one.write("a", torch.ones(1, 2, 2), (4, 4))
    np.testing.assert_array_equal(np.load(tmp_path / "heat/a.npy"), np.full((1, 4, 4), 2.0))
