"""Packing: every token once, in order, without padding, and without effect on activations."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from crosscoder.core.types import Kind
from crosscoder.data.packing import pack_documents
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import UserError
from crosscoder.lm import Hookpoint, TinyLM
from crosscoder.lm.hooks import read
from crosscoder.lm.text import tokenize

SEQ_LEN = 32
BOS = 2
TEXTS = [
    f"{word} " * (2 + 5 * i % 7)
    for i, word in enumerate(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"])
]
CHATS = [
    [{"role": "user", "content": f"Why {i}?"}, {"role": "assistant", "content": "So. " * i}]
    for i in range(1, 9)
]


@dataclass(frozen=True)
class Listed:
    """A corpus of listed documents, the same in both splits."""

    listed: list
    name: str = "listed"

    def documents(self, split) -> Iterator:
        return iter(self.listed)


@pytest.fixture(scope="module")
def tokenizer():
    return TinyLM(seed=0).load_tokenizer()


def make_token_set(tokenizer, documents: list, n_tokens: int = 192) -> TokenSet:
    return pack_documents(tokenizer, [Listed(documents)], [1.0], "train", n_tokens, SEQ_LEN)


def pieces(token_set: TokenSet) -> list[tuple[int, slice]]:
    """Return (document, slice) of each run of positions 0, 1, 2, …"""
    starts = (token_set.tokens.position == 0).nonzero().flatten().tolist()
    ends = [*starts[1:], len(token_set.tokens)]
    return [
        (int(token_set.tokens.document[a]), slice(a, b)) for a, b in zip(starts, ends, strict=True)
    ]


@pytest.mark.parametrize("n_tokens", [192, 180, 161])
def test_whole_sequences_without_padding(tokenizer, n_tokens):
    token_set = make_token_set(tokenizer, TEXTS, n_tokens)
    assert len(token_set.tokens) == 192
    assert token_set.n_sequences == 6
    assert not (token_set.tokens.ids == tokenizer.pad_token_id).any()


def test_every_piece_and_every_sequence_begins_with_bos(tokenizer):
    token_set = make_token_set(tokenizer, TEXTS)
    ids, positions = token_set.tokens.ids, token_set.tokens.position
    assert (ids.view(-1, SEQ_LEN)[:, 0] == BOS).all()
    assert torch.equal(ids == BOS, positions == 0)
    assert torch.equal(ids == BOS, token_set.tokens.kind == Kind.SPECIAL)
    for _, where in pieces(token_set):
        assert positions[where].tolist() == list(range(where.stop - where.start))
        assert where.start // SEQ_LEN == (where.stop - 1) // SEQ_LEN


@pytest.mark.parametrize("documents", [TEXTS, CHATS])
def test_every_token_occurs_once_in_order_with_its_kind(tokenizer, documents):
    token_set = make_token_set(tokenizer, documents)
    found: dict[int, list] = {}
    for document, where in pieces(token_set):
        body = slice(where.start + 1, where.stop)
        rows = zip(
            token_set.tokens.ids[body].tolist(), token_set.tokens.kind[body].tolist(), strict=True
        )
        found.setdefault(document, []).extend(rows)
    *whole, (last, cut) = found.items()
    for document, rows in whole:
        ids, kinds = tokenize(tokenizer, documents[document])
        assert rows == list(zip(ids, kinds, strict=True))[1:]
    ids, kinds = tokenize(tokenizer, documents[last])
    assert cut == list(zip(ids, kinds, strict=True))[1 : 1 + len(cut)]
    assert list(found) == list(range(len(found)))


def test_packed_activations_equal_those_of_each_piece_alone(tokenizer, tiny_pair):
    token_set, site = make_token_set(tokenizer, TEXTS), Hookpoint(1, "resid_post")
    ids, positions = (
        column.view(-1, SEQ_LEN) for column in (token_set.tokens.ids, token_set.tokens.position)
    )
    together = read(tiny_pair["chat"], [site], ids, positions)[site].flatten(0, 1)
    shared = 0
    for _, where in pieces(token_set):
        alone = read(
            tiny_pair["chat"],
            [site],
            token_set.tokens.ids[None, where],
            token_set.tokens.position[None, where],
        )
        torch.testing.assert_close(together[where], alone[site][0], atol=1e-5, rtol=1e-4)
        shared += where.start % SEQ_LEN != 0
    assert shared >= 3  # pieces that have others before them in their sequence


def test_shares_are_respected(tokenizer):
    corpora = [
        Listed([f"{i:03d}" * 8 for i in range(300)]),
        Listed([f"x{i:03d}" * 4 for i in range(300)]),
    ]
    token_set = pack_documents(tokenizer, corpora, [0.75, 0.25], "train", 6400, SEQ_LEN)
    first_ids = {
        int(token_set.tokens.document[w]): token_set.tokens.ids[w + 1] for w in _starts(token_set)
    }
    from_second = {
        document
        for document, token in first_ids.items()
        if token == tokenizer.convert_tokens_to_ids("x")
    }
    share = torch.isin(token_set.tokens.document, torch.tensor(sorted(from_second))).float().mean()
    assert float(share) == pytest.approx(0.25, abs=0.02)


def _starts(token_set: TokenSet) -> list[int]:
    """Return the first row of each document."""
    document = token_set.tokens.document
    return [0, *((document[1:] != document[:-1]).nonzero().flatten() + 1).tolist()]


def test_a_long_document_does_not_fill_the_share_of_its_corpus(tokenizer):
    token_set = make_token_set(tokenizer, ["a" * 100_000, *(["bcd" * 100] * 100)], n_tokens=6400)
    longest = torch.bincount(token_set.tokens.document).max()
    assert longest <= 6400 / 8 + 6400 / 8 / SEQ_LEN + 1  # with the BOS of its pieces
    assert longest > 6400 / 8 - SEQ_LEN


def test_empty_documents_change_nothing(tokenizer):
    with_empty = make_token_set(tokenizer, [TEXTS[0], "", *TEXTS[1:]])
    assert torch.equal(with_empty.tokens.ids, make_token_set(tokenizer, TEXTS).tokens.ids)


def test_the_hash_covers_what_the_models_see(tokenizer):
    token_set = make_token_set(tokenizer, TEXTS)
    assert make_token_set(tokenizer, TEXTS).sha256 == token_set.sha256
    assert make_token_set(tokenizer, TEXTS[::-1]).sha256 != token_set.sha256
    assert make_token_set(tokenizer, TEXTS, 160).sha256 != token_set.sha256
    assert TokenSet(token_set.tokens, 2 * SEQ_LEN).sha256 != token_set.sha256


def test_sequences_are_slices_of_the_rows(tokenizer):
    token_set = make_token_set(tokenizer, TEXTS)
    part = token_set.get_sequences(2, 4)
    assert torch.equal(part.ids, token_set.tokens.ids[2 * SEQ_LEN : 4 * SEQ_LEN])


def test_a_tokenizer_without_bos_gets_no_replacement():
    tokenizer = TinyLM(seed=0).load_tokenizer()
    tokenizer.bos_token = None
    ids = make_token_set(tokenizer, TEXTS).tokens.ids.tolist()
    assert ids == [token for text in TEXTS for token in tokenize(tokenizer, text)[0]][:192]


@pytest.mark.parametrize(("n_tokens", "seq_len"), [(0, 32), (-5, 32), (100, 1), (100, 0)])
def test_zero_tokens_and_sequences_of_one_are_refused(tokenizer, n_tokens, seq_len):
    with pytest.raises(
        UserError, match=f"at least 1 token in sequences of at least 2, not {n_tokens} in {seq_len}"
    ):
        pack_documents(tokenizer, [Listed(TEXTS)], [1.0], "train", n_tokens, seq_len)


def test_too_little_text_is_an_error_with_its_number_of_tokens(tokenizer):
    with pytest.raises(
        UserError, match=r"data has only \d+ train tokens, 100,000 were asked for; lower n_tokens"
    ):
        make_token_set(tokenizer, TEXTS, 100_000)
