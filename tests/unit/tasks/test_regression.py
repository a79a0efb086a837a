import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt.tasks import Regression


@settings(max_examples=20, deadline=None)
@given(images=st.integers(2, 12), share=st.sampled_from([0.0, 0.4, 0.8]), seed=st.integers(0, 999))
def test_metrics_and_loss_agree_with_numpy(images, share, seed):
    torch.manual_seed(seed)
    task = Regression("pose", 3)
    output, truth = torch.randn(images, 3), 2 + torch.randn(images, 3)
    truth[torch.rand(truth.shape) < share] = torch.nan
    truth[0] = 1
    metrics = task.metrics()
    metrics.update(output, truth)
    found = {key: value.item() for key, value in metrics.compute().items()}
    error = (output - truth).double().numpy()
    assert task.loss(output, truth).item() == pytest.approx(np.nanmean(error**2), rel=1e-5)
    explained = []
    # torchmetrics takes values that differ by less than 1e-4 for constant; keep clear of that.
    for e, t in zip(error.T, truth.double().numpy().T, strict=True):
        e, t = e[~np.isnan(t)], t[~np.isnan(t)]
        if len(t) >= 2 and np.sum((t - t.mean()) ** 2) < 0.01:
            return
        if len(t) >= 2:
            explained.append(1 - np.sum(e**2) / np.sum((t - t.mean()) ** 2))
    assert found["RMSE"] == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-5)
    assert found["MAE"] == pytest.approx(np.nanmean(abs(error)), rel=1e-5)
    assert found["R2"] == pytest.approx(np.mean(explained) if explained else np.nan, rel=1e-2, abs=1e-3, nan_ok=True)


def test_infinite_numbers_are_refused():
    with pytest.raises(ValueError, match=r"ages\.csv: infinite label \[1\.0, inf\]"):
        Regression("pose", 2).check(torch.tensor([1.0, torch.inf]), "ages.csv")


def test_no_outputs_are_refused():
    with pytest.raises(ValueError, match="the channels of task 'pose' is 0"):
        Regression("pose", 0)
