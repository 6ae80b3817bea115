"""Rows without a document are left out, counted and logged; too many of them are an error."""

import json
import logging
from dataclasses import replace
from itertools import islice

import pytest
import torch

from crosscoder.data import Harvest, Stream, Text, packing
from crosscoder.data.aligned import pack_aligned
from crosscoder.data.corpora.tally import Tally
from crosscoder.data.corpora.text import Files
from crosscoder.data.packing import pack_documents
from crosscoder.data.shortage import make_shortage_error
from crosscoder.errors import UserError
from crosscoder.lm import TinyLM, load_pair, text
from tests.helpers.chat_templates import CHATML, GEMMA2, LLAMA3
from tests.unit.data.test_tokens import TEXTS, Listed

SEQ_LEN = 32
REFUSED = [{"role": role, "content": "a"} for role in ("user", "assistant", "tool")]
SYSTEM = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]
FINE = [{"role": "user", "content": "Why is it so?"}, {"role": "assistant", "content": "So it is."}]


@pytest.fixture(scope="module")
def tokenizer():
    made = TinyLM(0).load_tokenizer()
    made.chat_template = GEMMA2
    return made


def make_token_set(tokenizer, documents: list, n_tokens: int = 192, **options):
    return pack_documents(
        tokenizer, [Listed(documents)], [1.0], "train", n_tokens, SEQ_LEN, **options
    )


def said(caplog) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("crosscoder.data")
    ]


@pytest.mark.parametrize(
    "bad",
    [None, 5, [], REFUSED, [{"role": "system", "content": "x"}], "\ud800", [{"role": "user"}]],
)
def test_invalid_documents_change_only_the_log_and_the_meta(tokenizer, bad, caplog):
    clean = TEXTS[:4] * 8
    mixed = [*TEXTS[:2], bad, *TEXTS[2:4], *TEXTS[:4] * 7]
    with caplog.at_level(logging.WARNING):
        tokens = make_token_set(tokenizer, mixed)
    expected = make_token_set(tokenizer, clean)
    assert torch.equal(tokens.tokens.ids, expected.tokens.ids)
    assert tokens.sha256 == expected.sha256
    assert expected.meta == {}
    skipped = tokens.meta["skipped"]
    assert skipped["rows"] == 1
    assert skipped["first"][0].startswith("listed, train document 3: ")
    (line,) = said(caplog)
    assert line.startswith(
        f"train data: 1 of {skipped['of']} rows were left out (listed, train document 3: "
    )
    assert "\n" not in line


def test_meta_says_why_a_template_refuses_a_chat(tokenizer):
    tokens = make_token_set(tokenizer, [FINE, REFUSED, *[FINE] * 20])
    assert "Conversation roles must alternate" in tokens.meta["skipped"]["first"][0]


def test_a_chat_that_one_of_several_templates_refuses_is_left_out(tokenizer, caplog):
    other = TinyLM(0, words=True).load_tokenizer()
    args = [Listed([FINE, REFUSED, *[FINE] * 20])], [1.0], "train", 60, SEQ_LEN
    tokens = pack_aligned({"base": other, "chat": tokenizer}, "chat", *args)
    assert tokens.meta["skipped"]["rows"] == 1
    assert "kept" in tokens.meta
    assert len(said(caplog)) == 1


def test_invalid_rows_at_the_beginning_are_left_out(tokenizer):
    assert make_token_set(tokenizer, [None] * 3 + TEXTS * 10, 1280).meta["skipped"]["rows"] == 3


@pytest.mark.parametrize(("n_bad", "n_good"), [(21, 1000), (4, 30), (500, 500)])
def test_too_many_invalid_rows_are_an_error_that_names_the_first(tokenizer, n_bad, n_good):
    documents = [None] * n_bad + ["A line of text."] * n_good
    with pytest.raises(
        UserError, match=r"too many unusable rows: \d+ of \d+ rows were left out"
    ) as error:
        make_token_set(tokenizer, documents, 15 * n_good)
    assert "listed, train document 1: expected text or a list of messages, found None" in str(
        error.value
    )
    assert "data.max_unusable" in str(error.value)


def test_the_largest_fraction_of_invalid_rows_can_be_set(tokenizer):
    documents = [None if i % 3 == 0 else TEXTS[i % 8] for i in range(90)]
    assert make_token_set(tokenizer, documents, max_unusable=0.5).meta["skipped"]["rows"] > 1
    with pytest.raises(UserError, match="at most 0% may be"):
        make_token_set(tokenizer, documents, max_unusable=0.0)


