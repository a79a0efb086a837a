import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lomt.evaluation import delta_m, per_task
from lomt.tasks import Classification, Depth, Edges, Normals, Regression, Segmentation

TASKS = [
    Segmentation("seg", 13),
    Depth("depth"),
    Normals("normals"),
    Edges("edges"),
    Classification("room", 4),
    Regression("age"),
]
SINGLE = {
    "seg": {"mIoU": 0.3, "pixel_accuracy": 0.6},
    "depth": {"RMSE": 0.8, "AbsRel": 0.2, "MAE": 0.5},
    "normals": {"mean_angle": 40.0, "within_11.25": 20.0},
    "edges": {"ODS_F": 0.5},
    "room": {"accuracy": 0.9},
    "age": {"RMSE": 5.0},
}


def scaled(factor):
    return {task: {metric: factor * value for metric, value in values.items()} for task, values in SINGLE.items()}


def test_the_headline_metrics_are_the_protocols():
    assert {task.name: task.headline for task in TASKS} == {
        "seg": ("mIoU",),
        "depth": ("RMSE", "AbsRel"),
        "normals": ("mean_angle", "within_11.25"),
        "edges": ("ODS_F",),
        "room": ("accuracy",),
        "age": ("RMSE",),
    }


def test_single_task_against_itself_is_zero():
    assert delta_m(SINGLE, SINGLE, TASKS) == 0


def test_the_sign_follows_the_direction_of_every_metric():
    gains = per_task(scaled(1.1), SINGLE, TASKS)
    assert gains == pytest.approx(
        {"seg": 10, "depth": -10, "normals": 0, "edges": 10, "room": 10, "age": -10}, abs=1e-9
    )


def test_metrics_are_averaged_within_a_task_before_tasks_are():
    results = scaled(1.0)
    results["depth"] = {"RMSE": 0.6, "AbsRel": 0.2}  # + 25 % and 0 %
    assert per_task(results, SINGLE, TASKS)["depth"] == pytest.approx(12.5)
    assert delta_m(results, SINGLE, TASKS) == pytest.approx(12.5 / 6)


@given(st.floats(0.1, 10), st.sampled_from(["mIoU", "RMSE"]))
def test_units_cancel(scale, metric):
    task = TASKS[0] if metric == "mIoU" else TASKS[5]
    small = delta_m({task.name: {metric: 0.4}}, {task.name: {metric: 0.5}}, [task])
    large = delta_m({task.name: {metric: 0.4 * scale}}, {task.name: {metric: 0.5 * scale}}, [task])
    assert small == pytest.approx(large)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -1.0])
def test_a_useless_baseline_is_named(value):
    baseline = scaled(1.0)
    baseline["edges"] = {"ODS_F": value}
    with pytest.raises(ValueError, match=rf"baseline of edges/ODS_F is {value:g}"):
        delta_m(SINGLE, baseline, TASKS)


def test_absent_values_are_named():
    with pytest.raises(ValueError, match=r"no depth/AbsRel in the results – there are depth/RMSE"):
        delta_m({"depth": {"RMSE": 1.0}}, SINGLE, TASKS[1:2])
    with pytest.raises(ValueError, match="no seg/mIoU in the single-task baseline – there are no values"):
        delta_m(SINGLE, {}, TASKS[:1])
    with pytest.raises(ValueError, match="no tasks"):
        delta_m(SINGLE, SINGLE, [])


def test_a_network_that_failed_has_no_delta():
    assert math.isnan(delta_m(scaled(math.nan), SINGLE, TASKS))
