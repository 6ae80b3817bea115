"""Tokens of really different tokenizers are paired where they cover the same characters, and only there."""

from itertools import chain, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from crosscoder.errors import UserError
from crosscoder.lm import TinyLM
from crosscoder.lm.align import keyed, paired, steps
from crosscoder.lm.text import tokenize
from crosscoder.types import Kind

SENTENCES = [
    "Line 3 says that 3 times 3 is 9.",
    "The text of this line was for one and some, or not.",
    "naïve  façades 🙂 by 20:15\n\tat last",
]
CHAT = [{"role": "user", "content": " Why is 3 odd? "}, {"role": "assistant", "content": "It is 2 and 1.\n"}]
ALPHABET = [" ", "  ", "\n", "the", " that", "says", "3", "19", ".", "é", "🙂", "你好", "Line"]


def trained() -> PreTrainedTokenizerFast:
    """A small BPE with the space as a part of words, as Gemma's, and a chat template of its own."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=130, special_tokens=["<unk>", "<s>", "[it]", "[you]"], show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    turn = "{{ '[it] ' if m.role == 'assistant' else '[you] ' }}{{ m.content }}"
    template = "{{ bos_token }}{% for m in messages %}" + turn + "{% endfor %}"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", chat_template=template
    )


TOKENIZERS = [TinyLM(0).tokenizer(), TinyLM(0, words=True).tokenizer(), trained()]


def naive(text: str, one: PreTrainedTokenizerFast, other: PreTrainedTokenizerFast) -> list[tuple[int, int]]:
    """Every token against every other: their characters are the same ones, white space aside, and none after them has these."""

    def covered(tokenizer: PreTrainedTokenizerFast) -> list[set[int]]:
        begin = [set()] if tokenizer.bos_token else []
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        every = [set(range(start, end)) for start, end in encoding["offset_mapping"]]
        known = [token not in tokenizer.all_special_ids for token in encoding["input_ids"]]
        words = [{i for i in span if not text[i].isspace()} or span for span in every]
        return begin + [span if ordinary else set() for span, ordinary in zip(words, known, strict=True)]

    a, b = covered(one), covered(other)
    pairs = [(i, j) for i, j in product(range(len(a)), range(len(b))) if a[i] and a[i] == b[j]]
    return [(i, j) for i, j in pairs if a[i] not in a[i + 1 :] and b[j] not in b[j + 1 :]]


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (0, 2), (2, 2)])
@given(text=st.lists(st.sampled_from(ALPHABET), max_size=12).map("".join))
def test_pairs_are_those_of_comparing_everything_with_everything(one, other, text):
    tokenizers = TOKENIZERS[one], TOKENIZERS[other]
    assert paired(*(keyed(tokenizer, text).keys for tokenizer in tokenizers)) == naive(text, *tokenizers)


def test_pairs_say_the_same():
    words, bpe = (keyed(tokenizer, SENTENCES[0]) for tokenizer in TOKENIZERS[1:])
    pairs = paired(words.keys, bpe.keys)
    said = [
        [tokenizer.decode([text.tokens[i][0]]).strip() for i in which]
        for tokenizer, text, which in zip(TOKENIZERS[1:], (words, bpe), zip(*pairs, strict=True), strict=True)
    ]
    assert said[0] == said[1]
    assert {"that", "is", "3"} <= set(said[0])


def test_several_tokenizers_are_paired_at_once():
    keys = [keyed(tokenizer, SENTENCES[0]).keys for tokenizer in TOKENIZERS]
    triples = paired(*keys)
    assert triples
    assert {triple[:2] for triple in triples} <= set(paired(*keys[:2]))
    assert all(len({column[i] for column, i in zip(keys, triple, strict=True)}) == 1 for triple in triples)


def test_one_tokenizer_is_paired_with_itself_but_for_what_is_no_text():
    text = keyed(TOKENIZERS[0], CHAT)
    inside = [i for i, (_, kind) in enumerate(text.tokens) if kind == Kind.CHAT]
    assert paired(text.keys, text.keys) == [(i, i) for i in inside]


def test_of_a_characters_bytes_the_last_is_paired():
    plain = Tokenizer(models.WordLevel({"é": 0, "x": 1, "<unk>": 2}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    other = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>")
    assert paired(keyed(TOKENIZERS[1], "éx").keys, keyed(other, "éx").keys) == [(1, 0), (2, 1)]


@pytest.mark.parametrize("other", [1, 2])
def test_of_chats_only_what_was_said_is_paired_whatever_the_templates(other):
    texts = [keyed(tokenizer, CHAT) for tokenizer in (TOKENIZERS[0], TOKENIZERS[other])]
    pairs = paired(*(text.keys for text in texts))
    for text, which in zip(texts, zip(*pairs, strict=True), strict=True):
        assert {text.tokens[i][1] for i in which} == {Kind.CHAT}
    messages = {texts[0].keys[i][0] for i, _ in pairs}
    assert messages == {0, 1}


@pytest.mark.parametrize("document", [*SENTENCES, CHAT])
def test_tokens_are_those_that_any_document_has(document):
    for tokenizer in TOKENIZERS:
        assert list(zip(*tokenize(tokenizer, document), strict=True)) == keyed(tokenizer, document).tokens


@pytest.mark.parametrize("document", [*SENTENCES[::2], CHAT])
def test_steps_cut_a_document_at_its_pairs(document):
    texts = [keyed(tokenizer, document) for tokenizer in TOKENIZERS]
    pairs = paired(*(text.keys for text in texts))
    cut = steps(texts, [1, 0, 1])
    assert len(cut) == len(pairs)
    for i, (text, begin) in enumerate(zip(texts, (1, 0, 1), strict=True)):
        assert list(chain.from_iterable(step[i] for step in cut)) == text.tokens[begin : pairs[-1][i] + 1]
        assert [step[i][-1] for step in cut] == [text.tokens[pair[i]] for pair in pairs]


def test_a_tokenizer_that_does_not_know_where_its_tokens_lie_is_named():
    class Slow(PreTrainedTokenizerFast):
        is_fast = False

    with pytest.raises(UserError, match="Slow does not tell which characters its tokens cover"):
        keyed(Slow(tokenizer_object=TOKENIZERS[0].backend_tokenizer), "x")
