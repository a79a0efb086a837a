import numpy as np

from lomt.report.gallery import gallery
from lomt.report.read import read


def changed(example, tmp_path, tasks, **arrays):
    """A run whose gallery has other arrays."""
    folder = example.write_run(tmp_path / "run", tasks=tasks, methods=("single_task", "lomt"), seeds=1, trials=1)
    file = folder / "stages/compare/gallery.npz"
    with np.load(file) as archive:
        kept = dict(archive)
    np.savez(file, **{**kept, **{name.replace("__", "/"): value for name, value in arrays.items()}})
    return gallery(read(folder))


def test_every_task_has_truth_and_all_methods(run_folder):
    found = gallery(read(run_folder))
    assert found.columns == ["truth", "single-task", "conventional multi-task", "tailored (LOMT)"]
    assert len(found.samples) == 2
    for sample in found.samples:
        assert [strip.task for strip in sample.strips] == ["seg", "depth", "normals", "edges", "room"]
        for strip in sample.strips:
            assert len(strip.views) == 4
            assert all(bool(view.source) != bool(view.text) for view in strip.views)
            assert all(view.alt for view in strip.views if view.source)


def test_legends_say_classes_and_metres(run_folder):
    legends = {legend.task: legend for legend in gallery(read(run_folder)).legends}
    assert [text for _, text in legends["seg"].entries] == ["floor", "wall", "box", "ball", "lamp", "no label"]
    assert legends["depth"].ends[0].endswith(" m")
    assert legends["depth"].note == "grey: not measured"
    assert "room" not in legends


def test_classes_are_words_with_a_mark(example, tmp_path):
    found = changed(
        example,
        tmp_path,
        ("room",),
        truth__room=np.array([1, -1]),
        single_task__room=np.array([[0.1, 0.8, 0.1], [0.9, 0.1, 0.0]]),
        lomt__room=np.array([0, 2]),
    )
    first, second = (sample.strips[0].views for sample in found.samples)
    assert [view.text for view in first] == ["kitchen", "kitchen (80\u00a0%)", "office"]
    assert [view.mark for view in first] == ["", "right", "wrong"]
    assert second[0].text == "no label"
    assert second[1].mark == ""


def test_several_labels_are_a_list(example, tmp_path):
    found = changed(
        example,
        tmp_path,
        ("room",),
        truth__room=np.array([[1.0, 0.0, 1.0], [np.nan] * 3]),
        single_task__room=np.array([[0.9, 0.2, 0.1], [0.1, 0.2, 0.3]]),
        lomt__room=np.array([[0.9, 0.2, 0.8], [0.1, 0.2, 0.3]]),
    )
    first, second = (sample.strips[0].views for sample in found.samples)
    assert [view.text for view in first] == ["office, hall", "office", "office, hall"]
    assert [view.text for view in second] == ["no label", "none", "none"]


def test_a_task_without_truth_or_with_fewer_images_is_shown_as_far_as_it_goes(example, tmp_path):
    found = changed(example, tmp_path, ("edges",), lomt__edges=np.zeros((1, 1, 18, 24)))
    assert found.samples[1].strips[0].views[2].text == "–"


def test_a_kind_of_elsewhere_is_painted_by_its_shape(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("edges",), methods=("lomt",), seeds=1, trials=1)
    stored = example.compared(("edges",), ("lomt",), 1)
    stored["tasks"][0]["kind"] = "Saliency"
    example.write_json(folder / "stages/compare/result.json", stored)
    found = gallery(read(folder))
    assert found.samples[0].strips[0].views[0].source.startswith("data:image/png")
    assert found.legends[0].ends == ("low", "high")
