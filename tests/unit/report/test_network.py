import re
from itertools import pairwise

from lomt.report.network import DECODER_HEIGHT, _spread, networks, tap_table
from lomt.report.read import read


def test_conventional_and_tailored_are_drawn_and_single_task_is_not(run_folder):
    drawings = networks(read(run_folder))
    assert [one.method for one in drawings] == ["conventional multi-task", "tailored (LOMT)"]
    conventional, tailored = drawings
    assert 'class="ghost"' not in conventional.picture
    assert 'class="cut"' not in conventional.picture
    assert tailored.picture.count('class="ghost"') == 2  # the rest of layer4.0, and layer4.1
    assert 'class="cut"' in tailored.picture
    assert "Cut after layer4.0.conv2" in tailored.caption
    for one in drawings:
        assert one.picture.count('class="decoder"') == 5


def test_the_scissors_cut_no_label(run_folder):
    tailored = networks(read(run_folder))[1].picture
    cut = re.search(r'<g class="cut">.*?</g>', tailored)[0]
    left = min(float(x) - float(r) for x, r in re.findall(r'cx="([\d.]+)" cy="[\d.]+" r="([\d.]+)"', cut))
    left = min(left, *(float(x) for x in re.findall(r"[ML ]([\d.]+) [\d.]+", cut)))
    ends = [float(x) for x in re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="end"', tailored)]
    assert left > max(ends)


def test_several_taps_of_one_task_are_several_threads(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg", "edges"), seeds=1, trials=1)
    stored = example.compared(("seg", "edges"), ("multi_task", "lomt"), 1)
    stored["rows"][1]["taps"] = {"seg": ["layer1.0", "layer3.0.conv2"], "edges": "layer1.1"}
    example.write_json(folder / "stages/compare/result.json", stored)
    tailored = networks(read(folder))[1]
    assert tailored.picture.count('class="thread"') == 3
    assert "Cut after layer3.0.conv2" in tailored.caption


def test_decoders_never_overlap_and_stay_inside():
    for wanted in ([10, 10, 10], [0, 5, 290], [295, 296, 297, 298], []):
        places = _spread(wanted, 300)
        assert all(b - a >= DECODER_HEIGHT for a, b in pairwise(places))
        assert all(DECODER_HEIGHT / 2 <= place <= 300 - DECODER_HEIGHT / 2 for place in places)


def test_a_deep_backbone_is_not_taller_than_a_screen(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg",), seeds=1, trials=1)
    deep = example.candidates((3, 4, 23, 3), 64, 3, 4)
    example.write_json(
        folder / "stages/compare/result.json", example.compared(("seg",), ("multi_task", "lomt"), 1, deep)
    )
    heights = [float(re.search(r'height="([\d.]+)"', one.picture)[1]) for one in networks(read(folder))]
    assert max(heights) < 520


def test_tap_table_tells_channels_and_resolution(run_folder):
    lines = {line.task: line.taps for line in tap_table(read(run_folder))}
    assert lines["edges"]["tailored (LOMT)"] == [("layer2.0.conv2", "32 channels, 1/8")]
    assert lines["edges"]["conventional multi-task"] == [("layer4", "128 channels, 1/8")]
