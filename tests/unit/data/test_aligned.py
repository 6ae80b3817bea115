"""Two models with different tokenizers: rows are pairs, and sequences hold the same text."""

from dataclasses import replace

import pytest
import torch

from crosscoder.core.types import Kind
from crosscoder.data import Harvest, Splits, Text, forward
from crosscoder.data.aligned import AlignedTokenSet, pack_aligned
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm import Hookpoint, Pair, load_pair
from crosscoder.lm.hooks import read
from tests.unit.data.test_tokens import CHATS, Listed

SEQ_LEN = 32
TEXTS = [f"Line {i} says that {i * i} is {i} times {i}, naïve as it was." for i in range(60)]
SIZES = {"train": 400, "validation": 40, "heldout": 60}


@pytest.fixture(scope="module")
def pair() -> Pair:
    """Return models of different widths and tokenizers: bytes with BOS, and words without."""
    lms = {"base": {"seed": 0}, "chat": {"seed": 1, "words": True, "d_model": 48}}
    return load_pair("tiny", lms=lms, align="spans")


def pack_pairs(
    pair: Pair, documents: list, n_tokens: int = 100, seq_len: int = SEQ_LEN
) -> AlignedTokenSet:
    return pack_aligned(
        pair.tokenizers, pair.leader, [Listed(documents)], [1.0], "train", n_tokens, seq_len
    )


def pieces(own, seq_len: int = SEQ_LEN) -> list[slice]:
    """Return the slices where positions rise from 0, with those of padding."""
    starts = (own.position == 0).nonzero()[:, 0].tolist()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(own)], strict=True)]


def read_until(pair: Pair, tokens: AlignedTokenSet, lm: str) -> list[str]:
    """Return for each row the text that the model has read of its piece."""
    own, texts = tokens.own[lm], []
    begins = {row: piece.start for piece in pieces(own) for row in range(piece.start, piece.stop)}
    for row in tokens.rows[lm].tolist():
        texts.append(
            pair.tokenizers[lm].decode(
                own.ids[begins[row] : row + 1].tolist(), skip_special_tokens=True
            )
        )
    return [text.strip() for text in texts]


@pytest.mark.parametrize("n_tokens", [1, 100, 333])
def test_all_models_have_read_the_same_text_at_every_row(pair, n_tokens):
    tokens = pack_pairs(pair, TEXTS, n_tokens)
    base, chat = (read_until(pair, tokens, lm) for lm in ("base", "chat"))
    assert base == chat
    assert len(base) == len(tokens.tokens) >= n_tokens
    assert all(
        text and text in whole
        for text, whole in zip(base, (TEXTS[d] for d in tokens.tokens.document), strict=True)
    )


def test_rows_are_the_leaders_tokens_and_cover_the_same_characters_in_all_models(pair):
    tokens = pack_pairs(pair, TEXTS)
    assert torch.equal(tokens.tokens.ids, tokens.own["chat"].ids[tokens.rows["chat"]])
    said = [
        [pair.tokenizers[lm].decode([i]).strip() for i in own.ids[tokens.rows[lm]]]
        for lm, own in tokens.own.items()
    ]
    assert said[0] == said[1]
    assert tokens.tokens.is_content.all()


def test_sequences_are_filled_up_with_padding_that_is_never_paired(pair):
    tokens = pack_pairs(pair, TEXTS)
    for lm, own in tokens.own.items():
        assert len(own) == tokens.n_sequences * SEQ_LEN
        padding = own.document.view(-1, SEQ_LEN) == -1
        assert (padding.int().diff(dim=1) >= 0).all()
        assert (own.kind[padding.flatten()] == Kind.SPECIAL).all()
        assert not padding.flatten()[tokens.rows[lm]].any()
        assert padding.sum(1).max() < SEQ_LEN
    assert any((own.document == -1).any() for own in tokens.own.values())


def test_every_piece_begins_with_the_models_own_bos_and_ends_with_a_pair(pair):
    tokens = pack_pairs(pair, TEXTS)
    for lm, own in tokens.own.items():
        paired = torch.zeros(len(own), dtype=torch.bool)
        paired[tokens.rows[lm]] = True
        for piece in pieces(own):
            assert own.position[piece].tolist() == list(range(piece.stop - piece.start))
            if own.document[piece.start] != -1:
                assert paired[piece.stop - 1]
                assert (int(own.ids[piece.start]) == 2) == (lm == "base")
    assert len(pieces(tokens.own["base"])) > tokens.n_sequences


def test_only_the_words_of_chats_are_paired(pair):
    tokens = pack_pairs(pair, CHATS, 60)
    assert (tokens.tokens.kind == Kind.CHAT).all()
    assert "<start_of_turn>" in pair.tokenizers["chat"].decode(tokens.own["chat"].ids)


