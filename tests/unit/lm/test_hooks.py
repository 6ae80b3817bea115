"""Every hookpoint against what the model itself gives, or a recomputation by its own submodules."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from crosscoder.errors import UserError
from crosscoder.lm.hooks import SITES, Hookpoint, apply_edits, read


def acts_at(model, ids, positions, *names: str) -> list[torch.Tensor]:
    hookpoints = [Hookpoint.parse(name) for name in names]
    found = read(model, hookpoints, ids, positions)
    return [found[hookpoint] for hookpoint in hookpoints]


def hooks_on(model) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    """No norms after attention and MLP; its attention returns a tuple."""
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    return (
        LlamaForCausalLM(LlamaConfig(vocab_size=262, num_key_value_heads=2, **sizes))
        .eval()
        .requires_grad_(False)
    )


@pytest.fixture(params=["gemma", "llama"])
def either(request, model, llama):
    return model if request.param == "gemma" else llama


# --- what is read ---


def test_resid_post_is_the_hidden_state_after_the_layer(either, ids, positions):
    hidden = either(ids, position_ids=positions, output_hidden_states=True).hidden_states
    first, last = acts_at(either, ids, positions, "resid_post.0", "resid_post.1")
    torch.testing.assert_close(first, hidden[1])
    # transformers norms the last entry, which a residual stream is not
    torch.testing.assert_close(either.get_decoder().norm(last), hidden[2])
    assert not torch.allclose(last, hidden[2])


def test_attention_and_mlp_outputs_add_up_to_what_the_layer_adds(either, ids, positions):
    before, after, attn, mlp = acts_at(
        either, ids, positions, "resid_post.0", "resid_post.1", "attn_out.1", "mlp_out.1"
    )
    torch.testing.assert_close(before + attn + mlp, after)


def test_gemma_outputs_are_after_their_norms(model, ids, positions):
    layer = model.get_decoder().layers[1]
    before, attn, z, mlp = acts_at(
        model, ids, positions, "resid_post.0", "attn_out.1", "attn_z.1", "mlp_out.1"
    )
    torch.testing.assert_close(attn, layer.post_attention_layernorm(layer.self_attn.o_proj(z)))
    inside = layer.mlp(layer.pre_feedforward_layernorm(before + attn))
    torch.testing.assert_close(mlp, layer.post_feedforward_layernorm(inside))


def test_attn_z_is_the_heads_values(model, ids, positions):
    # the first token attends to nothing but itself: each head's output is its value
    before, z = acts_at(model, ids, positions, "resid_post.0", "attn_z.1")
    layer = model.get_decoder().layers[1]
    value = layer.self_attn.v_proj(layer.input_layernorm(before))[:, 0]
    torch.testing.assert_close(z[:, 0], torch.cat([value, value], dim=-1))
    assert z.shape[-1] == layer.self_attn.o_proj.in_features


def test_one_pass_reads_what_single_passes_read(model, ids, positions):
    names = [f"{site}.{layer}" for layer in (1, 0) for site in SITES]
    for name, acts in zip(names, acts_at(model, ids, positions, *names), strict=True):
        (alone,) = acts_at(model, ids, positions, name)
        assert torch.equal(acts, alone), name


def test_the_first_entry_of_a_layers_tuple_is_read(model, ids, positions, monkeypatch):
    (expected,) = acts_at(model, ids, positions, "resid_post.1")
    layer = model.get_decoder().layers[1]
    forward = layer.forward
    monkeypatch.setattr(
        layer, "forward", lambda *args, **kwargs: (forward(*args, **kwargs), "cache")
    )
    (found,) = acts_at(model, ids, positions, "resid_post.1")
    assert torch.equal(found, expected)


def test_left_padding_is_masked(model, ids, positions):
    (alone,) = acts_at(model, ids[:, 3:], positions[:, :7], "resid_post.1")
    mask = torch.ones_like(ids)
    mask[:, :3] = 0
    padded = read(model, [Hookpoint(1, "resid_post")], ids, (positions - 3).clamp(min=0), mask)
    torch.testing.assert_close(padded[Hookpoint(1, "resid_post")][:, 3:], alone)


# --- what is run, and what stays ---


def test_later_layers_do_not_run(model, ids, positions):
    def ran(*_):
        raise AssertionError("layer 1 ran")

    handle = model.get_decoder().layers[1].register_forward_pre_hook(ran)
    try:
        acts_at(model, ids, positions, "resid_post.0", "attn_z.0")
        with pytest.raises(AssertionError, match="layer 1 ran"):
            acts_at(model, ids, positions, "attn_z.1")
    finally:
        handle.remove()


def test_hooks_are_removed_even_after_an_exception(model, ids, positions, monkeypatch):
    before = hooks_on(model)
    acts_at(model, ids, positions, "resid_post.0", "attn_z.1")
    assert hooks_on(model) == before

    def fails(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.get_decoder().layers[1], "forward", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        acts_at(model, ids, positions, "resid_post.0", "resid_post.1")
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        apply_edits(model, {Hookpoint(0, "resid_post"): torch.zeros_like}),
    ):
        model(ids)
    assert hooks_on(model) == before


# --- edits ---


def test_an_edit_replaces_the_activation(either, ids, positions):
    site = Hookpoint(0, "resid_post")
    other = ids.flip(0)
    clean = either(other, position_ids=positions).logits
    (replacement,) = acts_at(either, other, positions, "resid_post.0")
    untouched = either(ids, position_ids=positions).logits
    with apply_edits(either, {site: lambda acts: replacement}) as model:
        spliced = model(ids, position_ids=positions).logits
    torch.testing.assert_close(spliced, clean)
    assert torch.equal(either(ids, position_ids=positions).logits, untouched)


@pytest.mark.parametrize("site", ["attn_z", "attn_out"])
def test_zeroed_attention_leaves_the_mlp_alone(either, ids, positions, site):
    (before,) = acts_at(either, ids, positions, "resid_post.0")
    with apply_edits(either, {Hookpoint(1, site): torch.zeros_like}):
        after, mlp = acts_at(either, ids, positions, "resid_post.1", "mlp_out.1")
    torch.testing.assert_close(after, before + mlp)


# --- names ---


def test_hookpoints_are_parsed_and_written_alike():
    assert Hookpoint.parse("attn_z.12") == Hookpoint(12, "attn_z")
    assert str(Hookpoint(12, "attn_z")) == "attn_z.12"


@pytest.mark.parametrize(
    "text", ["resid_post", "resid_post.", "resid_post.-1", "resid_pre.3", "resid_post.nine", ""]
)
def test_invalid_hookpoints_are_refused_with_an_example(text):
    with pytest.raises(
        UserError, match=rf"no hookpoint '{text}'; write SITE\.LAYER, e\.g\. resid_post\.9"
    ):
        Hookpoint.parse(text)


def test_a_layer_out_of_range_is_named_with_the_range(model, ids, positions):
    with pytest.raises(UserError, match="no layer 2: the model has layers 0 to 1"):
        acts_at(model, ids, positions, "resid_post.2")
