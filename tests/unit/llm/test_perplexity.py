"""How well a model knows a text."""

import math

import pytest
import torch

from lomt.llm.perplexity import perplexity
from tests.unit.llm.models import build, tokens


def test_it_is_that_of_brute_force_and_padding_does_not_count():
    model = build().eval()
    batch = {"input_ids": tokens(2, 9), "attention_mask": torch.tensor([[1] * 9, [1] * 6 + [0] * 3])}
    logs = []
    for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        there = row[mask.bool()]
        with torch.no_grad():
            chances = model(input_ids=there[None]).logits[0].double().log_softmax(-1)
        logs += [-float(chances[at, there[at + 1]]) for at in range(len(there) - 1)]
    assert perplexity(model, [batch]) == pytest.approx(math.exp(sum(logs) / len(logs)), rel=1e-5)


def test_it_says_where_there_is_nothing_to_predict():
    with pytest.raises(ValueError, match="hold no tokens"):
        perplexity(build(), [])
