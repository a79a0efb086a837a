import copy

import pytest
import torch
from transformers import TrainerCallback, TrainingArguments

from lomt.llm import LTETrainer, from_pretrained, measure_sparsity, moefy, set_mode, train
from lomt.llm.budget import GAIN, Budget
from lomt.llm.router import routers, settings_of
from tests.unit.llm.models import FAMILIES, build, tokens

LENGTHS = (9, 3, 6, 8)


def rows(lengths=LENGTHS, width=9, repeat=1):
    """Texts of several lengths, padded on the right; padding is not labelled."""
    out = []
    for seed, length in enumerate(lengths * repeat):
        ids = torch.zeros(width, dtype=torch.long)
        ids[:length] = tokens(1, length, seed)[0]
        mask = (torch.arange(width) < length).long()
        out.append({"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)})
    return out


def arguments(folder, **changes):
    options = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "max_steps": 1,
        "optim": "sgd",
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": [],
        "logging_steps": 1,
        "save_strategy": "no",
    }
    return TrainingArguments(**options | changes)


def trained(folder, model=None, data=None, changes=None, **options):
    model = moefy(build(), 8) if model is None else model
    trainer = LTETrainer(model, arguments(folder, **changes or {}), train_dataset=data or rows(), **options)
    trainer.train()
    return trainer


def parameters(trainer):
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def assert_alike(first, second, than, **tolerance):
    """Two models are alike, and not for want of a step away from a third."""
    first, second = parameters(first), parameters(second)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5, **tolerance)
    moved = {name for name, value in moefy(than, 8).named_parameters() if not torch.equal(first[name], value)}
    assert {name for name in first if "router" in name} <= moved


@pytest.mark.parametrize("family", FAMILIES)
def test_the_soft_loss_is_the_tasks_and_the_two_others(family, tmp_path):
    model = moefy(build(family), 8)
    trainer = LTETrainer(model, arguments(tmp_path), eta=0.7, separability=0.3, epsilon=0.05, train_dataset=rows())
    batch = {name: torch.stack([row[name] for row in rows()]) for name in rows()[0]}
    trainer.current_gradient_accumulation_steps = 1
    trainer.get_batch_samples(iter([batch]), 1, torch.device("cpu"))
    model.train()
    loss = trainer.compute_loss(model, dict(batch))
    model.eval()
    seen = {}
    hooks = [
        router.register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, []).append(out))
        for name, router in routers(model).items()
    ]
    task = model(**batch).loss
    for hook in hooks:
        hook.remove()
    keep = batch["attention_mask"].bool().flatten()
    logits = [torch.cat(parts, -2).flatten(0, -2)[keep].double() for parts in seen.values()]
    assert [len(one) for one in logits] == [sum(LENGTHS)] * 2
    gates = [torch.sigmoid(one) for one in logits]
    efficiency = sum(gate.square().mean() for gate in gates) / 2
    separability = sum((1 / ((gate - 0.5).square() + 0.05)).mean() for gate in gates) / 2
    torch.testing.assert_close(loss.double(), task + 0.7 * efficiency + 0.3 * separability, rtol=1e-4, atol=1e-4)
    set_mode(model, "dense")
    assert not torch.allclose(model(**batch).loss, task)  # it was the loss of the gated model


def test_however_a_step_is_accumulated_it_is_the_same(tmp_path):
    whole = trained(tmp_path)
    accumulation = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    parts = trained(tmp_path, changes=accumulation)
    assert_alike(whole, parts, than=build())
    assert whole.budget.eta == parts.budget.eta


def test_so_it_is_where_the_models_loss_is_a_mean(tmp_path):
    models = [moefy(build(), 8) for _ in range(2)]
    for model in models:
        model.accepts_loss_kwargs = False
    equal = rows((6, 6, 6, 6))
    whole = trained(tmp_path, models[0], equal)
    accumulation = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    assert_alike(whole, trained(tmp_path, models[1], equal, accumulation), than=build())


@pytest.mark.parametrize("stage", ["soft", "hard"])
def test_padding_moves_nothing(stage, tmp_path):
    options = {"stage": stage, "target_sparsity": 0.5}
    short, long = (trained(tmp_path, data=rows(width=width), **options) for width in (9, 20))
    if stage == "soft":
        assert_alike(short, long, than=build())
    assert short.state.log_history[0]["sparsity"] == long.state.log_history[0]["sparsity"] > 0
    assert short.budget.eta == long.budget.eta > 1


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert"])
def test_gradient_checkpointing_changes_nothing(family, tmp_path):
    model = moefy(build(family), 8)
    twin = copy.deepcopy(model)
    plain = trained(tmp_path, model)
    again = trained(tmp_path, twin, changes={"activation_checkpointing": True})
    assert twin.is_activation_checkpointing
    for name, value in parameters(plain).items():
        torch.testing.assert_close(parameters(again)[name], value, rtol=1e-4, atol=1e-5)