def test_fewer_than_twenty_rows_may_have_any_fraction_of_invalid_ones(tokenizer):
    tokens = make_token_set(tokenizer, [None] * 5 + ["A line of text. " * 20] * 5, 192)
    assert tokens.meta["skipped"]["rows"] == 5


def test_the_error_about_too_few_tokens_lists_the_rows_left_out(tokenizer):
    with pytest.raises(
        UserError, match=r"data has only \d+ train tokens, .*; 1 of 3 rows were left out \(listed"
    ):
        make_token_set(tokenizer, ["a", None, "b"])


def test_a_missing_template_is_an_error_not_an_invalid_row(tokenizer):
    plain = TinyLM(0).load_tokenizer()
    plain.chat_template = None
    with pytest.raises(UserError, match="a chat needs a tokenizer with a chat template"):
        make_token_set(plain, [FINE] * 100)


def test_chats_that_are_changed_to_fit_the_template_are_counted(tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        tokens = make_token_set(tokenizer, [FINE, SYSTEM, *[FINE] * 20])
    expected = make_token_set(
        tokenizer, [FINE, [{"role": "user", "content": "Be kind.\n\nWhy?"}], *[FINE] * 20]
    )
    assert tokens.sha256 == expected.sha256
    assert expected.meta == {}
    merged = tokens.meta["merged"]
    assert (merged["rows"], tokens.meta.get("skipped")) == (1, None)
    (line,) = said(caplog)
    assert line.startswith(
        f"train data: 1 of {merged['of']} chats were changed because the chat template refuses them"
    )


def test_chats_that_fit_the_template_are_not_changed():
    other = TinyLM(0).load_tokenizer()
    other.chat_template = CHATML
    assert make_token_set(other, [SYSTEM, REFUSED] * 30).meta == {}


def test_a_chat_is_changed_for_all_of_several_tokenizers(tokenizer):
    other = TinyLM(0, words=True).load_tokenizer()
    other.chat_template = CHATML
    args = [1.0], "train", 60, SEQ_LEN
    found = pack_aligned({"base": other, "chat": tokenizer}, "chat", [Listed([SYSTEM] * 20)], *args)
    merged = [Listed([[{"role": "user", "content": "Be kind.\n\nWhy?"}]] * 20)]
    expected = pack_aligned({"base": other, "chat": tokenizer}, "chat", merged, *args)
    assert found.sha256 == expected.sha256
    assert found.meta["merged"]["rows"] > 0


def test_the_error_about_a_split_without_documents_explains_the_splits(tokenizer):
    with pytest.raises(
        UserError,
        match="only 0 train tokens, .* this split has no document.* "
        r"lower data\.corpora\.0\.heldout_every",
    ):
        make_token_set(tokenizer, [])


def test_empty_documents_are_counted(tokenizer):
    with pytest.raises(UserError, match=r"only 0 train tokens, .*; 30 of 30 rows are empty"):
        make_token_set(tokenizer, [""] * 30)


def test_the_error_about_too_long_sequences_names_seq_len(tokenizer):
    with pytest.raises(
        UserError,
        match=r"only \d+ train tokens, 64 .*do not fill a sequence of data\.seq_len=100,000",
    ):
        pack_documents(tokenizer, [Listed(TEXTS)], [1.0], "train", 64, 100_000)
    with pytest.raises(UserError, match=r"no pair of tokens fits into data\.seq_len=2: raise it"):
        raise make_shortage_error("train", 0, 64, 2, "paired ")


def test_the_error_about_too_few_tokens_counts_the_documents_that_were_cut(tokenizer):
    with pytest.raises(
        UserError, match=r"2 of 2 documents are longer than an eighth .* several documents"
    ):
        make_token_set(tokenizer, ["A line of text. " * 100] * 2, 4000)


@pytest.mark.long
def test_only_the_beginning_of_a_huge_text_is_tokenised(tokenizer, monkeypatch):
    seen = []

    def tokenize(tokenizer, document):
        seen.append(len(document))
        return text.tokenize(tokenizer, document)

    monkeypatch.setattr(packing, "tokenize", tokenize)
    huge = "Some words. " * 100_000
    found = make_token_set(tokenizer, [huge] * 20, 2000)
    assert max(seen) == 100_000
    assert found.sha256 == make_token_set(tokenizer, [huge[:50_000]] * 20, 2000).sha256


# --- stores and streams ---


@pytest.fixture
def lines(tmp_path):
    """Write a file in which every twentieth row is empty."""
    rows = [{"text": None if i % 20 == 9 else f"{i} squared is {i * i}. " * 4} for i in range(300)]
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Text([Files([str(path)])], [1.0], SEQ_LEN)


SIZES = {"train": 2000, "validation": 64, "heldout": 64}


def test_rows_left_out_are_in_the_meta_but_not_in_the_hash(lines, tiny_pair, tmp_path):
    (path,) = lines.corpora[0].paths
    splits = lines.make_splits(
        tiny_pair, ["resid_post.1"], None, Harvest(tmp_path / "a", 128), SIZES
    )
    skipped = splits.train.meta["skipped"]
    assert skipped["rows"] > 0
    assert skipped["first"][0].startswith(f"{path}, line 10: expected text")
    tokens = pack_documents(tiny_pair.tokenizer, lines.corpora, [1.0], "train", 2000, SEQ_LEN)
    assert splits.train.tokens_sha256 == replace(tokens, notes={}).sha256


def taken(stream: Stream, n: int, first: int = 0) -> list:
    """Take some batches, and close the stream: the models serve one stream at a time."""
    batches = stream.iter_batches(40, first=first)
    found = list(islice(batches, n))
    batches.close()
    return found


@pytest.mark.long
def test_a_stream_skips_invalid_rows_and_resumes_at_any_batch(lines, tiny_pair, tmp_path, caplog):
    data = replace(lines, mode="stream", buffer_tokens=800, sample_tokens=320)
    splits = data.make_splits(
        tiny_pair, ["resid_post.1"], None, Harvest(tmp_path / "a", 128), SIZES
    )
    caplog.clear()
    batches, later = taken(splits.stream, 34), taken(splits.stream, 4, first=30)
    assert all(torch.equal(a, b) for a, b in zip(batches[30:], later, strict=True))
    lines_said = said(caplog)
    assert lines_said[0].startswith("a row of the train data is left out: ")
    assert any(line.startswith("train data: ") for line in lines_said)


@pytest.mark.long
def test_a_stream_with_too_many_invalid_rows_is_an_error(tmp_path, tiny_pair):
    path = tmp_path / "lines.jsonl"
    rows = [{"text": "A line of text. " * 8}] * 100 + [{"text": None}] * 100
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = Text(
        [Files([str(path)])], [1.0], SEQ_LEN, mode="stream", buffer_tokens=800, sample_tokens=320
    )
    sizes = {"train": 1_000_000, "validation": 64, "heldout": 64}
    splits = data.make_splits(
        tiny_pair, ["resid_post.1"], None, Harvest(tmp_path / "a", 128), sizes
    )
    with pytest.raises(UserError, match="the train data have too many unusable rows"):
        for _ in splits.stream.iter_batches(40):
            pass


# --- the date that templates write ---


@pytest.mark.long
def test_the_date_that_a_template_writes_is_recorded(tokenizer):
    dated = TinyLM(0).load_tokenizer()
    dated.chat_template = LLAMA3
    assert make_token_set(dated, [FINE] * 20).meta == {"template_date": "2024-07-26"}
    assert make_token_set(dated, TEXTS * 3).meta == {}
    assert make_token_set(tokenizer, [FINE] * 20).meta == {}


def test_the_date_is_in_the_stores_meta(tmp_path):
    pair = load_pair("tiny")
    pair.tokenizer.chat_template = LLAMA3
    text, sizes = (
        Text([Listed([FINE] * 40)], [1.0], SEQ_LEN),
        {"train": 64, "validation": 64, "heldout": 64},
    )
    splits = text.make_splits(pair, ["resid_post.1"], None, Harvest(tmp_path, 128), sizes)
    assert splits.train.meta["template_date"] == "2024-07-26"


def test_a_tally_is_described_in_one_line():
    tally = Tally("train", n_read=50)
    for number in range(5):
        tally.leave_out(f"row {number}", "no text")
    assert tally.describe() == (
        "5 of 50 rows were left out (row 0: no text; row 1: no text; row 2: no text; and 2 more)"
    )
