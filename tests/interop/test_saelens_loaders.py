"""SAELens's own loaders of others' layouts, given the very files that are read here."""

import warnings
from pathlib import Path

import pytest
import torch

import crosscoder
from tests.helpers.foreign import write
from tests.reference.formats import test_dictionary_learning_sae as dictionary_learning
from tests.reference.formats import test_openmoss_sae as llama_scope
from tests.reference.formats.files import Draw
from tests.reference.formats.files import F as WIDTH

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    sae_lens = pytest.importorskip("sae_lens")
    from sae_lens.loading import pretrained_sae_loaders as loaders

d = 8


def theirs_of(name: str, repo: str, path: str, folder: Path, monkeypatch) -> torch.nn.Module:
    """Load an SAE with SAELens's own loader; `folder` stands for the repository."""

    def find(repo_id: str, filename: str, subfolder: str = "", **_) -> str:
        return str(folder / subfolder / filename)

    monkeypatch.setattr(loaders, "hf_hub_download", find)
    config, weights, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[name](
        repo, path, "cpu", False, {"device": "cpu", "dtype": "float32"}
    )
    config = loaders.handle_config_defaulting(config)
    made = sae_lens.SAE.from_dict(config)
    made.process_state_dict_for_loading(weights)
    made.load_state_dict(weights, assign=True)
    return made.float()


def assert_same(ours, theirs, acts) -> None:
    with torch.no_grad():
        code, f = ours.encode(acts), theirs.encode(acts)
        torch.testing.assert_close(code.to_dense(), f, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.decode(code), theirs.decode(f), atol=1e-4, rtol=1e-4)
    assert 0 < (f > 0).sum() < f.numel()


def test_qwen_scope(tmp_path, monkeypatch):
    draw, repo, wide = Draw(), "Qwen/SAE-Res-Qwen3-1.7B-Base-W1K-L0_5", 1024
    monkeypatch.setitem(
        loaders.QWEN_SCOPE_MODEL_INFO, "Qwen3-1.7B-Base", ("Qwen/Qwen3-1.7B-Base", d)
    )
    w = {"W_enc": draw(wide, d), "b_enc": draw(wide), "W_dec": draw(d, wide), "b_dec": draw(d)}
    folder = write(tmp_path / repo.split("/")[1], {"layer3.sae.pt": w})
    theirs = theirs_of("qwen_scope", repo, "layer3.sae.pt", folder, monkeypatch)
    assert_same(crosscoder.load(folder), theirs, draw(30, d))


def test_llama_scope(tmp_path, monkeypatch):
    draw, name = Draw(1), "Llama3_1-8B-Base-L15R-8x"
    w = llama_scope.weights(draw)
    w["W_D"] = torch.nn.functional.normalize(
        w["W_D"], dim=1
    )  # as released; SAELens leaves norms out
    files = {
        "hyperparams.json": llama_scope.hyperparams(),
        "checkpoints/final.safetensors": llama_scope.older(w),
    }
    folder = write(tmp_path / "LXR" / name, files)
    theirs = theirs_of(
        "llama_scope", "fnlp/Llama3_1-8B-Base-LXR-8x", name, tmp_path / "LXR", monkeypatch
    )
    theirs.fold_activation_norm_scaling_factor(d**0.5 / llama_scope.AVERAGE)
    assert_same(crosscoder.load(folder), theirs, draw(40, d))


def test_llama_scope_r1(tmp_path, monkeypatch):
    draw, path = Draw(2), "400M-Slimpajama-400M-OpenR1-Math-220k/L15R"
    w = llama_scope.weights(draw, "jumprelu")
    w["W_D"] = torch.nn.functional.normalize(w["W_D"], dim=1)
    said = llama_scope.config("jumprelu")
    folder = write(
        tmp_path / path, {"config.json": said, "sae_weights.safetensors": llama_scope.older(w)}
    )
    theirs = theirs_of(
        "llama_scope_r1_distill", "fnlp/Llama-Scope-R1-Distill", path, tmp_path, monkeypatch
    )
    theirs.fold_activation_norm_scaling_factor(0.4)
    assert_same(crosscoder.load(folder, input_scale=0.4), theirs, draw(40, d))


