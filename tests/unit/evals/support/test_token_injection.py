"""The token-injection test, on models whose activations are a known function of the tokens."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from crosscoder.analysis.spans import PairedReading, SpanReport
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder
from crosscoder.core.reading import Reading
from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Store
from crosscoder.evals import EvalContext
from crosscoder.evals.support import token_injection
from crosscoder.evals.support.token_injection import (
    N_INSERTED,
    PSEUDOCOUNT,
    Injection,
    compute_rise,
    count_triggered,
    find_maxima,
    find_top_tokens,
    inject_tokens,
    insert,
    take_texts,
)
from tests.helpers.small import crosscoder_of, sources_of

WIDTH = 3
WORD, FIRST, SECOND = 7, 8, 9  # SECOND counts only right after FIRST
SEQ_LEN = 12
BOS = 2


def activate(ids: list[int]) -> Tensor:
    """Return activations of a text: WORD, then SECOND after FIRST, then a constant, [n, 6]."""
    acts = torch.zeros(len(ids), 2 * WIDTH)
    for place, token in enumerate(ids):
        previous = ids[place - 1] if place else None
        acts[place, 0] = float(token == WORD)
        acts[place, 1] = float(token == SECOND and previous == FIRST)
        acts[place, 2] = 0.25
    return acts


def read_ids(texts: list[list[int]]) -> Reading:
    """Read texts; BOS is put before each."""
    texts = [[BOS, *text] for text in texts]
    ids = torch.tensor([token for text in texts for token in text])
    lengths = torch.tensor([len(text) for text in texts])
    document = torch.arange(len(texts)).repeat_interleave(lengths)
    kind = torch.where(ids == BOS, Kind.SPECIAL, Kind.PLAIN)
    tokens = Tokens(ids, torch.zeros_like(ids), document, kind)
    acts = torch.cat([activate(text) for text in texts])
    return Reading(acts, tokens, [str(one) for one in ids.tolist()], sources_of(WIDTH, WIDTH))


def draw_text(generator: np.random.Generator) -> list[int]:
    """Return tokens from 20 on, which activate nothing but the constant."""
    return generator.integers(20, 60, SEQ_LEN).tolist()


@pytest.fixture
def crosscoder() -> Crosscoder:
    """Latent 0 is active on WORD, 1 on SECOND after FIRST, 2 everywhere."""
    made = Crosscoder(sources_of(WIDTH, WIDTH), 3, ReLU())
    with torch.no_grad():
        for weight in made.parameters():
            weight.zero_()
        made.W_enc[:, :WIDTH] = torch.eye(WIDTH)
        made.W_dec[:, :WIDTH] = torch.eye(WIDTH)
    return made.fold()


@pytest.fixture
def store(tmp_path) -> Store:
    """Texts, of which some contain WORD, and others SECOND after FIRST or alone."""
    generator = np.random.default_rng(0)
    texts = [draw_text(generator) for _ in range(12)]
    for number, text in enumerate(texts):
        if number % 4 == 1:
            text[5] = WORD
        if number % 4 == 2:
            text[4:6] = [FIRST, SECOND]
    return write_store(tmp_path / "store", texts)


def write_store(folder, texts: list[list[int]], kind: int = Kind.PLAIN) -> Store:
    """Write a store of these texts, each a sequence of its own."""
    reading = torch.cat([activate(text) for text in texts])
    ids = torch.tensor(texts)
    entry = {"width": WIDTH, "hookpoint": ""}
    meta = {
        "sources": {name: entry | {"lm": name} for name in ("base", "chat")},
        "contrast": None,
        "dtype": "float32",
        "counts": [ids.numel()],
        "seq_len": SEQ_LEN,
        "tokens_sha256": "of nothing",
    }
    store = Store.create(folder, meta)
    position = torch.arange(SEQ_LEN).expand_as(ids)
    document = torch.arange(len(texts))[:, None].expand_as(ids)
    kinds = torch.full_like(ids, kind)
    columns = [one.flatten().contiguous() for one in (ids, position, document, kinds)]
    store.write(0, "tokens", Tokens(*columns).tensors())
    for number, name in enumerate(("base", "chat")):
        acts = reading[:, number * WIDTH : (number + 1) * WIDTH]
        store.write(0, name, {"acts": acts.contiguous()})
    return store


@pytest.fixture
def prompts() -> PairedReading:
    """Two pairs; the first prompts contain WORD, and SECOND after FIRST."""
    reading = read_ids([[WORD, FIRST, SECOND], [WORD, FIRST, SECOND], [30, 31, 32], [30, 33, 34]])
    rows = reading.tokens.is_content.nonzero()[:, 0]
    spans = SpanReport("prompt", 2, 2, (3.0, 3.0), (3.0, 3.0), 0, (3.0, 3.0))
    return PairedReading(reading, rows, 2, spans)


@pytest.fixture
def outcomes(crosscoder, store, prompts, tiny_pair, monkeypatch) -> list[Injection]:
    monkeypatch.setattr(token_injection, "_read", lambda crosscoder, pair, texts: read_ids(texts))
    return inject_tokens(EvalContext(crosscoder, store, None), tiny_pair, prompts, [1, 0, 2])


def test_a_latent_of_a_word_is_triggered_and_one_that_needs_the_word_before_is_not(
    outcomes, tiny_pair
):
    needs_context, word, constant = outcomes
    assert [one.latent for one in outcomes] == [1, 0, 2]
    assert word.tokens == tiny_pair.name_tokens([WORD])
    assert word.contrast == 1
    # 3 of the 12 texts contain the word already
    assert word.rise == pytest.approx(0.75)
    assert needs_context.tokens == tiny_pair.name_tokens([SECOND])
    assert needs_context.contrast == 1
    assert needs_context.rise == pytest.approx(0)
    assert needs_context.is_triggered == 0
    # it is active on both kinds of prompts
    assert constant.effect is None
    assert constant.is_triggered is None


def test_the_effect_is_in_units_of_the_contrast(outcomes):
    word = outcomes[1]
    assert word.effect == pytest.approx(0.75)
    assert word.is_triggered == 0
    weaker = dataclasses.replace(word, contrast=0.5)
    assert weaker.effect == pytest.approx(1.5)
    assert weaker.is_triggered == 1
    assert count_triggered([word, weaker, outcomes[2]]) == 1
    json.dumps([weaker.make_row(), weaker.make_columns(), outcomes[2].make_columns()])


def test_a_latent_of_a_word_is_triggered_where_no_text_contains_it(
    crosscoder, store, prompts, tiny_pair, monkeypatch
):
    monkeypatch.setattr(token_injection, "_read", lambda crosscoder, pair, texts: read_ids(texts))
    generator = np.random.default_rng(1)
    plain = [draw_text(generator) for _ in range(4)]
    monkeypatch.setattr(token_injection, "take_texts", lambda *given: plain)
    context = EvalContext(crosscoder, store, None)
    word, needs_context = inject_tokens(context, tiny_pair, prompts, [0, 1])
    assert (word.effect, word.is_triggered) == (1, 1)
    assert (needs_context.effect, needs_context.is_triggered) == (0, 0)


def test_the_top_tokens_are_those_of_a_loop(tmp_path):
    generator = np.random.default_rng(3)
    texts = [generator.integers(3, 12, SEQ_LEN).tolist() for _ in range(20)]
    store = write_store(tmp_path / "store", texts)
    crosscoder = crosscoder_of(ReLU(), (WIDTH, WIDTH), 6).fold()
    latents = [4, 1]
    found = find_top_tokens(crosscoder, store, latents, 5)
    for latent, tokens in zip(latents, found, strict=True):
        sums: dict[int, float] = {}
        counts: dict[int, int] = {}
        for text in texts:
            code = crosscoder.encode(activate(text)).to_dense()[:, latent].tolist()
            for token, value in zip(text, code, strict=True):
                sums[token] = sums.get(token, 0) + value
                counts[token] = counts.get(token, 0) + 1
        scores = {token: sums[token] / (counts[token] + PSEUDOCOUNT) for token in sums}
        expected = sorted((one for one in scores if scores[one] > 0), key=lambda t: -scores[t])
        assert tokens == expected[:5]


def test_the_maxima_are_those_of_a_loop():
    crosscoder = crosscoder_of(ReLU(), (WIDTH, WIDTH), 6).fold()
    reading = read_ids([[WORD, 30], [FIRST, SECOND, WORD], [31]])
    reading.acts.add_(torch.randn(reading.acts.shape, generator=torch.Generator().manual_seed(0)))
    rows = reading.tokens.is_content.nonzero()[:, 0]
    maxima = find_maxima(crosscoder, reading, rows, 3, [5, 0])
    dense = crosscoder.encode(reading.acts).to_dense().detach()
    for document in range(3):
        is_own = (reading.tokens.document == document) & reading.tokens.is_content
        expected = dense[is_own][:, [5, 0]].max(0).values
        assert maxima[document].tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_cohen_s_d_divides_by_the_pooled_deviation():
    before = torch.tensor([0.0, 1.0, 2.0])
    after = torch.tensor([4.0, 4.0, 7.0])
    rise, d = compute_rise(before, after)
    assert rise == pytest.approx(4)
    pooled = np.sqrt((np.var([0, 1, 2]) + np.var([4, 4, 7])) / 2)
    assert d == pytest.approx(4 / pooled)
    assert compute_rise(torch.zeros(3), torch.zeros(3)) == (0, 0)


def test_inserted_tokens_leave_the_others_in_their_order():
    generator = np.random.default_rng(0)
    text = list(range(100, 120))
    places = set()
    for _ in range(50):
        found = insert(text, [1, 2, 3, 4, 5], generator)
        inserted = [token for token in found if token < 100]
        assert [token for token in found if token >= 100] == text
        assert len(set(inserted)) == len(inserted) == N_INSERTED
        places.update(place for place, token in enumerate(found) if token < 100)
    assert {0, len(text) + N_INSERTED - 1} <= places
    assert insert(text, [1], generator).count(1) == 1
    assert insert(text, [], generator) == text


def test_texts_are_plain_or_chats_if_there_is_nothing_else(tmp_path):
    generator = np.random.default_rng(0)
    texts = [draw_text(generator) for _ in range(5)]
    for kind in (Kind.PLAIN, Kind.CHAT):
        store = write_store(tmp_path / str(kind), texts, kind)
        assert take_texts(store, 2, 4) == [texts[0][:4], texts[2][:4]]
        assert len(take_texts(store, 50, 100)) == 5


def test_ids_are_read_as_the_text_that_they_stand_for(tiny_pair):
    crosscoder = crosscoder_of(ReLU(), (32, 32), 6).fold()
    expected = tiny_pair.read(["One text.", "Another, longer one"])
    texts = []
    for document in range(2):
        is_own = (expected.tokens.document == document) & expected.tokens.is_content
        texts.append(expected.tokens.ids[is_own].tolist())
    found = token_injection._read(crosscoder, tiny_pair, texts)
    torch.testing.assert_close(found.acts, expected.acts)
    assert torch.equal(found.tokens.is_content, expected.tokens.is_content)
