"""The logit lens against a loop over latents, source by source, through each source's own model."""

from dataclasses import replace

import pytest
import torch

from crosscoder.analysis.columns import lens as module
from crosscoder.analysis.columns.lens import compute_lens, compute_logits
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source, Sources
from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm import Hookpoint, Pair, load_pair
from crosscoder.lm.jacobian import compute_jacobian
from crosscoder.lm.lens_contexts import LensContexts
from tests.helpers.small import crosscoder_of

WIDTH = 32
N_LATENTS = 20


@pytest.fixture
def crosscoder() -> Crosscoder:
    made = crosscoder_of(TopK(3), (WIDTH, WIDTH), N_LATENTS)
    made.set_units(
        torch.zeros(2 * WIDTH), torch.linspace(0.1, 9, 2 * WIDTH)
    )  # so that training and raw units differ
    return made.fold()


def naive(pair: Pair, lm: str, direction: torch.Tensor, n: int) -> list[str]:
    """Apply Gemma's final norm and unembedding, written out."""
    model = pair[lm]
    weight = model.get_decoder().norm.weight
    normed = (
        direction / (direction.square().mean() + model.config.rms_norm_eps).sqrt() * (1 + weight)
    )
    scores = model.get_output_embeddings().weight @ normed
    return pair.tokenizer.convert_ids_to_tokens(scores.argsort(descending=True)[:n].tolist())


@pytest.mark.parametrize("at_a_time", [7, 256])
def test_top_tokens_are_those_of_each_source_s_own_model(
    crosscoder, tiny_pair, monkeypatch, at_a_time
):
    monkeypatch.setattr(module, "LATENTS_PER_CHUNK", at_a_time)
    columns = compute_lens(crosscoder, tiny_pair, n=4)
    promoted = [f"tokens/{name}" for name in ("base", "chat", "difference")]
    assert list(columns) == [*promoted, *(f"suppressed_{name}" for name in promoted)]
    base, chat = (crosscoder.decoder(name).detach() for name in ("base", "chat"))
    for latent in range(N_LATENTS):
        assert columns["tokens/base"][latent] == naive(tiny_pair, "base", base[latent], 4)
        assert columns["tokens/chat"][latent] == naive(tiny_pair, "chat", chat[latent], 4)
        assert columns["tokens/difference"][latent] == naive(
            tiny_pair, "chat", (chat - base)[latent], 4
        )
        lowest = naive(tiny_pair, "chat", -chat[latent], 4)  # the norm keeps the sign
        assert columns["suppressed_tokens/chat"][latent] == lowest
    assert columns["tokens/chat"] != columns["tokens/difference"]


def test_the_jacobian_lens_reads_what_the_later_layers_make_of_a_decoder(crosscoder):
    """Sources are at the last layer of the tiny pair; they are moved to the first one."""
    items = [replace(source, hookpoint="resid_post.0") for source in crosscoder.sources]
    crosscoder.sources = Sources(tuple(items), crosscoder.sources.comparable)
    pair = load_pair("tiny", dtype="float32")
    contexts = LensContexts(torch.arange(6, 86).view(4, 20))
    columns = compute_lens(crosscoder, pair, n=4, contexts=contexts)
    assert list(columns) == [f"jacobian_tokens/{name}" for name in ("base", "chat", "difference")]
    decoders = {name: crosscoder.decoder(name).detach() for name in ("base", "chat")}
    jacobians = {}
    for lm in ("base", "chat"):
        jacobians[lm] = compute_jacobian(pair[lm], Hookpoint.parse("resid_post.0"), contexts)
    for latent in range(N_LATENTS):
        for lm in ("base", "chat"):
            moved = jacobians[lm] @ decoders[lm][latent]
            assert columns[f"jacobian_tokens/{lm}"][latent] == naive(pair, lm, moved, 4)
        difference = jacobians["chat"] @ (decoders["chat"] - decoders["base"])[latent]
        assert columns["jacobian_tokens/difference"][latent] == naive(pair, "chat", difference, 4)
    assert list(columns.values()) != list(compute_lens(crosscoder, pair, n=4).values())
    of_chat = compute_lens(crosscoder, pair, n=4, contexts=contexts, names=["chat"])
    assert list(of_chat) == ["jacobian_tokens/chat", "jacobian_tokens/difference"]
    assert all(columns[name] == tokens for name, tokens in of_chat.items())
    of_base = compute_lens(crosscoder, pair, n=4, contexts=contexts, names=["base"])
    assert list(of_base) == ["jacobian_tokens/base"]


