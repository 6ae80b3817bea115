"""Resumed passes against passes in full."""

import pytest
import torch
from torch import Tensor

from crosscoder.lm.architectures import get_layers
from crosscoder.lm.hooks import Hookpoint, apply_edits, run_decoder
from crosscoder.lm.resume import count_shared_layers, record_layers, skip_layers
from tests.helpers.architectures import build

HOOKPOINTS = [Hookpoint(0, "resid_post"), Hookpoint(2, "resid_post"), Hookpoint(2, "attn_out")]


def double(acts: Tensor) -> Tensor:
    return 2 * acts


# Falcon changes in place what a layer returns; GPT-2 and BLOOM differ in their layers' arguments
@pytest.mark.parametrize("model_type", ["gemma3_text", "llama", "falcon", "gpt2", "bloom", "mamba"])
@pytest.mark.parametrize("hookpoint", HOOKPOINTS, ids=str)
def test_a_resumed_pass_is_the_whole_pass(model_type, hookpoint):
    if model_type == "mamba" and hookpoint.site == "attn_out":
        pytest.skip("no attention")
    model = build(model_type)
    ids, others = torch.randint(6, 90, (2, 3, 10), generator=torch.Generator().manual_seed(0))
    n_layers = count_shared_layers(model, hookpoint)
    assert n_layers == (hookpoint.layer + 1 if hookpoint.site == "resid_post" else 2)
    with torch.no_grad():
        with apply_edits(model, {hookpoint: double}):
            expected = run_decoder(model, ids)
        with record_layers(model, n_layers) as output:
            clean = run_decoder(model, ids)
        run_decoder(model, others)
        for _ in range(2):  # the recorded output is not used up
            with skip_layers(model, n_layers, output), apply_edits(model, {hookpoint: double}):
                assert torch.equal(run_decoder(model, ids), expected)
        assert torch.equal(run_decoder(model, ids), clean)
    assert not torch.allclose(clean, expected)


def test_layers_that_are_skipped_compute_nothing():
    model = build("llama")
    ids = torch.arange(6, 16)[None]
    calls = []
    for number, layer in enumerate(get_layers(model)):
        layer.mlp.register_forward_hook(lambda *_, number=number: calls.append(number))
    with record_layers(model, 2) as output:
        run_decoder(model, ids)
    calls.clear()
    with skip_layers(model, 2, output):
        run_decoder(model, ids)
    assert calls == [2, 3]


def test_layers_compute_again_after_an_error():
    model = build("llama")
    ids = torch.arange(6, 16)[None]
    with record_layers(model, 2) as output:
        expected = run_decoder(model, ids)
    with pytest.raises(KeyError), skip_layers(model, 2, output):
        raise KeyError
    assert not any("forward" in vars(layer) for layer in get_layers(model))
    assert torch.equal(run_decoder(model, ids), expected)


def test_nothing_is_skipped_before_the_first_layer():
    model = build("llama")
    ids = torch.arange(6, 16)[None]
    assert count_shared_layers(model, Hookpoint(0, "attn_out")) == 0
    with record_layers(model, 0) as output:
        expected = run_decoder(model, ids)
    with skip_layers(model, 0, output):
        assert torch.equal(run_decoder(model, ids), expected)


def test_a_model_whose_layers_share_more_than_their_output_is_not_resumed():
    model = build("llama")
    first, second, *_ = get_layers(model)
    kept = {}

    def keep(module, args, output) -> None:
        kept["inner"] = output

    def add(module, args, output) -> Tensor:
        return output + kept["inner"]

    first.mlp.register_forward_hook(keep)
    second.mlp.register_forward_hook(add)
    assert count_shared_layers(model, Hookpoint(0, "resid_post")) == 0
