"""The logit lens against a loop over latents, source by source, through each source's own model."""

import pytest
import torch

from crosscoder.activations.topk import TopK
from crosscoder.diff import lens as module
from crosscoder.diff.lens import lens, logits
from crosscoder.errors import UserError
from crosscoder.lm import Pair, load_pair
from crosscoder.model import Crosscoder
from crosscoder.sources import Source, Sources
from tests.small import crosscoder_of

WIDTH, N_LATENTS = 32, 20


@pytest.fixture
def crosscoder() -> Crosscoder:
    made = crosscoder_of(TopK(3), (WIDTH, WIDTH), N_LATENTS)
    made.set_units(torch.zeros(2 * WIDTH), torch.linspace(0.1, 9, 2 * WIDTH))  # so that training and raw units differ
    return made.fold()


def naive(pair: Pair, lm: str, direction: torch.Tensor, n: int) -> list[str]:
    """Gemma's last norm and unembedding, written out."""
    model = pair[lm]
    weight = model.get_decoder().norm.weight
    normed = direction / (direction.square().mean() + model.config.rms_norm_eps).sqrt() * (1 + weight)
    scores = model.get_output_embeddings().weight @ normed
    return pair.tokenizer.convert_ids_to_tokens(scores.argsort(descending=True)[:n].tolist())


@pytest.mark.parametrize("at_a_time", [7, 256])
def test_top_tokens_are_those_of_each_source_s_own_model(crosscoder, tiny_pair, monkeypatch, at_a_time):
    monkeypatch.setattr(module, "AT_A_TIME", at_a_time)
    columns = lens(crosscoder, tiny_pair, n=4)
    assert list(columns) == ["tokens/base", "tokens/chat", "tokens/difference"]
    base, chat = (crosscoder.decoder(name).detach() for name in ("base", "chat"))
    for latent in range(N_LATENTS):
        assert columns["tokens/base"][latent] == naive(tiny_pair, "base", base[latent], 4)
        assert columns["tokens/chat"][latent] == naive(tiny_pair, "chat", chat[latent], 4)
        assert columns["tokens/difference"][latent] == naive(tiny_pair, "chat", (chat - base)[latent], 4)
    assert columns["tokens/chat"] != columns["tokens/difference"]


def test_the_decoder_s_length_does_not_matter(crosscoder, tiny_pair):
    before = lens(crosscoder, tiny_pair)
    with torch.no_grad():
        crosscoder.W_dec.mul_(torch.linspace(1, 30, N_LATENTS)[:, None])
    assert lens(crosscoder, tiny_pair) == before


def test_the_norm_s_learnt_weights_matter(crosscoder):
    pair = load_pair("tiny")
    before = lens(crosscoder, pair)["tokens/chat"]
    norm = pair["chat"].get_decoder().norm
    norm.weight.data = torch.linspace(-1, 5, WIDTH)
    directions = crosscoder.decoder("chat").detach()
    scaled = directions / directions.square().mean(-1, keepdim=True).sqrt() * torch.linspace(0, 6, WIDTH)
    expected = scaled @ pair["chat"].get_output_embeddings().weight.T
    torch.testing.assert_close(logits(pair["chat"], directions), expected, rtol=1e-3, atol=1e-3)
    assert lens(crosscoder, pair)["tokens/chat"] != before


def test_a_latent_that_writes_nothing_has_no_tokens(crosscoder, tiny_pair):
    with torch.no_grad():
        crosscoder.decoder("base")[3] = 0
    columns = lens(crosscoder, tiny_pair, n=2)
    assert columns["tokens/base"][3] == []
    assert [len(tokens) for tokens in columns["tokens/chat"]] == [2] * N_LATENTS


@pytest.mark.parametrize(
    ("hookpoints", "names"),
    [
        (("resid_post.1", "attn_z.1"), ["tokens/base"]),
        (("attn_z.0", "attn_z.0"), []),
        (("mlp_out.0", "attn_out.1"), ["tokens/base", "tokens/chat", "tokens/difference"]),
    ],
)
def test_only_sources_on_the_residual_stream_are_read(tiny_pair, hookpoints, names):
    items = [Source(lm, WIDTH, lm, point) for lm, point in zip(("base", "chat"), hookpoints, strict=True)]
    crosscoder = Crosscoder(Sources(tuple(items), ("chat", "base")), N_LATENTS, TopK(3)).fold()
    assert list(lens(crosscoder, tiny_pair, n=2)) == names


def test_models_are_loaded_once_each_and_released(crosscoder, monkeypatch):
    pair = load_pair("tiny", residency="sequential")
    loaded = []
    load = type(pair.lms["base"]).load
    monkeypatch.setattr(type(pair.lms["base"]), "load", lambda lm, *args: loaded.append(lm.drift) or load(lm, *args))
    lens(crosscoder, pair)
    assert loaded == [0.0, 0.2]
    assert not pair._models


def test_in_bfloat16_the_logits_have_the_model_s_dtype(crosscoder):
    model = load_pair("tiny", dtype="bfloat16")["chat"]
    assert logits(model, crosscoder.decoder("chat")).dtype == torch.bfloat16


def test_an_unfolded_crosscoder_is_refused(tiny_pair):
    with pytest.raises(UserError, match=r"needs a saved \(folded\) crosscoder"):
        lens(crosscoder_of(TopK(3), (WIDTH, WIDTH)), tiny_pair)
