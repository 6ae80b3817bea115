"""The activations of a document do not depend on the others in its row, in any architecture."""

import json
from itertools import islice, pairwise

import pytest
import torch

from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Harvest, Mixing, Splits, Store, Text
from crosscoder.data.corpora.text import Files
from crosscoder.data.tokens import TokenSet
from crosscoder.evals import EvalContext
from crosscoder.evals.splice import SpliceEval
from crosscoder.evals.support.heldout import PlainText
from crosscoder.lm import Pair, TinyLM
from tests.helpers.architectures import build

SEQ_LEN = 24
PACKINGS = {
    "llama": "positions",
    "gpt_oss": "mask",
    "opt": "mask",
    "jamba": "rows",
    "qwen3_5_text": "rows",
    "bloom": "rows",
}
SIZES = {"train": 500, "validation": 60, "heldout": 200}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Text:
    path = tmp_path_factory.mktemp("text") / "documents.jsonl"
    lines = [json.dumps({"text": f"{i} times {i} is {i * i}, " * (1 + i % 3)}) for i in range(150)]
    path.write_text("\n".join(lines))
    return Text([Files([str(path)], heldout_every=3)], [1.0], SEQ_LEN)


@pytest.fixture(scope="module", params=PACKINGS)
def pair(request, tmp_path_factory) -> Pair:
    """Return two models of one architecture in float32."""
    lms, tokenizer = {}, TinyLM(seed=0).load_tokenizer()
    for name in ("base", "chat"):
        model = build(request.param, vocab_size=len(tokenizer))
        if name == "chat":
            for weight in model.parameters():
                weight.data += 0.05 * weight.data.std(correction=0) * torch.randn_like(weight)
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        lms[name] = {"weights": str(folder)}
    pair = Pair(lms, layer=1, dtype="float32", device="cpu", residency="together")
    pair.expected = PACKINGS[request.param]
    return pair


@pytest.fixture(scope="module")
def splits(text, pair, tmp_path_factory) -> Splits:
    root = tmp_path_factory.mktemp("stores")
    return text.make_splits(
        pair, ["resid_post.2"], None, Harvest(root, batch_tokens=96, shard_tokens=120), SIZES
    )


def pieces(store: Store) -> list[tuple[Tokens, torch.Tensor]]:
    tokens = Tokens.cat([store.tokens(shard) for shard in store])
    acts = torch.cat([store.acts(shard, store.sources.names) for shard in store])
    starts = [*(tokens.position == 0).nonzero()[:, 0].tolist(), len(tokens)]
    return [(tokens[a:b], acts[a:b]) for a, b in pairwise(starts)]


def alone(pair: Pair, lm: str, ids: torch.Tensor) -> torch.Tensor:
    """Return the hidden states of transformers after layer 2."""
    return pair[lm](ids[None], output_hidden_states=True, use_cache=False).hidden_states[3][0]


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


def test_activations_of_a_piece_equal_those_without_other_pieces(pair, splits):
    assert splits.heldout.meta["packing"] == pair.expected
    found = pieces(splits.heldout)
    assert len(found) >= 10
    for tokens, acts in found:
        assert len(tokens) <= SEQ_LEN
        assert len(set(tokens.document.tolist())) == 1
        for name, own in splits.heldout.sources.split(acts).items():
            close(own, alone(pair, name, tokens.ids))


@pytest.mark.long
def test_a_stream_yields_the_activations_that_a_store_holds(text, pair, splits, tmp_path):
    from dataclasses import replace

    streaming = replace(text, mode="stream", buffer_tokens=400, sample_tokens=100)
    stream = streaming.make_splits(
        pair, ["resid_post.2"], None, Harvest(tmp_path, batch_tokens=96), SIZES
    ).stream
    batches = list(islice(replace(stream, exclude=("special",)).iter_batches(20, seed=0), 10))
    eligible = torch.cat(
        [acts[tokens.kind != Kind.SPECIAL] for tokens, acts in pieces(splits.train)]
    )
    distances = torch.cdist(torch.cat(batches), eligible)
    assert float(distances.min(1).values.max()) < 1e-3 * float(eligible.norm(dim=1).max())
    assert len(set(distances.argmin(1).tolist())) >= 180  # every token once, except for equal texts


@pytest.mark.long
def test_splicing_the_unchanged_activation_changes_no_figure(pair, splits):
    sources = splits.sources
    d, eye = sources.d_total, torch.eye(sources.d_total)
    both = torch.cat([eye, -eye])
    crosscoder = Crosscoder(sources, 2 * d, ReLU(), init=lambda *_: (both, both.clone())).fold()
    scalars = SpliceEval(n_tokens=100, batch_tokens=48)(
        EvalContext(crosscoder, splits.heldout, pair)
    ).scalars
    for name in sources.names:
        assert scalars[f"ce_spliced/{name}"] == pytest.approx(scalars[f"ce_clean/{name}"], rel=1e-3)
        assert scalars[f"kl/{name}"] < 1e-4
    nothing = Crosscoder(sources, 2 * d, ReLU(), init=lambda *_: (0 * both, 0 * both)).fold()
    scalars = SpliceEval(n_tokens=100, batch_tokens=48)(
        EvalContext(nothing, splits.heldout, pair)
    ).scalars
    assert all(scalars[f"kl/{name}"] > 1e-3 for name in sources.names)


def test_final_hidden_states_of_a_piece_equal_those_without_other_pieces(pair, splits):
    plain = PlainText.from_store(splits.heldout, 60)
    final_states = torch.cat(plain.final_states(pair["chat"]))
    expected = []
    for tokens in plain.batches:
        for row in range(0, len(tokens), SEQ_LEN):
            sequence = tokens[slice(row, row + SEQ_LEN)]
            starts = [i for i in range(SEQ_LEN) if sequence.position[i] == 0] + [SEQ_LEN]
            for a, b in pairwise(starts):
                piece = sequence[slice(a, b)]
                real = int((piece.document == piece.document[0]).sum())
                ids = piece.ids[:real]
                last = (
                    pair["chat"]
                    .get_decoder()(input_ids=ids[None], use_cache=False)
                    .last_hidden_state[0]
                )
                expected.append(last[:-1][piece.kind[: real - 1] != Kind.SPECIAL])
    close(final_states, torch.cat(expected))


def test_activations_of_another_packing_are_not_reused(pair, splits, monkeypatch):
    """The packing is part of the identity of a store."""
    monkeypatch.setattr(
        Pair, "choose_packing", lambda *_: "positions" if pair.expected != "positions" else "mask"
    )
    other = Harvest(splits.heldout.folder.parent).run(
        pair, splits.sources, {"heldout": TokenSet.from_store(splits.heldout)}
    )
    assert other["heldout"].folder != splits.heldout.folder


def test_a_residual_stream_kept_in_float32_is_stored_in_the_models_dtype(text, tmp_path):
    tokenizer = TinyLM(seed=0).load_tokenizer()
    build("mamba", vocab_size=len(tokenizer)).bfloat16().save_pretrained(tmp_path / "mamba")
    tokenizer.save_pretrained(tmp_path / "mamba")
    weights = {"weights": str(tmp_path / "mamba")}
    pair = Pair({"base": weights, "chat": weights}, layer=1, dtype="bfloat16", device="cpu")
    store = text.make_splits(
        pair, ["resid_post.2"], None, Harvest(tmp_path / "stores"), SIZES
    ).heldout
    assert store.acts(0, store.sources.names).dtype == torch.bfloat16
    batch = next(Mixing(store, store.sources).iter_batches(20))
    assert batch.dtype == torch.bfloat16
