import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from lomt.files import DamagedFileError
from lomt.llm import from_pretrained, moefy, save_pretrained, set_sparsity, sparsify
from lomt.llm.router import settings_of
from lomt.llm.sparsify import SparseFFN
from tests.unit.llm.models import FAMILIES, build, gated, tokens


@pytest.mark.parametrize("sparse", [False, True], ids=["gated", "sparse"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_is_loaded_is_what_was_saved_bit_for_bit(family, sparse, tmp_path):
    model = gated(family)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    hard = model(tokens()).logits
    if sparse:
        sparsify(model)
    save_pretrained(model, tmp_path)
    assert sparse == any(isinstance(module, SparseFFN) for module in model.modules())
    loaded = from_pretrained(tmp_path)
    assert {name: torch.equal(value, state[name]) for name, value in loaded.state_dict().items()} == dict.fromkeys(
        state, True
    )
    assert settings_of(loaded) == settings_of(model)
    assert torch.equal(loaded.eval()(tokens()).logits, hard)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_folder_loads_dense_without_us(family, tmp_path):
    model = gated(family)
    save_pretrained(model, tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "router" in name]
    auto = AutoModelForMaskedLM if "bert" in family else AutoModelForCausalLM
    dense, loading = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values()), loading
    torch.testing.assert_close(dense.eval()(tokens()).logits, build(family)(tokens()).logits, rtol=1e-4, atol=1e-4)


def test_routers_stay_float32_in_a_bfloat16_model(tmp_path):
    model = moefy(build().to(torch.bfloat16), 8)
    save_pretrained(model, tmp_path)
    loaded = from_pretrained(tmp_path, dtype=torch.bfloat16)
    kinds = {name.rpartition(".router.")[1]: value.dtype for name, value in loaded.state_dict().items()}
    assert kinds == {"": torch.bfloat16, ".router.": torch.float32}


def test_levels_come_back_and_can_be_turned_to(tmp_path):
    model = gated()
    set_sparsity(model, 0)
    save_pretrained(model, tmp_path)
    loaded = from_pretrained(tmp_path)
    assert settings_of(loaded) == settings_of(model)
    set_sparsity(loaded, 0.5)


def test_a_folder_without_routers(tmp_path):
    build().save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no lte.json with lte.safetensors: name a folder of"):
        from_pretrained(tmp_path)


def test_damaged_settings(tmp_path):
    save_pretrained(gated(), tmp_path)
    path = tmp_path / "lte.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cut": 7.0}))
    with pytest.raises(DamagedFileError, match=r"lte.json is damaged .*: save the model anew"):
        from_pretrained(tmp_path)


def test_another_models_routers(tmp_path):
    save_pretrained(gated(), tmp_path)
    path = tmp_path / "lte.safetensors"
    tensors = load_file(path)
    name = min(tensors)
    save_file({key: value for key, value in tensors.items() if key != name}, path)
    with pytest.raises(ValueError, match=rf"does not fit the model \({name}\): take both from one folder"):
        from_pretrained(tmp_path)
    save_file(tensors | {name: tensors[name][:1]}, path)
    with pytest.raises(ValueError, match=rf"does not fit the model \({name}\): take both from one folder"):
        from_pretrained(tmp_path)


def test_a_class_that_transformers_does_not_have(tmp_path):
    save_pretrained(gated(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["TheirLlama"]}))
    with pytest.raises(ValueError, match=r"is of TheirLlama, which transformers does not have: name the class"):
        from_pretrained(tmp_path)
    assert from_pretrained(tmp_path, model_class=type(gated())) is not None
