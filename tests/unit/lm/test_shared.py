"""Finetunes with added tokens are paired with their base by id.

Tokens that a model has no embedding for are refused with the sizes.
"""

import logging
from pathlib import Path

import pytest
import torch

from crosscoder.data import Harvest, Splits, Text
from crosscoder.data.corpora.corpus import Split
from crosscoder.data.corpora.rows import Row
from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm import LM, Pair, TinyLM
from crosscoder.lm.agreement import agree_on_text
from crosscoder.lm.answering import generate_answers
from crosscoder.lm.chat.document import Unusable
from tests.helpers.model_folders import CHATML, save_llama

MARKERS = ["<|im_start|>", "<|im_end|>"]
CHAT = [{"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "Hi"}]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Save a base model, the same with a padded vocabulary, and finetunes; they have 262 tokens."""
    root = tmp_path_factory.mktemp("models")
    return {
        "base": save_llama(root / "base"),
        "padded": save_llama(root / "padded", rows=320),
        "pad": save_llama(root / "pad", ["[PAD]"], seed=1),
        "pad, not resized": save_llama(root / "unsized", ["[PAD]"], rows=262, seed=1),
        "chat": save_llama(root / "chat", MARKERS, template=CHATML, seed=1),
        "chat, padded": save_llama(root / "chatpad", MARKERS, rows=320, template=CHATML, seed=1),
        "word": save_llama(root / "word", seed=1),
    }


def pair_of(folders: dict[str, Path], base: str, chat: str, align: str | None = None) -> Pair:
    models = {"base": {"weights": str(folders[base])}, "chat": {"weights": str(folders[chat])}}
    return Pair(models, layer=0, dtype="float32", device="cpu", align=align)


@pytest.mark.parametrize("base", ["base", "padded"])
@pytest.mark.parametrize("chat", ["pad", "pad, not resized", "chat", "chat, padded"])
@pytest.mark.parametrize("align", [None, "spans"])
def test_added_tokens_do_not_matter_for_text_without_them(base, chat, align, folders):
    pair = pair_of(folders, base, chat, align)
    if pair.is_aligned:  # where the template has tokens that the base cannot read
        assert (base, chat[:4], align) == ("base", "chat", "spans")
        return
    reading = pair.read("Hello there, how are you?")
    alone = Pair(
        {"base": {"weights": str(folders[base])}},
        layer=0,
        diff_pair=None,
        dtype="float32",
        device="cpu",
    )
    torch.testing.assert_close(reading["base"], alone.read("Hello there, how are you?").acts)
    assert len(reading.tokens) == len("Hello there, how are you?") + 1


def test_a_chat_with_tokens_the_base_cannot_read_is_refused_with_the_sizes(folders):
    pair = pair_of(folders, "base", "chat")
    with pytest.raises(
        Unusable,
        match=r"base has embeddings of 262 tokens, and the tokenizer has 264: .*<\|im_start\|>",
    ):
        pair.read([CHAT])
    with pytest.raises(UserError, match=r"base cannot read '<\|im_start\|>' \(262\)"):
        generate_answers(pair["base"], pair.tokenizer, [CHAT[:1]], max_new_tokens=2)


def test_chats_with_such_tokens_can_be_aligned(folders):
    pair = pair_of(folders, "base", "chat", "spans")
    assert pair.is_aligned
    assert pair.read([CHAT]).strings == [*"Hello", "Ġ", *"there", *"Hi"]
    with pytest.raises(NotApplicable, match="base cannot read the tokens of the chat template"):
        _ = pair.tokenizer


def test_untrained_rows_of_the_base_are_named_once(folders, caplog):
    pair = pair_of(folders, "padded", "chat, padded")
    with caplog.at_level(logging.WARNING):
        assert len(pair.read([CHAT]).tokens) == len(pair.read([CHAT]).tokens)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "<|im_start|>' (262)" in said[0]
    assert "base's tokenizer lacks" in said[0]


class Word(LM):
    """A tokenizer with a word more, which common text has."""

    def load_tokenizer(self):
        tokenizer = super().load_tokenizer()
        tokenizer.add_tokens(["there"])
        return tokenizer


def test_an_added_word_makes_tokenizers_differ(folders):
    pair = pair_of(folders, "base", "word")
    pair.lms["chat"] = Word(str(folders["word"]))
    with pytest.raises(UserError, match="base and chat have different tokenizers"):
        pair.read("Hello there")


def test_tokenizers_agree_even_if_only_one_adds_bos_itself():
    bare = TinyLM(seed=0).load_tokenizer()
    bare.backend_tokenizer.post_processor = None
    assert agree_on_text(TinyLM(seed=0).load_tokenizer(), bare)
    assert not agree_on_text(
        TinyLM(seed=0).load_tokenizer(), TinyLM(seed=0, words=True).load_tokenizer()
    )


def test_a_token_with_another_id_makes_tokenizers_differ():
    first, second = TinyLM(seed=0).load_tokenizer(), TinyLM(seed=0).load_tokenizer()
    first.add_tokens(["<a>", "<b>"])
    second.add_tokens(["<b>", "<a>"])
    assert not agree_on_text(first, second)
    third = TinyLM(seed=0).load_tokenizer()
    third.add_tokens(["<c>", "<b>"])  # a reserved token by another name
    assert agree_on_text(first, third)


class Documents:
    """Documents of any kind."""

    name = "documents"

    def __init__(self, documents: list) -> None:
        self.held = documents

    def documents(self, split: Split):
        yield from self.held

    def rows(self, split: Split):
        for number, document in enumerate(self.held):
            yield Row(f"row {number}", document)


def split(pair: Pair, documents: list, folder: Path) -> Splits:
    text = Text([Documents(documents)], [1.0], seq_len=16)
    return text.make_splits(
        pair,
        ["resid_post.0"],
        None,
        Harvest(str(folder)),
        {"train": 64, "validation": 16, "heldout": 16},
    )


@pytest.mark.long
def test_documents_with_an_unreadable_token_are_left_out_and_counted(folders, tmp_path):
    plain = ["Some plain text of a few words"] * 60
    splits = split(
        pair_of(folders, "base", "chat"),
        [*plain, "It writes <|im_start|> itself", *plain] * 3,
        tmp_path,
    )
    assert not (splits.train.tokens(0).ids >= 262).any()


def test_data_with_only_unreadable_chats_are_refused_before_a_model_runs(
    folders, tmp_path, monkeypatch
):
    pair = pair_of(folders, "base", "chat")
    monkeypatch.setattr(LM, "load", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(
        UserError, match="base has embeddings of 262 tokens, and the tokenizer has 264"
    ) as error:
        split(pair, [CHAT] * 50, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("chat", ["base", "pad, not resized"])
def test_prompts_of_any_length_are_answered_without_a_padding_token(chat, folders):
    """One has no such token, the other one that its embedding has no row for."""
    pair = pair_of(folders, chat, chat)
    tokenizer = pair.tokenizer
    if chat == "base":
        tokenizer.pad_token = None
    prompts = ["one", "two words", "a longer prompt than these"]
    together = generate_answers(pair["chat"], tokenizer, prompts, max_new_tokens=4)
    assert together == [
        generate_answers(pair["chat"], tokenizer, [prompt], max_new_tokens=4)[0]
        for prompt in prompts
    ]


def test_an_id_without_a_token_is_written_as_a_number(folders):
    pair = pair_of(folders, "padded", "chat, padded")
    assert pair.name_tokens([6, 300], "base") == ["!", "<id 300>"]
