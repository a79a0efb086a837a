import numpy as np
import pytest
import torch

from lomt.llm.losses import EPSILON, efficiency_loss, separability_loss


def drawn(dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    return [(3 * torch.randn(5, experts, generator=draw)).to(dtype) for experts in (4, 4, 8)]


def by_hand(logits, threshold, epsilon):
    efficiency = separability = 0.0
    for layer in logits:
        for token in layer.double().numpy():
            for logit in token:
                gate = 1 / (1 + np.exp(-logit))
                share = 1 / (len(logits) * len(token))
                efficiency += share * gate**2
                separability += share / ((gate - threshold) ** 2 + epsilon)
    return efficiency, separability


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_they_are_the_papers_sums(dtype, threshold):
    logits = drawn(dtype)
    efficiency, separability = by_hand(logits, threshold, EPSILON)
    assert float(efficiency_loss(logits)) == pytest.approx(efficiency, rel=1e-5)
    assert float(separability_loss(logits, threshold)) == pytest.approx(separability, rel=1e-5)


def test_they_are_computed_in_float32():
    assert efficiency_loss(drawn(torch.bfloat16)).dtype == torch.float32
    assert separability_loss(drawn(torch.bfloat16)).dtype == torch.float32


def test_a_gate_at_the_threshold_costs_much_and_not_infinitely_much():
    at = torch.zeros(1, 1, requires_grad=True)
    loss = separability_loss([at])
    loss.backward()
    assert loss.item() == pytest.approx(1 / EPSILON)
    assert float(at.grad) == 0
    assert torch.isinf(separability_loss([torch.zeros(1, 1)], epsilon=0))
    away = [torch.full((1, 1), 0.1), torch.full((1, 1), -0.1)]
    pushes = [torch.func.grad(lambda one: separability_loss([one]))(one).item() for one in away]
    assert pushes[0] < 0 < pushes[1]  # downhill is away from the threshold, on either side