def test_goodfire(tmp_path, monkeypatch):
    draw, file = Draw(3), "Llama-3.1-8B-Instruct-SAE-l19.pth"
    w = {"encoder_linear.weight": draw(WIDTH, d), "encoder_linear.bias": draw(WIDTH)}
    w |= {"decoder_linear.weight": draw(d, WIDTH), "decoder_linear.bias": draw(d)}
    folder = write(tmp_path, {file: w})
    monkeypatch.setattr(
        loaders, "get_goodfire_config_from_hf", _small(loaders.get_goodfire_config_from_hf)
    )
    theirs = theirs_of(
        "goodfire", "Goodfire/Llama-3.1-8B-Instruct-SAE-l19", file, folder, monkeypatch
    )
    assert_same(crosscoder.load(folder), theirs, draw(40, d))


def test_deepseek(tmp_path, monkeypatch):
    draw, file = Draw(4), "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
    w = {"encoder.weight": draw(WIDTH, d), "encoder.bias": draw(WIDTH)}
    w |= {"decoder.weight": draw(d, WIDTH), "decoder.bias": draw(d)}
    folder = write(tmp_path, {file: w})
    monkeypatch.setattr(
        loaders, "get_deepseek_r1_config_from_hf", _small(loaders.get_deepseek_r1_config_from_hf)
    )
    theirs = theirs_of(
        "deepseek_r1", "qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19", file, folder, monkeypatch
    )
    assert_same(crosscoder.load(folder), theirs, draw(40, d))


def test_attention_saes_of_kissane(tmp_path, monkeypatch):
    draw, name = Draw(5), "gpt2-small_L5_Hcat_z_v9"
    w = {"W_enc": draw(d, WIDTH), "W_dec": draw(WIDTH, d), "b_enc": draw(WIDTH), "b_dec": draw(d)}
    said = {"act_size": d, "dict_size": WIDTH, "act_name": "blocks.5.attn.hook_z"}
    folder = write(tmp_path, {f"{name}.pt": w, f"{name}_cfg.json": said})
    theirs = theirs_of(
        "connor_rob_hook_z", "ckkissane/attn-saes", f"{name}.pt", folder, monkeypatch
    )
    theirs.turn_off_forward_pass_hook_z_reshaping()
    assert_same(crosscoder.load(folder), theirs, draw(40, d))


@pytest.mark.parametrize(
    "kind", ["AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder"]
)
def test_dictionary_learning(tmp_path, monkeypatch, kind):
    draw = Draw(6)
    files = {
        "config.json": dictionary_learning.config(kind),
        "ae.pt": dictionary_learning.weights(draw, kind),
    }
    folder = write(tmp_path / "trainer_0", files)
    theirs = theirs_of(
        "dictionary_learning_1", "canrager/lm_sae", "trainer_0", tmp_path, monkeypatch
    )
    assert_same(crosscoder.load(folder), theirs, draw(40, d))


@pytest.mark.parametrize("version", ["1.1.0", "2.1.3", "5.9.0", None])
def test_older_files_of_its_own(tmp_path, version):
    draw = Draw(7)
    w = {"W_enc": draw(d, WIDTH), "W_dec": draw(WIDTH, d), "b_enc": draw(WIDTH), "b_dec": draw(d)}
    said = {
        "d_in": d,
        "d_sae": WIDTH,
        "dtype": "float32",
        "device": "cpu",
        "model_name": "gemma-2b",
    }
    said |= {
        "hook_point": "blocks.6.hook_resid_pre",
        "normalize_activations": None,
        "sae_lens_version": version,
    }
    stored = w | {"scaling_factor": torch.ones(WIDTH)}
    folder = write(tmp_path, {"cfg.json": said, "sae_weights.safetensors": stored})
    assert_same(crosscoder.load(folder), sae_lens.SAE.load_from_disk(str(folder)), draw(40, d))


def _small(of_the_released):
    """Its settings of a released SAE, in the sizes used here."""
    return lambda *given, **named: (
        of_the_released(*given, **named) | {"d_in": d, "d_sae": WIDTH, "dtype": "float32"}
    )
