"""λ means the same at any learning rate, batch size and number of epochs: that of mean loss + λ Σ √|g| ‖W_g‖."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import MultiTaskLasso
from torch import nn

from lomt.optim import ProxAdamW, parameter_groups
from lomt.sparsity import GroupLasso

INPUTS, OUTPUTS, SAMPLES = 12, 4, 256
STRENGTH = 0.02


@pytest.fixture(scope="module")
def problem():
    """Features, targets of five of them, and the exact solution by scikit-learn."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((SAMPLES, INPUTS))
    truth = np.zeros((INPUTS, OUTPUTS))
    truth[:5] = rng.standard_normal((5, OUTPUTS)) * np.array([0.3, 0.25, 0.2, 0.1, 0.05])[:, None]
    Y = X @ truth + 0.1 * rng.standard_normal((SAMPLES, OUTPUTS))
    # Mean squared error over samples and outputs is 2 / OUTPUTS times scikit-learn's loss; √|g| is √OUTPUTS.
    alpha = STRENGTH * OUTPUTS**1.5 / 2
    exact = MultiTaskLasso(alpha=alpha, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(X, Y)
    return torch.tensor(X), torch.tensor(Y), np.linalg.norm(exact.coef_, axis=0)


def train(X, Y, lr, batch, epochs):
    """Norms of the groups of a 1×1 convolution that was trained on batches with a one-cycle schedule."""
    torch.manual_seed(0)
    conv = nn.Conv2d(INPUTS, OUTPUTS, 1, bias=False).double()
    optimizer = ProxAdamW(parameter_groups(conv, GroupLasso(STRENGTH)), lr=lr, weight_decay=0.0)
    steps = epochs * (SAMPLES // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps, cycle_momentum=False)
    for _ in range(epochs):
        for rows in torch.randperm(SAMPLES).split(batch):
            loss = (conv(X[rows, :, None, None])[..., 0, 0] - Y[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return conv.weight.detach().squeeze().norm(dim=0).numpy()


@pytest.mark.parametrize(
    ("lr", "batch", "epochs"), [(3e-2, 256, 300), (1e-2, 256, 600), (1e-2, 32, 100), (3e-3, 32, 200), (1e-2, 8, 60)]
)
def test_the_same_groups_die_and_the_others_have_the_same_norms(problem, lr, batch, epochs):
    X, Y, exact = problem
    found = train(X, Y, lr, batch, epochs)
    assert 0 < (exact == 0).sum() < INPUTS
    assert (found == 0).tolist() == (exact == 0).tolist()
    np.testing.assert_allclose(found, exact, rtol=0.02, atol=0.005)