def test_the_kind_of_checkpointing_that_hides_the_routers_is_refused(tmp_path):
    how = {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": True}}
    with pytest.raises(ValueError, match=r"the routers get no gradient: .*'use_reentrant': False"):
        trained(tmp_path, changes=how)


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_bfloat16_trains_and_its_logits_are_float32(weights, tmp_path):
    model = moefy(build().to(getattr(torch, weights)), 8)
    seen = []
    router = next(iter(routers(model).values()))
    router.register_forward_hook(lambda module, inputs, out: seen.append((module.weight.dtype, inputs[0], out)))
    trainer = trained(tmp_path, model, changes={"bf16": True})
    assert trainer.state.log_history[0]["loss"] == pytest.approx(
        trained(tmp_path).state.log_history[0]["loss"], rel=0.05
    )
    (dtype, x, logits), *_ = seen
    assert dtype == logits.dtype == torch.float32
    first = moefy(build().to(getattr(torch, weights)), 8).model.layers[0].mlp.router
    exact = x.double() @ first.weight.double().T + first.bias.double()
    torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-5)


def test_in_the_hard_stage_routers_rest_and_the_loss_is_the_tasks(tmp_path):
    model = moefy(build(), 8)
    before = copy.deepcopy(model)
    trainer = trained(tmp_path, model, stage="hard", eta=5.0)
    for name, value in before.named_parameters():
        moved = not torch.equal(dict(model.named_parameters())[name], value)
        assert moved != (".router." in name), name
    set_mode(before, "hard")
    batch = {name: torch.stack([row[name] for row in rows()]) for name in rows()[0]}
    assert trainer.state.log_history[0]["loss"] == pytest.approx(before(**batch).loss.item(), rel=1e-4)


def test_logs_have_each_ffns_sparsity(tmp_path):
    model = moefy(build(), 8)
    set_mode(model, "soft")
    batch = {name: torch.stack([row[name] for row in rows()]) for name in ("input_ids", "attention_mask")}
    expected = measure_sparsity(model, [batch])
    logged = trained(tmp_path, model).state.log_history[0]
    assert {name: logged[f"sparsity/{name}"] for name in expected} == pytest.approx(expected)
    assert logged["sparsity"] == pytest.approx(sum(expected.values()) / 2)
    assert logged["eta"] == 1.0


def test_dual_ascent_raises_the_price_while_too_little_is_closed_and_lowers_it_else():
    budget = Budget(1.0, target=0.5, rate=0.1)
    assert (budget.multiplier, budget.eta) == (0, GAIN * 0.5)
    budget.step(0.3)
    assert (budget.multiplier, budget.eta) == pytest.approx((0.02, 0.02 + GAIN * 0.2))
    budget.step(0.9)
    assert (budget.multiplier, budget.eta) == pytest.approx((-0.02, -0.02 - GAIN * 0.4))
    budget.step(0.5)
    assert budget.eta == budget.multiplier == pytest.approx(-0.02)
    fixed = Budget(1.0)
    fixed.step(0.3)
    assert fixed.eta == 1.0


def test_dual_ascent_finds_the_wanted_sparsity(tmp_path):
    changes = {"max_steps": 150, "optim": "adamw_torch", "learning_rate": 1e-3, "logging_steps": 10}
    data = rows((9, 9, 9, 9))
    trainer = trained(tmp_path, data=data, changes=changes, target_sparsity=0.6, router_lr=3e-3)
    assert trainer.state.log_history[0]["sparsity"] < 0.2
    assert trainer.state.log_history[-2]["sparsity"] == pytest.approx(0.6, abs=0.1)


def test_routers_may_have_a_learning_rate_of_their_own(tmp_path):
    trainer = trained(tmp_path, router_lr=0.0)
    start = dict(moefy(build(), 8).named_parameters())
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value, start[name]) == (".router." in name), name


LONG = {"optim": "adamw_torch", "learning_rate": 1e-3, "max_steps": 6, "save_strategy": "steps", "save_steps": 3}


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path):
    data = rows(repeat=6)
    whole = trained(tmp_path / "whole", data=data, changes=LONG, target_sparsity=0.5)
    trained(tmp_path / "cut", data=data, changes=LONG | {"max_steps": 3}, target_sparsity=0.5)
    trainer = LTETrainer(
        moefy(build(), 8), arguments(tmp_path / "cut", **LONG), train_dataset=data, target_sparsity=0.5
    )
    trainer.train(resume_from_checkpoint=True)
    assert trainer.budget.eta == whole.budget.eta > 1
    for name, value in parameters(whole).items():
        assert torch.equal(parameters(trainer)[name], value), name


