import json
import math

import pytest

from lomt.evaluation import Latency, Row, Spread, Table
from lomt.evaluation.formatting import count, number, spread
from lomt.tasks import Depth, Segmentation

TASKS = [Segmentation("seg", 13), Depth("depth")]
SINGLE = Row(
    "single-task",
    [{"seg": {"mIoU": 0.3, "pixel_accuracy": 0.6}, "depth": {"RMSE": 0.85, "AbsRel": 0.21}}],
    parameters=7_920_000,
    macs=4_100_000_000,
)
TAILORED = Row(
    "tailored",
    [
        {"seg": {"mIoU": 0.31}, "depth": {"RMSE": 0.80, "AbsRel": 0.2}},
        {"seg": {"mIoU": 0.33}, "depth": {"RMSE": 0.84, "AbsRel": 0.2}},
    ],
    delta_m=[1.0, 2.0],
    parameters=2_650_000,
    macs=512,
    latency=Latency(12.34, 11.9, 13.0, 50, 1, "cpu"),
)

TITLES = (
    "| method | seg mIoU ↑ | depth RMSE [m] ↓ | depth AbsRel ↓ | Δm [%] ↑ | parameters ↓ | MACs ↓ "
    "| latency [ms] ↓ (cpu, 1 thread) |"
)


def test_markdown_reads_like_a_paper():
    assert Table(TASKS, [SINGLE, TAILORED]).to_markdown().splitlines() == [
        TITLES,
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| single-task | 0.300 | 0.850 | 0.210 | – | 7.92 M | 4.10 G | – |",
        "| tailored | 0.320 ± 0.014 | 0.820 ± 0.028 | 0.200 ± 0.000 | +1.50 ± 0.71 | 2.65 M | 512 | 12.3 (11.9–13.0) |",
    ]


def test_all_metrics_on_request_headline_first():
    columns = Table(TASKS, [SINGLE, TAILORED], headline_only=False).columns
    assert [(column.metric, column.headline) for column in columns] == [
        ("mIoU", True),
        ("pixel_accuracy", False),
        ("RMSE", True),
        ("AbsRel", True),
    ]


def test_columns_without_figures_vanish():
    assert "latency" not in Table(TASKS, [SINGLE]).to_markdown()
    only = Row("depth only", [{"depth": {"RMSE": 1.0}}])
    assert [column.metric for column in Table(TASKS, [only]).columns] == ["RMSE"]
    assert "| – |" in Table(TASKS, [only, SINGLE]).to_markdown()


def test_dict_is_strict_json_with_full_precision():
    broken = Row("broken", [{"seg": {"mIoU": math.nan}}], delta_m=[math.nan])
    found = json.loads(json.dumps(Table(TASKS, [TAILORED, broken]).to_dict(), allow_nan=False))
    tailored, failed = found["rows"]
    assert tailored["metrics"]["depth"]["RMSE"] == pytest.approx({"mean": 0.82, "std": math.sqrt(2) * 0.02, "count": 2})
    assert tailored["delta_m"]["mean"] == 1.5
    assert tailored["latency"]["threads"] == 1
    assert failed["metrics"] == {
        "seg": {"mIoU": {"mean": None, "std": None, "count": 1}},
        "depth": {"RMSE": None, "AbsRel": None},
    }
    assert found["columns"][1]["title"] == "depth RMSE [m] ↓"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"),
        (0.0004, "0.000"),
        (0.9996, "1.000"),
        (9.996, "10.00"),
        (99.96, "100.0"),
        (1234.5, "1234"),
        (-3.14159, "−3.14"),
        (math.inf, "∞"),
    ],
)
def test_numbers_have_three_digits_that_matter(value, text):
    assert number(value) == text


def test_spread_has_the_decimals_of_its_mean():
    assert spread(Spread(36.84, 1.234, 3)) == "36.8 ± 1.2"
    assert spread(Spread(math.nan, math.nan, 3)) == "–"
    assert spread(Spread(0.0123, 2.5, 3), signed=True) == "+0.012 ± 2.500"


def test_counts_round_up_to_the_next_letter():
    assert [count(value) for value in (999, 1000, 999_499, 10**12)] == ["999", "1.00 k", "999 k", "1000 G"]
