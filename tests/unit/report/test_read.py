import json

import numpy as np
import pytest

from lomt.report.read import read


def test_a_whole_run_is_read(run_folder):
    run = read(run_folder)
    assert run.tasks == ["seg", "depth", "normals", "edges", "room"]
    assert {one.method for one in run.trainings} == {"single_task", "multi_task", "lomt", "sparse"}
    assert len(run.of("single_task")) == 10
    assert len(run.of("sparse")) == 10
    assert not run.problems
    assert run.comparison.methods == ["single_task", "multi_task", "lomt"]
    assert run.gallery["image"].shape == (2, 18, 24, 3)


def test_no_run_folder_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.yaml.*lomt run --out"):
        read(tmp_path)


def test_trials_are_in_the_order_of_their_numbers(example, tmp_path):
    (tmp_path / "config.yaml").write_text("tasks: []\n")
    for trial in (10, 2, 0):
        example.write_training(tmp_path, f"sparse/seg/trial-{trial}", "sparse", {"seg": "layer4"}, trial, 2)
    assert [one.name[-2:].strip("-") for one in read(tmp_path).of("sparse")] == ["0", "2", "10"]


def test_a_training_that_runs_is_known_by_its_curves(example, tmp_path):
    (tmp_path / "config.yaml").write_text("tasks: []\n")
    example.write_training(tmp_path, "multi_task/seed-0", "multi_task", {"seg": "a", "edges": "a"}, 0, 3, ended=False)
    (training,) = read(tmp_path).trainings
    assert training.method == "multi_task"
    assert training.tasks == ["seg", "edges"]
    assert len(training.history["epoch"]) == 3
    assert not training.result


def test_empty_fields_are_nan_and_words_are_no_error(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1\n")
    stage = tmp_path / "stages/lomt/seed-0"
    stage.mkdir(parents=True)
    (stage / "metrics.csv").write_text("epoch,val_loss/seg,lr\n1,,x\n2,0.5,0.1\n")
    history = read(tmp_path).trainings[0].history
    np.testing.assert_array_equal(history["val_loss/seg"], [np.nan, 0.5])
    np.testing.assert_array_equal(history["lr"], [np.nan, 0.1])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("stages/compare/result.json", b'{"rows": ['),
        ("stages/compare/gallery.npz", b"PK\x03\x04 broken off"),
        ("stages/lomt/seed-0/metrics.csv", b"\xff\xfe\x00"),
        ("config.yaml", b"a: [1"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_read(example, tmp_path, file, content):
    folder = example.write_run(tmp_path / "run", tasks=("seg", "edges"), seeds=1, trials=1)
    (folder / file).write_bytes(content)
    run = read(folder)
    assert len(run.problems) == 1
    assert file.rsplit("/", 1)[-1] in run.problems[0]
    assert run.trainings


def test_pickles_in_the_gallery_are_refused(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg",), seeds=1, trials=1)
    np.savez(folder / "stages/compare/gallery.npz", image=np.array([{"a": 1}], dtype=object))
    run = read(folder)
    assert run.gallery is None
    assert "gallery.npz" in run.problems[0]


def test_a_result_that_is_no_mapping_counts_as_missing(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg",), seeds=1, trials=1)
    (folder / "stages/select/result.json").write_text(json.dumps([1, 2]))
    assert read(folder).selection is None
