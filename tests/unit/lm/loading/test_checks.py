"""Measurements on a model notice what a name does not tell."""

import pytest
import torch
from torch import nn

from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm.architectures import get_layers, get_site
from crosscoder.lm.hooks import Hookpoint, apply_edits, read
from crosscoder.lm.loading import checks
from crosscoder.lm.loading.measuring import random_ids
from crosscoder.lm.loading.sites import check_site
from tests.helpers.architectures import build, config_of


def test_a_model_that_sees_later_tokens_is_refused():
    bidirectional = build("bert", is_decoder=False)
    with pytest.raises(UserError, match=r"not causal.*is_decoder=true"):
        checks.require_causal(bidirectional)
    checks.require_causal(build("bert"))


@pytest.mark.parametrize("model_type", ["deepseek_v4", "hy_v4", "prophetnet", "xlnet", "reformer"])
def test_layers_without_a_single_residual_stream_are_refused(model_type):
    with pytest.raises(UserError, match=r"not a residual stream|several streams"):
        check_site(build(model_type), Hookpoint(1, "resid_post"))


@pytest.mark.parametrize("model_type", ["granite", "granitemoe", "minicpm3", "hyperclovax"])
def test_residual_multipliers_are_applied(model_type):
    model = build(model_type)
    ids = torch.randint(4, 90, (1, 9))
    wanted = [
        Hookpoint(0, "resid_post"),
        Hookpoint(1, "resid_post"),
        Hookpoint(1, "attn_out"),
        Hookpoint(1, "mlp_out"),
    ]
    found = read(model, wanted, ids, torch.arange(9)[None])
    before, after, attn, mlp = (found[hookpoint] for hookpoint in wanted)
    torch.testing.assert_close(before + attn + mlp, after, rtol=1e-4, atol=1e-4)
    inside = get_site(model, 1, "mlp_out")
    outputs = []
    handle = inside.register_forward_hook(
        lambda module, args, out: outputs.append(out[0] if isinstance(out, tuple) else out)
    )
    model(ids)
    handle.remove()
    assert not torch.allclose(outputs[0], mlp)


@pytest.mark.parametrize(
    "model_type", ["falcon_h1", "granitemoeshared", "bart", "minimax", "gemma4_text"]
)
@pytest.mark.parametrize("site", ["attn_out", "mlp_out"])
def test_sites_are_refused_if_the_layer_adds_more_than_them(model_type, site):
    model = build(model_type)
    check_site(model, Hookpoint(1, "resid_post"))
    with pytest.raises(UserError, match=r"resid_post\.1 can be read"):
        check_site(model, Hookpoint(1, site))


def test_a_layer_that_differs_from_its_names_is_noticed():
    model = build("llama")
    check_site(model, Hookpoint(2, "mlp_out"))
    layer = get_layers(model)[2]
    layer.mlp = nn.Sequential(layer.mlp, nn.Identity())
    layer.register_forward_hook(lambda module, args, output: output * 1.1)
    with pytest.raises(UserError, match="attn_out \\+ mlp_out differ"):
        check_site(model, Hookpoint(2, "mlp_out"))


def test_activations_are_read_before_a_model_changes_them_in_place():
    model = build("falcon")
    layer = get_layers(model)[1]
    ids = torch.randint(4, 90, (1, 9))
    inputs = []
    handle = layer.mlp.register_forward_pre_hook(
        lambda module, args: inputs.append(args[0].clone())
    )
    found = read(
        model, [Hookpoint(1, "mlp_out"), Hookpoint(2, "resid_post")], ids, torch.arange(9)[None]
    )
    handle.remove()
    torch.testing.assert_close(found[Hookpoint(1, "mlp_out")], layer.mlp(inputs[0]))


@pytest.mark.parametrize(
    "model_type", ["cohere", "granite", "gemma2", "opt", "mamba", "hyperclovax", "minicpm3"]
)
def test_scores_are_the_model_s_own(model_type):
    checks.require_logits(build(model_type))


@pytest.mark.parametrize("model_type", ["bert", "modernbert-decoder"])
def test_a_head_that_reads_something_else_allows_no_lens_and_no_scores(model_type):
    model = build(model_type)
    with pytest.raises(NotApplicable, match="logit lens"):
        checks.require_lens(model)
    with pytest.raises(NotApplicable, match="cannot be scored"):
        checks.require_logits(model)


def test_an_unknown_architecture_is_refused_with_its_modules():
    with pytest.raises(
        UserError,
        match=r"hrm_text\) is not supported: expected its decoder layers under one of .*"
        r"it has embed_tokens",
    ):
        checks.require_causal(build("hrm_text"))
    with pytest.raises(
        UserError,
        match=r"layer 1 of the model \(mamba\) has no attn_out: its modules are norm, mixer",
    ):
        check_site(build("mamba"), Hookpoint(1, "attn_out"))


def test_random_ids_are_ordinary_tokens():
    config = config_of("llama", pad_token_id=0, bos_token_id=1, eos_token_id=[2, 3])
    model = build("llama", pad_token_id=0, bos_token_id=1, eos_token_id=[2, 3])
    ids = random_ids(model, 500)
    assert len(ids) == 500
    assert int(ids.min()) > 3
    assert int(ids.max()) < config.vocab_size


@pytest.mark.parametrize("site", ["attn_out", "mlp_out", "attn_z"])
def test_sites_with_one_axis_of_tokens_are_read_and_edited_like_others(site):
    model = build("opt")
    ids = torch.randint(4, 90, (2, 9))
    hookpoint, after = Hookpoint(1, site), Hookpoint(1, "resid_post")
    clean = read(model, [hookpoint, after], ids, torch.arange(9).expand(2, 9))
    assert clean[hookpoint].shape == (2, 9, 32)
    shift = torch.zeros(2, 9, 32)
    shift[1, 4] = 1.0
    with apply_edits(model, {hookpoint: lambda acts: acts + shift}):
        moved = read(model, [after], ids, torch.arange(9).expand(2, 9))[after]
    changed = (moved - clean[after]).abs().amax(-1) > 1e-4
    assert changed.nonzero().tolist() == [[1, 4]]
