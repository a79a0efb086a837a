"""What must hold for every kind of task."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.wrappers import MultioutputWrapper

from lomt.tasks import TASKS, Task


def assert_same(left, right, rtol=1e-5):
    assert left.keys() == right.keys()
    for key in left:
        torch.testing.assert_close(left[key], right[key], rtol=rtol, atol=1e-6, equal_nan=True, msg=key)


def measured(task, pairs):
    metrics = task.metrics()
    for output, target in pairs:
        metrics.update(output, target)
    return metrics.compute()


def test_cases_cover_all_names(case):
    assert type(case.task) in TASKS.values()
    assert all(issubclass(kind, Task) for kind in TASKS.values())


def test_metrics_know_their_direction(case):
    task = case.task
    found = measured(task, [(case.outputs(8), case.targets(8))])
    assert set(task.headline) <= set(found) <= set(task.higher_is_better)
    assert set(task.units) <= set(task.higher_is_better)
    assert all(value.ndim == 0 and value.isfinite() for value in found.values())


def test_gradients_are_finite_beside_missing_labels(case):
    output = case.outputs(4).requires_grad_()
    loss = case.task.loss(output, case.targets(4))
    loss.backward()
    assert loss.ndim == 0
    assert loss.isfinite()
    assert loss > 0
    assert output.grad.isfinite().all()
    assert output.grad.abs().sum() > 0


def test_no_labels_at_all_cost_nothing(case):
    output = case.outputs(4).requires_grad_()
    target = torch.full_like(case.complete(4), case.missing)
    loss = case.task.loss(output, target)
    loss.backward()
    assert loss == 0
    assert (output.grad == 0).all()
    found = measured(case.task, [(output.detach(), target)])
    assert all(value.isnan() for value in found.values()), found
    assert_same(found, case.task.metrics().compute())


def test_outputs_where_labels_miss_change_nothing(case):
    target = case.targets(6)
    missing = case.is_missing(target)
    output = case.outputs(6)
    other = case.outputs(6, seed=1)
    if missing.ndim < output.ndim:
        missing = missing.unsqueeze(1)
    changed = torch.where(missing, 30 * other, output)
    assert not changed.equal(output)
    torch.testing.assert_close(case.task.loss(changed, target), case.task.loss(output, target))
    assert_same(measured(case.task, [(changed, target)]), measured(case.task, [(output, target)]), rtol=0)


def test_samples_without_labels_change_nothing(case):
    output, target = case.outputs(6), case.targets(6)
    target[2:4] = case.missing if target.is_floating_point() else int(case.missing)
    keep = [0, 1, 4, 5]
    torch.testing.assert_close(case.task.loss(output, target), case.task.loss(output[keep], target[keep]))
    assert_same(measured(case.task, [(output, target)]), measured(case.task, [(output[keep], target[keep])]))


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), seed=st.integers(0, 100))
def test_metrics_do_not_depend_on_batches(case, sizes, seed):
    output, target = case.outputs(sum(sizes), seed), case.targets(sum(sizes), seed)
    pieces = zip(output.split(sizes), target.split(sizes), strict=True)
    assert_same(measured(case.task, pieces), measured(case.task, [(output, target)]))


def test_a_first_batch_without_labels_is_no_harm(case):
    output, target = case.outputs(6), case.targets(6)
    nothing = torch.full_like(target, case.missing)
    whole = measured(case.task, [(output, target)])
    assert_same(measured(case.task, [(output, nothing), (output, target)]), whole)


def test_states_of_two_processes_add_up(case):
    output, target = case.outputs(9), case.targets(9)
    first, second = case.task.metrics(), case.task.metrics()
    first.update(output[:4], target[:4])
    second.update(output[4:], target[4:])
    for name in first:
        mine, theirs = first[name], second[name]
        if isinstance(mine, MultioutputWrapper):
            for one, other in zip(mine.metrics, theirs.metrics, strict=True):
                one.merge_state(other)
        else:
            mine.merge_state(theirs)
    assert_same(first.compute(), measured(case.task, [(output, target)]))


def test_metrics_start_anew_after_reset(case):
    metrics = case.task.metrics()
    metrics.update(case.outputs(5, seed=3), case.targets(5, seed=3))
    metrics.compute()
    metrics.reset()
    metrics.update(case.outputs(5), case.targets(5))
    assert_same(metrics.compute(), measured(case.task, [(case.outputs(5), case.targets(5))]), rtol=0)


def test_forward_gives_the_metrics_of_its_batch(case):
    metrics = case.task.metrics()
    metrics.update(case.outputs(5, seed=3), case.targets(5, seed=3))
    found = metrics(case.outputs(5), case.targets(5))
    assert_same(found, measured(case.task, [(case.outputs(5), case.targets(5))]))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_task_and_metrics_can_be_copied(case, duplicate):
    metrics = case.task.metrics()
    metrics.update(case.outputs(5), case.targets(5))
    assert_same(duplicate(metrics).compute(), metrics.compute(), rtol=0)
    again = duplicate(case.task).loss(case.outputs(5), case.targets(5))
    assert again == case.task.loss(case.outputs(5), case.targets(5))


def test_gradient_agrees_with_finite_differences(case):
    output, target = case.outputs(2).double(), case.targets(2)
    if case.task.dense:
        output, target = output[..., :5, :6], target[..., :5, :6]
    if target.is_floating_point():
        target = target.double()
    output = output.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda raw: case.task.loss(raw, target), output)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_half_precision_is_left_before_the_loss(case, scale):
    output = (scale * case.outputs(4)).bfloat16()
    target = case.targets(4)
    with torch.autocast("cpu", torch.bfloat16):
        raw = output.clone().requires_grad_()
        loss = case.task.loss(raw, target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert raw.grad.isfinite().all()
    torch.testing.assert_close(loss, case.task.loss(output.float(), target), rtol=1e-6, atol=1e-6)


def test_metrics_take_half_precision(case):
    output, target = case.outputs(6).bfloat16(), case.targets(6)
    found = measured(case.task, [(output, target)])
    assert_same(found, measured(case.task, [(output.float(), target)]))


def test_prediction_has_a_value_for_every_label(case):
    prediction = case.task.prediction(case.outputs(3))
    assert prediction.shape == case.complete(3).shape


def test_check_accepts_labels_with_gaps(case):
    for target in (*case.targets(3), *case.targets(3, share=1.1)):
        case.task.check(target, "0001.png")


def test_check_names_the_file_for_dtype_and_shape(case):
    target = case.complete(1)[0]
    other = torch.int32 if target.dtype == torch.int64 else torch.float64
    with pytest.raises(ValueError, match=r"^0001\.png: label of dtype .*expected (int64|float32)"):
        case.task.check(target.to(other), "0001.png")
    with pytest.raises(ValueError, match=r"^0001\.png: label of shape \(2,.*expected \("):
        case.task.check(torch.stack([target, target]), "0001.png")


@pytest.mark.parametrize(
    ("name", "weight", "said"),
    [
        ("a-b", 1.0, "'a-b'"),
        ("image", 1.0, "taken"),
        ("train", 1.0, "taken"),
        ("ok", -1.0, "-1.0"),
        ("ok", math.nan, "is nan"),
        ("ok", math.inf, "is inf"),
    ],
)
def test_bad_names_and_weights_are_refused(name, weight, said):
    for kind in TASKS.values():
        arguments = {"classes": 3} if kind.__name__ in ("Segmentation", "Classification") else {}
        with pytest.raises(ValueError, match=said):
            kind(name, **arguments, weight=weight)
