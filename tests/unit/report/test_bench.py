"""The plot of quality against latency."""

import math
import xml.etree.ElementTree as ET

import pytest

from lomt.evaluation.bench import Bench, Size, Timing
from lomt.report.bench import as_file, bench_plot

TIMES = [
    Timing("small & fine", "eager", 1, 1, 10.0, 12.0, 50),
    Timing("small & fine", "onnxruntime", 1, 1, 5.0, 6.0, 50),
    Timing("large", "eager", 1, 1, 30.0, 33.0, 50),
    Timing("large", "eager", 8, 1, 200.0, 220.0, 50),
    Timing("unknown", "eager", 1, 1, 30.0, 33.0, 50),
]
FOUND = Bench(
    {"small & fine": Size(1, 1, 5.0), "large": Size(2, 2, -1.0), "unknown": Size(3, 3, None)}, (3, 8, 8), TIMES, []
)


def spots(root):
    """What a mark's tooltip names → its middle."""
    found = {}
    for mark in root.iter("{http://www.w3.org/2000/svg}path"):
        if mark.get("class") == "mean":
            corners = [tuple(map(float, pair.split())) for pair in mark.get("d").strip("MZ ").split("L")]
            xs, ys = zip(*corners, strict=True)
            found[mark[0].text.partition(":")[0]] = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    return found


def test_a_dot_a_model_whose_worth_is_known():
    found = spots(ET.fromstring(as_file(bench_plot(FOUND))))
    assert found.keys() == {"small & fine, eager", "small & fine, onnxruntime", "large, eager"}
    ten, five, thirty = (
        found[name][0] for name in ("small & fine, eager", "small & fine, onnxruntime", "large, eager")
    )
    assert (thirty - ten) / (ten - five) == pytest.approx(math.log(3) / math.log(2), rel=1e-3)
    assert found["small & fine, eager"][1] < found["large, eager"][1]  # better is higher up


def test_other_settings_have_other_dots():
    assert spots(ET.fromstring(as_file(bench_plot(FOUND, batch=8)))).keys() == {"large, eager"}
    assert bench_plot(FOUND, threads=2) is None


def test_every_name_stands_inside():
    root = ET.fromstring(as_file(bench_plot(FOUND)))
    names = [text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "name"]
    assert [text.text for text in names] == ["small & fine", "large"]
    for text in names:
        width, x = 7.3 * len(text.text), float(text.get("x"))
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")]
        assert left >= 44
        assert left + width <= 640


def test_one_dot_is_a_picture_too():
    one = Bench({"a": Size(1, 1, 0.0)}, (3, 8, 8), [Timing("a", "mine", 1, 1, 10.0, None, 5)], [])
    assert spots(ET.fromstring(as_file(bench_plot(one)))).keys() == {"a, mine"}
