import pytest
import torch

from lomt.llm import generate, sparsify
from tests.unit.llm.models import VOCABULARY, build, gated


class Letters:
    """Letters for tokens, from 2 on."""

    def encode(self, text):
        return [ord(letter) - ord("a") + 2 for letter in text]

    def decode(self, ids):
        return "".join(chr(token - 2 + ord("a")) for token in ids)


def test_several_prompts_of_several_lengths_are_continued_as_alone():
    model = sparsify(gated())
    prompts = ["ab", "abcdefg", "xyz"]
    together = generate(model, Letters(), prompts, max_new_tokens=5, do_sample=False)
    alone = [generate(model, Letters(), prompt, max_new_tokens=5, do_sample=False)[0] for prompt in prompts]
    assert together == alone
    assert all(len(text) == 5 for text in together)


def test_a_text_ends_before_the_token_that_ends_it():
    model = build()
    free = generate(model, Letters(), ["ab", "abcdefg"], max_new_tokens=6, do_sample=False)
    end = free[0][2]
    model.generation_config.eos_token_id = Letters().encode(end)
    model.generation_config.pad_token_id = None
    ended = generate(model, Letters(), ["ab", "abcdefg"], max_new_tokens=6, do_sample=False)
    assert ended == [text.split(end)[0] for text in free]


def test_several_texts_a_prompt():
    torch.manual_seed(0)
    texts = generate(gated(), Letters(), "ab", max_new_tokens=4, do_sample=True, num_return_sequences=3)
    assert len(texts) == 3


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ("", r"prompt 0 is empty \(''\): give at least one token"),
        (["a", ""], r"prompt 1 is empty \(''\): give at least one token"),
        ([], r"no prompts are given: give at least one"),
        (["a", "bÿ"], rf"prompt 1 has the token 160, and the model knows 0 to {VOCABULARY - 1}: take the tokenizer"),
        (["A\n"], rf"prompt 0 has the token -85, and the model knows 0 to {VOCABULARY - 1}: take the tokenizer"),
    ],
)
def test_prompts_that_are_none(prompts, words):
    with pytest.raises(ValueError, match=words):
        generate(build(), Letters(), prompts)