def test_text_without_a_pair_for_longer_than_a_sequence_is_left_out(pair):
    gap = "3 is" + " that" * 10 + " 4 is 5."
    tokens = pack_pairs(pair, [gap, "1 and 2 and 3."], 8)
    assert pair.tokenizers["chat"].decode(tokens.tokens.ids) == "34 5.1 2 3."


def test_too_little_aligned_text_is_an_error(pair):
    with pytest.raises(
        UserError, match=r"data has only \d+ paired train tokens, 500 were asked for"
    ):
        pack_pairs(pair, TEXTS[:3], 500)
    with pytest.raises(UserError, match="at least 1 token in sequences of at least 2"):
        pack_pairs(pair, TEXTS, 0)


def test_the_hash_covers_what_every_model_sees(pair):
    tokens = pack_pairs(pair, TEXTS)
    assert pack_pairs(pair, TEXTS).sha256 == tokens.sha256
    assert pack_pairs(pair, TEXTS[1:]).sha256 != tokens.sha256
    assert (
        replace(tokens, rows=tokens.rows | {"base": tokens.rows["base"] - 1}).sha256
        != tokens.sha256
    )


# --- harvested ---


@pytest.fixture(scope="module")
def splits(pair, tmp_path_factory) -> Splits:
    """Harvest a training store of three shards, and the other stores."""
    harvest = Harvest(
        tmp_path_factory.mktemp("aligned"), batch_tokens=2 * SEQ_LEN, shard_tokens=6 * SEQ_LEN
    )
    return Text([Listed(TEXTS)], [1.0], SEQ_LEN).make_splits(
        pair, ["resid_post.1"], None, harvest, SIZES
    )


@pytest.mark.long
def test_aligned_activations_equal_those_of_each_piece_alone(pair, splits):
    tokens, store, site = (
        pack_pairs(pair, TEXTS, SIZES["train"]),
        splits.train,
        Hookpoint(1, "resid_post"),
    )
    assert len(set(store.counts)) > 1
    assert sum(store.counts) == len(tokens.tokens)
    for lm, own in tokens.own.items():
        alone = torch.cat(
            [
                read(pair[lm], [site], own.ids[None, piece], own.position[None, piece])[site][0]
                for piece in pieces(own)
            ]
        )
        acts = torch.cat([store.acts(shard, [lm]) for shard in store])
        torch.testing.assert_close(acts, alone[tokens.rows[lm]], atol=1e-5, rtol=1e-4)
    assert torch.equal(torch.cat([store.tokens(shard).ids for shard in store]), tokens.tokens.ids)


def test_meta_says_that_tokens_are_paired_and_how_many(pair, splits):
    meta, tokens = splits.train.meta, pack_pairs(pair, TEXTS, SIZES["train"])
    assert meta["aligned"] == "spans"
    for lm, own in tokens.own.items():
        text = (own.kind == Kind.PLAIN).sum()
        assert meta["kept"][lm] == pytest.approx(len(tokens.tokens) / float(text))
    assert Pair.from_spec(meta["pair"], "cpu").is_aligned


def test_a_second_harvest_computes_nothing_and_reuses_each_source(pair, splits, monkeypatch):
    monkeypatch.setattr(forward, "read", None)
    harvest = Harvest(
        splits.train.folder.parent, batch_tokens=2 * SEQ_LEN, shard_tokens=6 * SEQ_LEN
    )
    text = Text([Listed(TEXTS)], [1.0], SEQ_LEN)
    assert (
        text.make_splits(pair, ["resid_post.1"], None, harvest, SIZES).train.folder
        == splits.train.folder
    )
    alone = text.make_splits(pair, ["resid_post.1"], ["base"], harvest, SIZES).train
    assert torch.equal(alone.acts(0, ["base"]), splits.train.acts(0, ["base"]))


def test_models_cannot_be_run_on_the_stores_tokens_again(splits):
    with pytest.raises(NotApplicable, match="needs one tokenizer for all models"):
        TokenSet.from_store(splits.heldout)


def test_a_stream_needs_one_tokenizer(pair, splits):
    text = Text([Listed(TEXTS)], [1.0], SEQ_LEN, mode="stream")
    with pytest.raises(UserError, match=r"data\.mode=stream needs one tokenizer"):
        text.make_splits(pair, ["resid_post.1"], None, Harvest(splits.train.folder.parent), SIZES)


def test_without_alignment_different_tokenizers_are_refused(pair, tmp_path):
    spec = {key: value for key, value in pair.spec().items() if key != "align"}
    other = Pair.from_spec(spec, "cpu")
    with pytest.raises(UserError, match=r"different tokenizers: .*models\.align=spans"):
        Text([Listed(TEXTS)], [1.0], SEQ_LEN).make_splits(
            other, ["resid_post.1"], None, Harvest(tmp_path), SIZES
        )