def test_a_checkpoint_of_another_stage_is_refused(tmp_path):
    trained(tmp_path, changes=LONG)
    trainer = LTETrainer(moefy(build(), 8), arguments(tmp_path, **LONG), train_dataset=rows(), stage="hard")
    with pytest.raises(ValueError, match=r"is of stage 'soft', and this is 'hard': give each stage an output_dir"):
        trainer.train(resume_from_checkpoint=True)


def test_a_checkpoint_is_a_folder_to_load(tmp_path):
    trainer = trained(tmp_path, changes=LONG)
    loaded = from_pretrained(tmp_path / "checkpoint-6")
    state = trainer.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    assert settings_of(loaded).mode == "soft"


class InterruptedByHandError(Exception):
    """Somebody has pressed Ctrl-C."""


class Interruption(TrainerCallback):
    """Comes in a stage, after some steps."""

    def __init__(self, stage, step):
        self.at = (stage, step)

    def on_step_end(self, args, state, _control, **_):
        if (args.output_dir.rpartition("/")[2], state.global_step) == self.at:
            raise InterruptedByHandError


@pytest.mark.parametrize("stage", ["soft", "hard"])
def test_both_stages_and_the_same_call_again_continues(stage, tmp_path):
    data = rows(repeat=6)

    def run(folder, **options):
        options |= {"train_dataset": data, "target_sparsity": 0.5, "hard": {"learning_rate": 1e-4}}
        return train(moefy(build(), 8), arguments(folder, **LONG), **options)

    whole = run(tmp_path / "whole")
    assert settings_of(whole).mode == "hard"
    with pytest.raises(InterruptedByHandError):
        run(tmp_path / "cut", callbacks=[Interruption(stage, 4)])
    again = run(tmp_path / "cut")
    assert settings_of(again) == settings_of(whole)
    done = run(tmp_path / "cut", callbacks=[Interruption("hard", 1)])
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
        assert torch.equal(done.state_dict()[name], value), name
    loaded = from_pretrained(tmp_path / "cut" / "hard")
    assert settings_of(loaded) == settings_of(whole)
    batch = {name: torch.stack([row[name] for row in data]) for name in ("input_ids", "attention_mask")}
    shares = measure_sparsity(whole, [batch])
    assert sum(shares.values()) / len(shares) == pytest.approx(0.5, abs=0.01)  # though the second stage has moved it


def test_a_fixed_eta_leaves_the_threshold_alone_and_what_is_done_is_not_done_again(tmp_path):
    def run(**options):
        return train(moefy(build(), 8), arguments(tmp_path), eta=0.5, train_dataset=rows(), **options)

    model = run()
    assert settings_of(model).threshold == 0.5
    again = run(callbacks=[Interruption("soft", 1), Interruption("hard", 1)]).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_the_learning_rate_falls_once_in_both_stages_together(tmp_path):
    rates = []

    class Remembering(LTETrainer):
        def train(self, *args, **options):
            out = super().train(*args, **options)
            rates.append([row["learning_rate"] for row in self.state.log_history if "learning_rate" in row])
            return out

    args = arguments(tmp_path, max_steps=4, lr_scheduler_type="linear")
    train(moefy(build(), 8), args, train_dataset=rows(), trainer=Remembering)
    soft, hard = rates
    assert soft == [0.1] * 4
    assert hard == pytest.approx([0.1, 0.075, 0.05, 0.025])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stage": "medium"}, "stage is 'medium': there are soft, hard"),
        ({"eta": -1.0}, "eta is -1.0: use a finite number of 0 or more"),
        ({"target_sparsity": 50}, "target_sparsity is 50: use a share of experts above 0 and below 1"),
        ({"rate": 0.0}, "rate is 0.0: use a finite number above 0"),
        ({"separability": float("nan")}, "separability is nan: use a finite number of 0 or more"),
        ({"epsilon": -1e-3}, "epsilon is -0.001: use a finite number of 0 or more"),
        ({"router_lr": float("inf")}, "router_lr is inf: use a finite number of 0 or more"),
    ],
)
def test_options_that_make_no_sense(options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        LTETrainer(moefy(build(), 8), arguments(tmp_path), **options)


def test_several_gpus_in_one_process_are_refused(tmp_path):
    args = arguments(tmp_path)
    args._n_gpu = 2
    with pytest.raises(ValueError, match="2 GPUs in one process: start with torchrun or accelerate launch instead"):
        LTETrainer(moefy(build(), 8), args, train_dataset=rows())