def test_only_common_tokens_are_named_in_the_order_of_their_logits(crosscoder, tiny_pair):
    is_common = torch.zeros(300, dtype=torch.bool)
    is_common[10:40] = True
    every = compute_lens(crosscoder, tiny_pair, n=len(tiny_pair.tokenizer))
    common = compute_lens(crosscoder, tiny_pair, n=4, is_common=is_common)
    names = set(tiny_pair.name_tokens(range(10, 40)))
    for column, rows in common.items():
        for latent, tokens in enumerate(rows):
            assert tokens == [token for token in every[column][latent] if token in names][:4]


def test_logits_of_chosen_tokens_are_those_of_the_whole_vocabulary(crosscoder, tiny_pair):
    directions = crosscoder.decoder("chat").detach()
    ids = torch.tensor([7, 3, 200])
    chosen = compute_logits(tiny_pair["chat"], directions, ids=ids)
    torch.testing.assert_close(chosen, compute_logits(tiny_pair["chat"], directions)[:, ids])


def test_there_may_be_fewer_common_tokens_than_are_asked_for(crosscoder, tiny_pair):
    is_common = torch.tensor([False] * 8 + [True, True])
    columns = compute_lens(crosscoder, tiny_pair, n=4, is_common=is_common)
    assert {frozenset(row) for row in columns["tokens/chat"]} == {
        frozenset(tiny_pair.name_tokens([8, 9]))
    }
    with pytest.raises(NotApplicable, match="no token is common enough"):
        compute_lens(crosscoder, tiny_pair, n=4, is_common=torch.tensor([False]))


def test_the_decoder_s_length_does_not_matter(crosscoder, tiny_pair):
    before = compute_lens(crosscoder, tiny_pair)
    with torch.no_grad():
        crosscoder.W_dec.mul_(torch.linspace(1, 30, N_LATENTS)[:, None])
    assert compute_lens(crosscoder, tiny_pair) == before


def test_the_learnt_weights_of_the_final_norm_matter(crosscoder):
    pair = load_pair("tiny")
    before = compute_lens(crosscoder, pair)["tokens/chat"]
    norm = pair["chat"].get_decoder().norm
    norm.weight.data = torch.linspace(-1, 5, WIDTH)
    directions = crosscoder.decoder("chat").detach()
    scaled = (
        directions / directions.square().mean(-1, keepdim=True).sqrt() * torch.linspace(0, 6, WIDTH)
    )
    expected = scaled @ pair["chat"].get_output_embeddings().weight.T
    torch.testing.assert_close(
        compute_logits(pair["chat"], directions), expected, rtol=1e-3, atol=1e-3
    )
    assert compute_lens(crosscoder, pair)["tokens/chat"] != before


def test_a_latent_that_writes_nothing_has_no_tokens(crosscoder, tiny_pair):
    with torch.no_grad():
        crosscoder.decoder("base")[3] = 0
    columns = compute_lens(crosscoder, tiny_pair, n=2)
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
    items = [
        Source(lm, WIDTH, lm, point) for lm, point in zip(("base", "chat"), hookpoints, strict=True)
    ]
    crosscoder = Crosscoder(Sources(tuple(items), ("chat", "base")), N_LATENTS, TopK(3)).fold()
    suppressed = [f"suppressed_{name}" for name in names]
    assert list(compute_lens(crosscoder, tiny_pair, n=2)) == names + suppressed


def test_each_model_is_loaded_once_and_released(crosscoder, monkeypatch):
    pair = load_pair("tiny", residency="sequential")
    loaded = []
    load = type(pair.lms["base"]).load
    monkeypatch.setattr(
        type(pair.lms["base"]), "load", lambda lm, *args: loaded.append(lm.drift) or load(lm, *args)
    )
    compute_lens(crosscoder, pair)
    assert loaded == [0.0, 0.2]
    assert not pair.models.loaded


def test_in_bfloat16_the_logits_have_the_model_s_dtype(crosscoder):
    model = load_pair("tiny")["chat"].to(torch.bfloat16)
    assert compute_logits(model, crosscoder.decoder("chat")).dtype == torch.bfloat16


def test_an_unfolded_crosscoder_is_refused(tiny_pair):
    with pytest.raises(UserError, match=r"needs a saved \(folded\) crosscoder"):
        compute_lens(crosscoder_of(TopK(3), (WIDTH, WIDTH)), tiny_pair)
