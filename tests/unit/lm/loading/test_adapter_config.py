"""Adapters of all kinds are merged as peft computes, or refused in one line.

Nothing that a configuration names is run or read.
"""

import json
import os
import re
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import NoReturn

import peft
import pytest
import torch
from transformers import LlamaForCausalLM

from crosscoder.errors import UserError
from crosscoder.lm import LM
from tests.helpers.model_folders import edit_json, save_llama

MODULES = {"target_modules": ["q_proj", "v_proj"]}
MERGED = {
    "LoRA": partial(peft.LoraConfig, r=2, **MODULES),
    "DoRA": partial(peft.LoraConfig, r=2, use_dora=True, **MODULES),
    "rank-stabilised": partial(peft.LoraConfig, r=2, use_rslora=True, **MODULES),
    "a regular expression": partial(
        peft.LoraConfig, r=2, target_modules=r".*\.(q|k)_proj", exclude_modules=r".*\.0\..*"
    ),
    "all linear": partial(peft.LoraConfig, r=2, target_modules="all-linear"),
    "ranks by module": partial(
        peft.LoraConfig,
        r=2,
        rank_pattern={"q_proj": 4},
        alpha_pattern={"^model.*v_proj": 16},
        **MODULES,
    ),
    "one layer": partial(
        peft.LoraConfig, r=2, layers_to_transform=[1], layers_pattern="layers", **MODULES
    ),
    "PiSSA": partial(peft.LoraConfig, r=2, init_lora_weights="pissa", **MODULES),
    "OLoRA": partial(peft.LoraConfig, r=2, init_lora_weights="olora", **MODULES),
    "EVA": partial(peft.LoraConfig, r=2, init_lora_weights="orthogonal", **MODULES),
    "rows of tokens": partial(peft.LoraConfig, r=2, trainable_token_indices=[3, 5], **MODULES),
    "AdaLoRA": partial(peft.AdaLoraConfig, total_step=10, init_r=4, target_r=2, **MODULES),
    "LoHa": partial(peft.LoHaConfig, r=2, **MODULES),
    "LoKr": partial(peft.LoKrConfig, r=2, **MODULES),
    "VeRA": partial(peft.VeraConfig, r=4, **MODULES),
    "VeRA without its projection": partial(peft.VeraConfig, r=4, save_projection=False, **MODULES),
    "OFT": partial(peft.OFTConfig, oft_block_size=4, **MODULES),
    "BOFT": partial(peft.BOFTConfig, boft_block_size=4, **MODULES),
    "HRA": partial(peft.HRAConfig, r=2, **MODULES),
    "FourierFT": partial(peft.FourierFTConfig, n_frequency=10, **MODULES),
    "IA3": partial(
        peft.IA3Config, target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "norms": partial(peft.LNTuningConfig, task_type="CAUSAL_LM"),
    "tokens": partial(
        peft.TrainableTokensConfig, token_indices=[1, 2], target_modules=["embed_tokens"]
    ),
}
REFUSED = {
    "PREFIX_TUNING": partial(peft.PrefixTuningConfig, task_type="CAUSAL_LM", num_virtual_tokens=3),
    "PROMPT_TUNING": partial(peft.PromptTuningConfig, task_type="CAUSAL_LM", num_virtual_tokens=3),
    "P_TUNING": partial(peft.PromptEncoderConfig, task_type="CAUSAL_LM", num_virtual_tokens=3),
    "POLY": partial(peft.PolyConfig, r=2, **MODULES),
    "VBLORA": partial(peft.VBLoRAConfig, num_vectors=8, vector_length=4, **MODULES),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama") / "model")


def tune(weights: Path, config: peft.PeftConfig, folder: Path) -> peft.PeftModel:
    """Save an adapter with random weights; return the model that peft runs."""
    torch.manual_seed(1)
    tuned = peft.get_peft_model(
        LlamaForCausalLM.from_pretrained(weights, dtype=torch.float32), config
    )
    with torch.no_grad():
        for weight in tuned.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    tuned.save_pretrained(folder)
    return tuned.eval()


@pytest.mark.filterwarnings("ignore")  # peft's, while the adapters are made
@pytest.mark.parametrize("kind", MERGED)
def test_a_merged_adapter_computes_what_peft_computes(kind, weights, tmp_path):
    tuned = tune(weights, MERGED[kind](), tmp_path / "adapter")
    ids = torch.arange(12)[None]
    base = LM(str(weights)).load(torch.float32)
    ours = LM(str(weights), str(tmp_path / "adapter")).load(torch.float32)
    with torch.no_grad():
        expected = tuned(input_ids=ids).logits
        torch.testing.assert_close(ours(ids).logits, expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(base(ids).logits, expected, atol=1e-5)


def refusal(weights: Path, adapter: Path) -> str:
    with pytest.raises(UserError) as error:
        LM(str(weights), str(adapter)).load(torch.float32)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_an_adapter_that_cannot_be_merged_is_named(kind, weights, tmp_path):
    tune(weights, REFUSED[kind](), tmp_path / "adapter")
    assert f"is of type {kind}, which " in refusal(weights, tmp_path / "adapter")


@pytest.mark.parametrize(
    "kind", ["XLORA", "CARTRIDGE", "SOMETHING_NEW", "\x1b[31m", 5, None, ["LORA"]]
)
def test_unknown_kinds_are_named(kind, weights, adapter):
    edit_json(adapter / "adapter_config.json", peft_type=kind)
    said = refusal(weights, adapter)
    assert (
        "is of type" in said
        or "peft_type in adapter_config.json must be the name of a kind" in said
    )
    assert "\x1b" not in said


# --- configurations from elsewhere ---


@pytest.fixture
def adapter(weights, tmp_path) -> Path:
    tune(weights, peft.LoraConfig(r=2, **MODULES), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_a_module_that_an_adapter_names_is_not_imported(weights, adapter, tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "evil_megatron.py").write_text("raise SystemExit('was run')")
    monkeypatch.syspath_prepend(tmp_path / "theirs")
    settings = {
        "megatron_core": "evil_megatron",
        "auto_mapping": {"parent_library": "evil_megatron"},
    }
    edit_json(adapter / "adapter_config.json", **settings)
    LM(str(weights), str(adapter)).load()  # it changes nothing without the next entry
    edit_json(adapter / "adapter_config.json", megatron_config={"tensor_model_parallel_size": 1})
    assert (
        "'megatron_config' is not a setting of a LORA adapter that can be merged here"
        in refusal(weights, adapter)
    )
    assert "evil_megatron" not in sys.modules


def test_the_oldest_allowed_peft_imports_only_known_packages():
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())
    (floor,) = [
        need
        for need in project["project"]["optional-dependencies"]["demo"]
        if need.startswith("peft")
    ]
    assert floor == "peft>=0.20"  # 0.19 imports whatever megatron_core names


UNKNOWN = {
    "arrow_config": {"top_k": 2},
    "use_bdlora": {"target_modules_bd_a": []},
    "layer_replication": [[0, 2]],
    "alora_invocation_tokens": [1, 2],
    "use_qalora": True,
    "velora_config": {"rank": 1},
    "something": "new",
    "_target_": "os.system",
}


@pytest.mark.parametrize("key", UNKNOWN)
def test_unknown_settings_are_named(key, weights, adapter):
    edit_json(adapter / "adapter_config.json", **{key: UNKNOWN[key]})
    assert f"'{key}' is not a setting of a LORA adapter" in refusal(weights, adapter)
    edit_json(adapter / "adapter_config.json", **{key: None})
    LM(str(weights), str(adapter)).load()


WRONG = [
    {"r": "2"},
    {"r": 2.5},
    {"r": -1},
    {"r": 10**9},
    {"r": 60_000},
    {"r": None, "rank_pattern": {"q_proj": 60_000}},
    {"lora_alpha": "x"},
    {"lora_alpha": float("nan")},
    {"target_modules": 5},
    {"target_modules": [["q_proj"]]},
    {"target_modules": "("},
    {"target_modules": "a" * 20_000},
    {"target_modules": "(.*)*\\1"},
    {"target_modules": "no_such_module"},
    {"rank_pattern": {"(": 2}},
    {"rank_pattern": [1]},
    {"layers_pattern": "(.*)*"},
    {"layers_to_transform": ["x"]},
    {"modules_to_save": {"a": 1}},
    {"modules_to_save": ["../x"]},
    {"trainable_token_indices": [10**12]},
    {"trainable_token_indices": ["x"]},
    {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}},
    {"init_lora_weights": "corda", "corda_config": {"cache_file": "/etc/passwd"}},
    {"init_lora_weights": "pissa_niter_4"},
    {"use_dora": "yes"},
    {"boft_block_size": 4},
    {"bias": {"a": 1}},
]


@pytest.mark.parametrize("entries", WRONG, ids=lambda entries: str(entries)[:60])
def test_settings_with_wrong_values_are_refused_in_one_line(entries, weights, adapter):
    edit_json(adapter / "adapter_config.json", **entries)
    assert str(adapter) in refusal(weights, adapter)


class Unmatched:
    """A compiled regular expression that notes what it is asked for and never begins with it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> NoReturn:
        self.asked.append(name)
        raise AssertionError("Python's engine can take forever")


@pytest.mark.parametrize("pattern", ["(.+)+!", ".*.*.*.*.*.*.*.*.*.*x", "(?:a?){30}" + "a{30}.*!"])
def test_a_malicious_regular_expression_is_never_matched_by_python(
    pattern, weights, adapter, monkeypatch
):
    malicious = Unmatched()
    compile_pattern = re._compile  # match, search and all others begin with it

    def compile_unmatched(text, flags):
        compiled = compile_pattern(text, flags)
        return malicious if pattern in compiled.pattern else compiled

    monkeypatch.setattr(re, "_compile", compile_unmatched)
    edit_json(adapter / "adapter_config.json", target_modules=pattern)
    assert str(adapter) in refusal(weights, adapter)
    edit_json(
        adapter / "adapter_config.json",
        target_modules=["q_proj", "v_proj"],
        rank_pattern={pattern: 3},
    )
    LM(str(weights), str(adapter)).load()  # it matches no module
    assert malicious.asked == []


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "[" * 100_000, '{"peft_type": "\\ud800"}', "{"]
)
def test_an_invalid_adapter_config_is_named(content, weights, adapter):
    (adapter / "adapter_config.json").write_text(content)
    assert str(adapter) in refusal(weights, adapter)


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "chat_template.jinja"]
)
def test_a_pipe_in_an_adapter_is_named_without_waiting(name, weights, adapter):
    (adapter / name).unlink(missing_ok=True)
    os.mkfifo(adapter / name)
    lm = LM(str(weights), str(adapter))
    with pytest.raises(UserError, match="a pipe"):
        lm.load_tokenizer() if name == "chat_template.jinja" else lm.load()


def test_a_chat_template_that_is_not_text_is_named(weights, adapter):
    (adapter / "chat_template.jinja").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"chat_template\.jinja is not text in UTF-8"):
        LM(str(weights), str(adapter)).load_tokenizer()


def test_a_git_lfs_pointer_in_place_of_an_adapter_is_identified(weights, adapter):
    (adapter / "adapter_model.safetensors").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\n"
    )
    assert "a Git LFS pointer" in refusal(weights, adapter)


def test_settings_that_do_not_matter_for_merging_are_ignored(weights, adapter):
    before = LM(str(weights), str(adapter)).load(torch.float32).state_dict()
    entries = {
        "base_model_name_or_path": "no/such",
        "revision": "x",
        "peft_version": "99",
        "inference_mode": False,
    }
    edit_json(
        adapter / "adapter_config.json", **entries, runtime_config={"ephemeral_gpu_offload": True}
    )
    after = LM(str(weights), str(adapter)).load(torch.float32).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert json.loads((adapter / "adapter_config.json").read_text())["revision"] == "x"
