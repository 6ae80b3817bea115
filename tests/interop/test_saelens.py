"""SAELens itself, both ways: what it saves is read here, and what is exported here it reads."""

import json
import warnings
from pathlib import Path

import pytest
import torch

import crosscoder
from crosscoder.core.activations import Activation
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from tests.helpers.small import crosscoder_of, random_acts

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # it imports a module that TransformerLens has renamed
    sae_lens = pytest.importorskip("sae_lens")

D, F = 6, 20
KINDS = {
    "standard": ("Standard", {}),
    "topk": ("TopK", {"k": 3}),
    "topk by norm": ("TopK", {"k": 3, "rescale_acts_by_decoder_norm": True}),
    "jumprelu": ("JumpReLU", {}),
    "gated": ("Gated", {}),
}
TRAINED = {
    "batchtopk": ("BatchTopK", {}),
    "batchtopk of raw norms": ("BatchTopK", {"rescale_acts_by_decoder_norm": False}),
    "matryoshka": ("MatryoshkaBatchTopK", {"matryoshka_widths": [8, F]}),
}


def random_sae(kind: str, **config) -> torch.nn.Module:
    """One of its classes with random weights."""
    made = getattr(sae_lens, f"{kind}SAE")(
        getattr(sae_lens, f"{kind}SAEConfig")(d_in=D, d_sae=F, **config)
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
        if hasattr(made, "threshold"):
            made.threshold.abs_()
    return made


def assert_equal(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def assert_same(ours: Crosscoder, theirs: torch.nn.Module, acts: torch.Tensor) -> None:
    """Code and reconstruction agree, and some latents are active and some not."""
    with torch.no_grad():
        code, f = ours.encode(acts), theirs.encode(acts)
        assert_equal(code.to_dense(), f)
        assert_equal(ours.decode(code), theirs.decode(f))
    assert 0 < (f > 0).sum() < f.numel()


@pytest.mark.parametrize("pre_bias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_codes_here_as_there(kind, pre_bias, tmp_path):
    name, config = KINDS[kind]
    theirs = random_sae(name, apply_b_dec_to_input=pre_bias, **config)
    theirs.save_model(tmp_path)
    ours = crosscoder.load(tmp_path)
    assert_same(ours, theirs, random_acts(50, D))
    assert ours.provenance["layout"] == "saelens"
    assert (
        ours.provenance["architecture"]
        == json.loads((tmp_path / "cfg.json").read_text())["architecture"]
    )


@pytest.mark.parametrize(
    "missing", ["apply_b_dec_to_input", "normalize_activations", "reshape_activations"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_configuration_does_not_say_is_the_same_here_and_there(kind, missing, tmp_path):
    name, config = KINDS[kind]
    random_sae(name, **config).save_model(tmp_path)
    file = tmp_path / "cfg.json"
    said = json.loads(file.read_text())
    del said[missing]
    file.write_text(json.dumps(said))
    assert_same(
        crosscoder.load(tmp_path), sae_lens.SAE.load_from_disk(str(tmp_path)), random_acts(50, D)
    )


@pytest.mark.parametrize("pre_bias", [False, True])
@pytest.mark.parametrize("kind", TRAINED)
def test_what_was_trained_with_batch_topk_is_read_as_it_is_saved_for_inference(
    kind, pre_bias, tmp_path
):
    name, config = TRAINED[kind]
    trained = random_sae(
        f"{name}Training", k=3.0, topk_threshold_lr=0.5, apply_b_dec_to_input=pre_bias, **config
    )
    acts = random_acts(50, D)
    step = sae_lens.saes.sae.TrainStepInput(acts, {}, None, 0, False)
    for _ in range(4):
        trained.training_forward_pass(step)
    assert trained.topk_threshold > 0.1
    trained.fold_activation_norm_scaling_factor(1.5)  # as the package does at the end of a run
    trained.save_inference_model(tmp_path)
    ours = crosscoder.load(tmp_path)
    assert ours.activation.spec()["name"] == "jumprelu"
    assert_same(ours, sae_lens.SAE.load_from_disk(str(tmp_path)), acts)


def test_its_description_becomes_the_sources(tmp_path):
    metadata = sae_lens.saes.sae.SAEMetadata(
        model_name="google/gemma-2-2b-it",
        hook_name="blocks.12.hook_resid_pre",
        exclude_special_tokens=True,
    )
    random_sae("Standard", metadata=metadata).save_model(tmp_path)
    ours = crosscoder.load(tmp_path)
    (source,) = ours.sources
    assert (source.name, source.width, source.hookpoint) == ("chat", D, "resid_post.11")
    assert ours.provenance["bos_excluded"] is True


@pytest.mark.parametrize(
    "activation", [BatchTopK(4), ReLU(), TopK(4)], ids=["jumprelu", "standard", "topk"]
)
def test_a_crosscoder_is_an_sae_on_its_sources_side_by_side(activation: Activation, tmp_path: Path):
    made = crosscoder_of(activation, widths=(5, 7))
    made.set_units(torch.linspace(-3, 3, 12), torch.tensor([0.5] * 5 + [4.0] * 7))
    if isinstance(activation, BatchTopK):
        activation.threshold.fill_(1.5)
    ours = made.fold()
    theirs = sae_lens.SAE.load_from_disk(str(crosscoder.export(ours, "saelens", tmp_path / "sae")))
    base, chat = random_acts(50, 5) * 0.5, random_acts(50, 7, seed=1) * 4
    acts = torch.cat([base, chat], dim=1) + ours.mean
    n = ours.selection_scale if type(activation) is TopK else torch.ones(24)
    with torch.no_grad():
        code, f = ours.encode(acts), theirs.encode(acts)
        assert_equal(code.to_dense() * n, f)
        assert_equal(ours.decode(code), theirs.decode(f))
        assert 0 < (f > 0).sum() < f.numel()
        again = crosscoder.load(tmp_path / "sae")
        assert_same(again, theirs, acts)
    assert again.sources.widths == (5, 7)
    assert again.sources.diff_pair == ("chat", "base")
