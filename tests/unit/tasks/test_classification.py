import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt.tasks import Classification


def area(scores, labels):
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties half."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    order = np.sign(positive[:, None] - negative[None, :])
    return np.mean((order + 1) / 2)


def reference(probability, truth):
    accuracies, measures, areas = [], [], []
    for p, t in zip(probability.T, truth.T, strict=True):
        p, t = p[~np.isnan(t)], t[~np.isnan(t)]
        guess = p > 0.5
        if len(t):
            accuracies.append(np.mean(guess == t))
        if guess.any() or t.any():
            measures.append(2 * np.sum(guess * t) / (np.sum(guess) + np.sum(t)))
        if 0 < t.sum() < len(t):
            areas.append(area(p, t))
    return [np.mean(values) if values else np.nan for values in (accuracies, measures, areas)]


@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(1, 12),
    share=st.sampled_from([0.0, 0.3, 0.9]),
    rare=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 999),
)
def test_multilabel_metrics_agree_with_brute_force(images, share, rare, seed):
    torch.manual_seed(seed)
    output = torch.randn(images, 4).mul(2).round() / 2 + 0.25  # with ties, none of them at ½
    truth = (torch.rand(images, 4) < rare).float()
    truth[torch.rand(truth.shape) < share] = torch.nan
    metrics = Classification("attributes", 4, multilabel=True).metrics()
    metrics.update(output, truth)
    found = metrics.compute()
    expected = reference(output.sigmoid().numpy(), truth.numpy())
    assert [found[key].item() for key in ("accuracy", "F1", "AUC")] == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_logits_that_look_like_probabilities_are_still_logits():
    """A batch with all logits in [0, 1] must not change the rule: all of them mean yes."""
    metrics = Classification("attributes", 1, multilabel=True).metrics()
    metrics.update(torch.tensor([[0.1], [0.2]]), torch.ones(2, 1))
    assert metrics.compute()["accuracy"] == 1


def test_single_label_accuracy_and_loss():
    task = Classification("room", ["hall", "bath", "study"])
    output = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 2]])
    target = torch.tensor([0, 1, 2, -1])
    metrics = task.metrics()
    metrics.update(output, target)
    assert metrics.compute()["accuracy"].item() == pytest.approx(2 / 3)
    logs = output.double().log_softmax(1)
    expected = -(logs[0, 0] + logs[1, 1] + logs[2, 2]) / 3
    assert task.loss(output, target).item() == pytest.approx(expected.item(), rel=1e-6)
    assert task.prediction(output).tolist() == [0, 1, 1, 2]


def test_multilabel_loss_is_the_mean_over_labels():
    output, truth = torch.randn(5, 3), torch.randint(2, (5, 3)).float()
    truth[0, 1:] = torch.nan
    p = output.double().sigmoid()
    terms = torch.where(truth == 1, p, 1 - p).log()[~truth.isnan()]
    loss = Classification("attributes", 3, multilabel=True).loss(output, truth)
    assert loss.item() == pytest.approx(-terms.mean().item(), rel=1e-6)


def test_impossible_labels_are_named():
    with pytest.raises(ValueError, match=r"list\.txt: class id 3 out of range 0 … 2 \(missing: -1\)"):
        Classification("room", 3).check(torch.tensor(3), "list.txt")
    with pytest.raises(ValueError, match="class id -2"):
        Classification("room", 3).check(torch.tensor(-2), "list.txt")
    with pytest.raises(ValueError, match=r"list\.txt: label -1 for 'smile'"):
        Classification("faces", ["male", "smile"], multilabel=True).check(torch.tensor([1.0, -1.0]), "list.txt")


def test_one_class_is_no_choice():
    with pytest.raises(ValueError, match="1 classes"):
        Classification("room", 1)
    assert Classification("smile", 1, multilabel=True).channels == 1
