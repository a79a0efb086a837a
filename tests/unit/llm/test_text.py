import math

import pytest
import torch

from lomt.llm import perplexity, sparsify
from lomt.llm.text import Blocks, ByteTokenizer, tokenizer_of
from tests.unit.llm.models import build, gated, tokens


def test_bytes_come_back_as_the_text():
    text = "naïve – ∑ 🙂"
    ids = ByteTokenizer().encode(text)
    assert ids == list(text.encode())
    assert ByteTokenizer().decode(ids) == text
    assert ByteTokenizer().decode([0xFF, 65]) == "\ufffdA"


def test_a_folder_without_a_tokenizer_is_of_bytes(tmp_path):
    build().save_pretrained(tmp_path)
    assert isinstance(tokenizer_of(tmp_path), ByteTokenizer)


def test_blocks_hold_the_text_but_for_its_rest():
    blocks = Blocks(list(range(11)), 3)
    assert len(blocks) == 3
    assert blocks[2]["input_ids"].tolist() == blocks[2]["labels"].tolist() == [6, 7, 8]
    assert [batch["input_ids"].tolist() for batch in blocks.batches(2)] == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8]]]
    assert [len(batch["input_ids"]) for batch in blocks.batches(2, limit=1)] == [1]
    with pytest.raises(ValueError, match="the text has 2 tokens, less than one block of 3: give more of it"):
        Blocks([1, 2], 3)


def by_hand(model, rows):
    losses = []
    for row in rows:
        with torch.no_grad():
            logits = model(torch.tensor([row])).logits[0].double()
        losses += [-logits[at].log_softmax(0)[row[at + 1]].item() for at in range(len(row) - 1)]
    return math.exp(sum(losses) / len(losses))


@pytest.mark.parametrize("side", ["left", "right"])
def test_perplexity_is_that_of_each_text_alone(side):
    rows = [tokens(1, length, length)[0].tolist() for length in (9, 4, 7)]
    batch = {"input_ids": [], "attention_mask": []}
    for row in rows:
        padding = [0] * (9 - len(row))
        mask = [1] * len(row)
        batch["input_ids"].append(padding + row if side == "left" else row + padding)
        batch["attention_mask"].append(padding + mask if side == "left" else mask + padding)
    batch = {name: torch.tensor(value) for name, value in batch.items()}
    model = gated()
    assert perplexity(model, [batch]) == pytest.approx(by_hand(model, rows), rel=1e-4)
    assert perplexity(sparsify(model), [batch]) == pytest.approx(by_hand(model, rows), rel=1e-4)


def test_perplexity_of_nothing():
    with pytest.raises(ValueError, match="the batches hold no tokens"):
        perplexity(build(), [{"input_ids": tokens(2, 1)}])


def test_a_thinner_text_has_blocks_evenly():
    blocks = Blocks(torch.arange(30), 3)
    assert blocks.thinned(4).blocks[:, 0].tolist() == [0, 6, 15, 21]
    assert blocks.thinned(99).blocks.equal(blocks.blocks)
