"""Tokens of different tokenizers are paired if and only if they cover the same characters."""

from itertools import chain, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from crosscoder.core.types import Kind
from crosscoder.errors import UserError
from crosscoder.lm import TinyLM
from crosscoder.lm.align import key_tokens, pair_tokens, split_at_pairs
from crosscoder.lm.text import tokenize

SENTENCES = [
    "Line 3 says that 3 times 3 is 9.",
    "The text of this line was for one and some, or not.",
    "naïve  façades 🙂 by 20:15\n\tat last",
]
CHAT = [
    {"role": "user", "content": " Why is 3 odd? "},
    {"role": "assistant", "content": "It is 2 and 1.\n"},
]
ALPHABET = [" ", "  ", "\n", "the", " that", "says", "3", "19", ".", "é", "🙂", "你好", "Line"]


def trained() -> PreTrainedTokenizerFast:
    """Train a small BPE whose words include the space, as Gemma's, with its own chat template."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=130, special_tokens=["<unk>", "<s>", "[it]", "[you]"], show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    turn = "{{ '[it] ' if m.role == 'assistant' else '[you] ' }}{{ m.content }}"
    template = "{{ bos_token }}{% for m in messages %}" + turn + "{% endfor %}"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", chat_template=template
    )


TOKENIZERS = [TinyLM(0).load_tokenizer(), TinyLM(0, words=True).load_tokenizer(), trained()]


def naive(
    text: str, one: PreTrainedTokenizerFast, other: PreTrainedTokenizerFast
) -> list[tuple[int, int]]:
    """Pair tokens with equal characters, white space aside, by comparing each with every other."""

    def covered(tokenizer: PreTrainedTokenizerFast) -> list[set[int]]:
        begin = [set()] if tokenizer.bos_token else []
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        every = [set(range(start, end)) for start, end in encoding["offset_mapping"]]
        known = [token not in tokenizer.all_special_ids for token in encoding["input_ids"]]
        words = [{i for i in span if not text[i].isspace()} or span for span in every]
        return begin + [
            span if ordinary else set() for span, ordinary in zip(words, known, strict=True)
        ]

    a, b = covered(one), covered(other)
    pairs = [(i, j) for i, j in product(range(len(a)), range(len(b))) if a[i] and a[i] == b[j]]
    return [(i, j) for i, j in pairs if a[i] not in a[i + 1 :] and b[j] not in b[j + 1 :]]


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (0, 2), (2, 2)])
@given(text=st.lists(st.sampled_from(ALPHABET), max_size=12).map("".join))
def test_pairing_equals_comparing_every_token_with_every_other(one, other, text):
    tokenizers = TOKENIZERS[one], TOKENIZERS[other]
    assert pair_tokens(*(key_tokens(tokenizer, text).keys for tokenizer in tokenizers)) == naive(
        text, *tokenizers
    )


def test_paired_tokens_cover_the_same_text():
    words, bpe = (key_tokens(tokenizer, SENTENCES[0]) for tokenizer in TOKENIZERS[1:])
    pairs = pair_tokens(words.keys, bpe.keys)
    said = [
        [tokenizer.decode([text.tokens[i][0]]).strip() for i in which]
        for tokenizer, text, which in zip(
            TOKENIZERS[1:], (words, bpe), zip(*pairs, strict=True), strict=True
        )
    ]
    assert said[0] == said[1]
    assert {"that", "is", "3"} <= set(said[0])


def test_three_tokenizers_are_paired_at_once():
    keys = [key_tokens(tokenizer, SENTENCES[0]).keys for tokenizer in TOKENIZERS]
    triples = pair_tokens(*keys)
    assert triples
    assert {triple[:2] for triple in triples} <= set(pair_tokens(*keys[:2]))
    assert all(
        len({column[i] for column, i in zip(keys, triple, strict=True)}) == 1 for triple in triples
    )


def test_a_tokenizer_paired_with_itself_pairs_every_token_that_has_text():
    text = key_tokens(TOKENIZERS[0], CHAT)
    inside = [i for i, (_, kind) in enumerate(text.tokens) if kind == Kind.CHAT]
    assert pair_tokens(text.keys, text.keys) == [(i, i) for i in inside]


def test_the_last_byte_of_a_character_is_paired():
    plain = Tokenizer(models.WordLevel({"é": 0, "x": 1, "<unk>": 2}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    other = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>")
    assert pair_tokens(key_tokens(TOKENIZERS[1], "éx").keys, key_tokens(other, "éx").keys) == [
        (1, 0),
        (2, 1),
    ]


@pytest.mark.parametrize("other", [1, 2])
def test_only_messages_are_paired_in_chats_with_different_templates(other):
    texts = [key_tokens(tokenizer, CHAT) for tokenizer in (TOKENIZERS[0], TOKENIZERS[other])]
    pairs = pair_tokens(*(text.keys for text in texts))
    for text, which in zip(texts, zip(*pairs, strict=True), strict=True):
        assert {text.tokens[i][1] for i in which} == {Kind.CHAT}
    messages = {texts[0].keys[i][0] for i, _ in pairs}
    assert messages == {0, 1}


@pytest.mark.parametrize("document", [*SENTENCES, CHAT])
def test_keyed_tokens_equal_plainly_tokenized_ones(document):
    for tokenizer in TOKENIZERS:
        assert (
            list(zip(*tokenize(tokenizer, document), strict=True))
            == key_tokens(tokenizer, document).tokens
        )


@pytest.mark.parametrize("document", [*SENTENCES[::2], CHAT])
def test_a_document_is_split_at_its_pairs(document):
    texts = [key_tokens(tokenizer, document) for tokenizer in TOKENIZERS]
    pairs = pair_tokens(*(text.keys for text in texts))
    cut = split_at_pairs(texts, [1, 0, 1])
    assert len(cut) == len(pairs)
    for i, (text, begin) in enumerate(zip(texts, (1, 0, 1), strict=True)):
        assert (
            list(chain.from_iterable(step[i] for step in cut))
            == text.tokens[begin : pairs[-1][i] + 1]
        )
        assert [step[i][-1] for step in cut] == [text.tokens[pair[i]] for pair in pairs]


def test_a_tokenizer_without_offsets_is_refused():
    class Slow(PreTrainedTokenizerFast):
        is_fast = False

    with pytest.raises(UserError, match="Slow does not tell which characters its tokens cover"):
        key_tokens(Slow(tokenizer_object=TOKENIZERS[0].backend_tokenizer), "x")
