"""Decoding speed, sides in turns."""

import pytest
import torch

from lomt.llm.router import settings_of
from lomt.llm.speed import bytes_limit, closed, decode_times, random_llama, sides_of, twin
from tests.unit.llm.models import build, tokens

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


@torch.no_grad()
def test_dense_and_sparse_are_one_model_and_levels_close_what_they_say():
    dense, sparse = random_llama([0.5, 0.8], **SMALL)
    ids = torch.randint(64, (1, 200))
    sides = sides_of(dense, sparse, [0.5, 0.8])
    assert list(sides) == ["dense", "0%", "50%", "80%"]
    torch.testing.assert_close(sides["0%"]()(ids).logits, sides["dense"]()(ids).logits)
    assert not torch.allclose(sides["80%"]()(ids).logits, dense(ids).logits, rtol=0, atol=1e-3)
    assert closed(sparse, 0.5, ids) == pytest.approx(0.5, abs=0.1)
    assert closed(sparse, 0.8, ids) == pytest.approx(0.8, abs=0.1)


def test_a_twin_shares_memory_and_no_parameter():
    model = build()
    other = twin(model)
    for (name, one), (_, same) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert one is not same, name
        assert one.data_ptr() == same.data_ptr(), name


def test_each_side_takes_its_turn_and_goes_on_with_its_own_text():
    model, asked = build(), []

    def side(name):
        return lambda: (asked.append(name), model)[1]

    times = decode_times({"a": side("a"), "b": side("b")}, tokens(1, 5), rounds=4)
    assert asked == ["a", "b"] * (1 + 3 + 4)
    assert set(times) == {"a", "b"}
    assert all(seconds > 0 for seconds in times.values())


def test_the_limit_is_of_the_bytes_that_are_read():
    dense, _ = random_llama([0.5], **SMALL)
    ffns = 2 * 3 * 32 * 320
    others = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 2 * 32) + 32 + 64 * 32  # attention, norms, output
    assert bytes_limit(dense, 0.5) == pytest.approx((others + ffns) / (others + ffns / 2))
    assert bytes_limit(dense, 0) == 1
    tied = build(tie_word_embeddings=True)
    read = sum(one.numel() for one in tied.parameters())
    assert bytes_limit(tied, 0.5) == pytest.approx(read / (read - 2 * 3 * 32 * 64 / 2))


def test_bad_numbers_are_named():
    with pytest.raises(ValueError, match="rounds is 0"):
        decode_times({}, tokens(1, 3), rounds=0)
    with pytest.raises(ValueError, match=r"the prompt has the shape \(2, 9\): give \(1, length\)"):
        decode_times({}, tokens(), rounds=1)


def test_another_level_is_a_number_in_the_settings():
    dense, sparse = random_llama([0.5, 0.8], **SMALL)
    sides = sides_of(dense, sparse, [0.5, 0.8])
    cuts = [settings_of(sides[name]()).cut for name in ("0%", "50%", "80%")]
    assert cuts == sorted(cuts)
