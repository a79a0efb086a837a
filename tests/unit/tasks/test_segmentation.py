import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt.tasks import Segmentation


def reference(output, target, classes, ignore):
    """mIoU and pixel accuracy, pixel by pixel."""
    predicted = output.argmax(1).numpy().ravel()
    truth = target.numpy().ravel()
    predicted, truth = predicted[truth != ignore], truth[truth != ignore]
    ratios = []
    for one in range(classes):
        both = np.sum((predicted == one) & (truth == one))
        either = np.sum((predicted == one) | (truth == one))
        if either:
            ratios.append(both / either)
    return np.mean(ratios), np.mean(predicted == truth)


@settings(max_examples=15, deadline=None)
@given(classes=st.integers(2, 30), seed=st.integers(0, 1000))
def test_metrics_agree_with_brute_force(classes, seed):
    torch.manual_seed(seed)
    output, target = torch.randn(2, classes, 6, 7), torch.randint(classes, (2, 6, 7))
    target[torch.rand(target.shape) < 0.2] = 255
    metrics = Segmentation("seg", classes).metrics()
    metrics.update(output, target)
    found = metrics.compute()
    expected = reference(output, target, classes, 255)
    assert math.isclose(found["mIoU"], expected[0], rel_tol=1e-5)
    assert math.isclose(found["pixel_accuracy"], expected[1], rel_tol=1e-5)


def test_absent_classes_do_not_count():
    output = torch.zeros(1, 4, 1, 4)
    output[0, [0, 0, 1, 1], 0, range(4)] = 1  # predicts 0 0 1 1
    metrics = Segmentation("seg", 4).metrics()
    metrics.update(output, torch.tensor([[[0, 0, 1, 2]]]))  # class 3 is nowhere, class 2 is missed
    assert metrics.compute()["mIoU"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_loss_is_the_mean_over_labelled_pixels():
    torch.manual_seed(0)
    output, target = torch.randn(3, 4, 5, 6), torch.randint(4, (3, 5, 6))
    target[0] = 9
    logs = output.double().log_softmax(1)
    terms = [
        -logs[n, target[n, i, j], i, j] for n in range(3) for i in range(5) for j in range(6) if target[n, i, j] != 9
    ]
    loss = Segmentation("seg", 4, ignore_index=9).loss(output, target)
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-6)


def test_ids_out_of_range_are_named():
    target = torch.tensor([[0, 4, 255], [17, -1, 2]])
    with pytest.raises(ValueError, match=r"a\.png: class id -1, 4, 17 out of range 0 … 3 \(ignore index 255\)"):
        Segmentation("seg", 4).check(target, "a.png")


@pytest.mark.parametrize(("arguments", "said"), [({"classes": 1}, "1 classes"), ({"classes": 300}, "ignores 255")])
def test_impossible_classes_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Segmentation("seg", **arguments)


def test_classes_may_be_named():
    task = Segmentation("seg", ["wall", "floor"], ignore_index=-1)
    assert (task.classes, task.channels, task.class_names) == (2, 2, ("wall", "floor"))
    assert Segmentation("seg", 2).class_names == ("0", "1")
    with pytest.raises(TypeError, match="one text"):
        Segmentation("seg", "wall")
