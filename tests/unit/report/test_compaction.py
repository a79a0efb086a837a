from lomt.report.compaction import small, unchanged
from lomt.report.read import read
from lomt.report.render import render


def test_of_each_network_that_got_smaller_there_is_a_part_and_of_the_others_a_sentence(example, tmp_path):
    methods = ("single_task", "multi_task", "lomt", "sparse_lomt")
    folder = example.write_run(tmp_path / "run", tasks=("seg",), methods=methods, seeds=1, trials=1)
    run = read(folder)
    (one,) = small(run)
    assert (one.network, one.colour) == ("tailored, sparse", "of-sparse-lomt")
    assert [line[:3] for line in one.lines] == [
        ("parameters", "1.73 M", "310 k"),
        ("multiply-accumulates", "1.72 G", "429 M"),
        ("latency, PyTorch [ms]", "10.2", "4.10"),
    ]
    assert one.lines[1][3] == 0.25
    assert "differs by more than 2.0e-07 of its largest value in float32." in one.same
    assert one.picture.count('class="alive"') == 3
    said = "In the conventional multi-task and tailored (LOMT) networks nothing is dead"
    assert unchanged(run).startswith(said)
    page = render(folder)
    assert said in page
    assert "a ring is the same network once compacted" in page


def test_where_nothing_died_the_report_says_so_in_a_line(run_folder):
    assert small(read(run_folder)) == []
    page = render(run_folder)
    assert "Nothing can be removed." in page
    assert "Before and after compaction" not in page


def test_onnx_runtime_has_a_line_for_the_network_that_was_written(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg",), methods=("lomt", "sparse_lomt"), seeds=1, trials=1)
    timings = [{"model": "compacted", "median": 0.5}]
    exported = {"network": "sparse_lomt/seed-0", "onnx": {"errors": {"seg": 1e-6}}, "bench": {"timings": timings}}
    example.write_json(folder / "stages/export/result.json", exported)
    (one,) = small(read(folder))
    assert one.lines[-1] == ("latency, ONNX Runtime [ms]", "–", "0.500", None)
    assert "the ONNX file by 1.0e-06" in one.same
    example.write_json(folder / "stages/export/result.json", exported | {"network": "lomt/seed-0"})
    (one,) = small(read(folder))
    assert one.lines[-1][0] == "latency, PyTorch [ms]"


def test_a_run_that_was_not_compacted_yet(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg",), seeds=1, trials=1)
    (folder / "stages/compact/result.json").unlink()
    assert small(read(folder)) == []
    assert unchanged(read(folder)) == ""
    assert "No network has been made small yet." in render(folder)
