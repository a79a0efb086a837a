"""The plot of quality against latency."""

import xml.etree.ElementTree as ET

from tailor.evaluation.bench import Bench, Size, Timing
from tailor.report.bench import as_file, bench_plot

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
    found = {}
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        found[circle[0].text.partition(":")[0]] = (float(circle.get("cx")), float(circle.get("cy")))
    return found


def test_a_dot_a_model_whose_worth_is_known():
    found = spots(ET.fromstring(as_file(bench_plot(FOUND))))
    assert found.keys() == {"small & fine, eager", "small & fine, onnxruntime", "large, eager"}
    assert found["small & fine, onnxruntime"][0] < found["small & fine, eager"][0] < found["large, eager"][0]
    assert found["small & fine, eager"][1] < found["large, eager"][1]  # better is higher up


def test_other_settings_have_other_dots():
    assert spots(ET.fromstring(as_file(bench_plot(FOUND, batch=8)))).keys() == {"large, eager"}
    assert bench_plot(FOUND, threads=2) is None
