"""Every balancing method against its formula, TorchJD's implementation, and the rule for absent tasks."""

import pytest
import torch
from torchjd import scalarization

from lomt.balancing import BALANCING, DWA, Equal, Geometric, Uncertainty

TASKS = ["seg", "depth", "edges"]


def losses(*values):
    return {task: torch.tensor(value, requires_grad=True) for task, value in zip(TASKS, values, strict=False)}


@pytest.mark.parametrize("name", BALANCING)
def test_one_scalar_whose_gradient_reaches_every_loss(name):
    given = losses(1.0, 2.0, 3.0)
    total = BALANCING[name](TASKS)(given)
    total.backward()
    assert total.shape == ()
    assert all(loss.grad is not None and loss.grad > 0 for loss in given.values())


@pytest.mark.parametrize("name", BALANCING)
def test_a_loss_weighs_what_weights_says(name):
    balancing = BALANCING[name](TASKS)
    given = losses(1.0, 2.0, 3.0)
    balancing(given).backward()
    for task, weight in balancing.weights().items():
        assert given[task].grad == pytest.approx(weight, rel=1e-6)


@pytest.mark.parametrize("name", BALANCING)
def test_a_priority_acts_after_balancing(name):
    # Where it evened out the scales of losses, balancing would undo a factor of the loss itself.
    balancing = BALANCING[name](TASKS)
    given = losses(1.0, 2.0, 3.0)
    balancing(given, {"depth": 5.0}).backward()
    for task, weight in balancing.weights().items():
        assert given[task].grad == pytest.approx(weight * (5.0 if task == "depth" else 1.0), rel=1e-6)


@pytest.mark.parametrize("name", BALANCING)
def test_an_absent_task_costs_nothing_and_learns_nothing(name):
    balancing = BALANCING[name](TASKS)
    balancing({"seg": torch.tensor(2.0)}).backward() if list(balancing.parameters()) else balancing(
        {"seg": torch.tensor(2.0)}
    )
    for key, parameter in balancing.named_parameters():
        assert (parameter.grad is not None) == key.endswith("seg")


@pytest.mark.parametrize("name", BALANCING)
def test_no_tasks_is_an_error(name):
    with pytest.raises(ValueError, match="at least one task"):
        BALANCING[name]([])


def test_uncertainty_is_twice_torchjds_from_the_papers_start():
    ours, theirs = Uncertainty(TASKS), scalarization.UW(3)
    with torch.no_grad():
        theirs.log_var.fill_(1.0)
    values = torch.tensor([0.5, 4.0, 1.0])
    mine = ours(dict(zip(TASKS, values, strict=True)))
    reference = 2 * theirs(values)
    mine.backward()
    reference.backward()
    torch.testing.assert_close(mine, reference)
    gradient = torch.stack([ours.log_variance[task].grad for task in TASKS])
    torch.testing.assert_close(gradient, theirs.log_var.grad)


def test_uncertainty_settles_where_the_weight_is_one_over_the_loss():
    balancing = Uncertainty(["seg"])
    optimizer = torch.optim.SGD(balancing.parameters(), lr=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        balancing({"seg": torch.tensor(4.0)}).backward()
        optimizer.step()
    assert balancing.weights()["seg"] == pytest.approx(1 / 4, rel=1e-3)


def test_dwa_agrees_with_torchjd_epoch_by_epoch():
    ours, theirs = DWA(TASKS), scalarization.DWA()
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for _ in range(3):
            values = torch.rand(3, generator=generator) + 0.1
            torch.testing.assert_close(ours(dict(zip(TASKS, values, strict=True))), theirs(values))
        ours.end_epoch()
        theirs.step()
    assert sum(ours.weights().values()) == pytest.approx(3)


def test_dwa_survives_a_restart_and_a_task_without_labels():
    first, second = DWA(TASKS), DWA(TASKS)
    for epoch in range(3):
        first({"seg": torch.tensor(1.0 / (epoch + 1)), "depth": torch.tensor(1.0)})
        first.end_epoch()
    second.load_state_dict(first.state_dict())
    assert second.weights() == first.weights()
    assert first.weights()["seg"] < first.weights()["depth"] == pytest.approx(first.weights()["edges"])


def test_dwa_does_not_learn_from_validation():
    balancing = DWA(TASKS).eval()
    balancing(losses(1.0, 2.0, 3.0))
    assert balancing.batches.sum() == 0


def test_dwa_wants_a_temperature():
    for temperature in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"the temperature of DWA is {temperature}"):
            DWA(TASKS, temperature=temperature)


def test_uncertainty_wants_a_finite_start():
    with pytest.raises(ValueError, match="the start of uncertainty weighting is nan"):
        Uncertainty(TASKS, start=float("nan"))


def test_equal_is_the_sum():
    assert Equal(TASKS)(losses(1.0, 2.0, 3.0)) == 6


def test_geometric_steps_as_torchjds_geometric_mean_does():
    values = torch.tensor([0.5, 4.0, 1.0], dtype=torch.float64)
    ours, theirs = (values.clone().requires_grad_() for _ in range(2))
    Geometric(TASKS)(dict(zip(TASKS, ours, strict=True))).backward()
    mean = scalarization.GeometricMean()(theirs)
    mean.backward()
    # ∇ (Π L)^(1/n) = mean / n · ∇ Σ log L: the same direction, and of a length that no single loss decides.
    torch.testing.assert_close(ours.grad * mean.detach() / 3, theirs.grad)


def test_a_loss_times_1000_trains_the_same_under_geometric():
    gradients = []
    for scale in (1.0, 1000.0):
        parameter = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
        given = {"seg": scale * (parameter - 1) ** 2, "depth": (parameter + 1) ** 2}
        Geometric(["seg", "depth"])(given).backward()
        gradients.append(float(parameter.grad))
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-12)


def test_geometric_weights_are_those_of_the_epoch():
    balancing = Geometric(TASKS)
    for factor in (1.0, 3.0):
        balancing({"seg": torch.tensor(2.0 * factor)})
    assert balancing.weights() == {"seg": pytest.approx(1 / 4), "depth": 1.0, "edges": 1.0}
    balancing.end_epoch()
    assert balancing.weights() == dict.fromkeys(TASKS, 1.0)


def test_uncertainty_at_its_least_is_geometric():
    values, settled = losses(0.2, 4.0, 1.0), Uncertainty(TASKS)
    with torch.no_grad():
        for task, loss in values.items():
            settled.log_variance[task].fill_(loss.log())
    settled(values).backward()
    by_uncertainty = [float(loss.grad) for loss in values.values()]
    again = losses(0.2, 4.0, 1.0)
    Geometric(TASKS)(again).backward()
    assert [float(loss.grad) for loss in again.values()] == pytest.approx(by_uncertainty)


def test_a_negative_loss_is_an_error_under_geometric():
    with pytest.raises(ValueError, match=r"loss of depth is -0\.25: .* use recipe\.balancing uncertainty or equal"):
        Geometric(TASKS)(losses(1.0, -0.25, 3.0))


@pytest.mark.parametrize("perfect", [0.0, -1e-7])
def test_a_perfect_loss_stays_finite_under_geometric(perfect):
    loss = torch.tensor(perfect, requires_grad=True)
    total = Geometric(["seg"])({"seg": loss})
    total.backward()
    assert torch.isfinite(total)
    assert loss.grad == 0
