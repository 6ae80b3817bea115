import pytest

from crosscoder.errors import UserError
from crosscoder.lm import TinyLM
from crosscoder.lm.text import tokenize
from crosscoder.types import Kind

CHAT = [{"role": "user", "content": " Why? "}, {"role": "assistant", "content": "Why not user?"}]


@pytest.fixture
def tokenizer():
    return TinyLM(seed=0).tokenizer()


def text_of(tokenizer, ids) -> str:
    return tokenizer.decode(ids)


def test_plain_text_begins_with_bos_once(tokenizer):
    ids, kinds = tokenize(tokenizer, "def f(x): return x")
    assert text_of(tokenizer, ids) == "<bos>def f(x): return x"
    assert kinds == [Kind.SPECIAL] + [Kind.PLAIN] * (len(ids) - 1)


def test_a_chat_is_rendered_as_gemma_does_with_bos_once(tokenizer):
    ids, _ = tokenize(tokenizer, CHAT)
    assert text_of(tokenizer, ids) == (
        "<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\nWhy not user?<end_of_turn>\n"
    )


def test_kinds_tell_content_from_template_from_special_tokens(tokenizer):
    ids, kinds = tokenize(tokenizer, CHAT)

    def of(kind: int) -> str:
        return text_of(tokenizer, [token for token, is_ in zip(ids, kinds, strict=True) if is_ == kind])

    assert of(Kind.CHAT) == "Why?Why not user?"
    assert of(Kind.TEMPLATE) == "<start_of_turn>user\n<end_of_turn>\n<start_of_turn>model\n<end_of_turn>\n"
    assert of(Kind.SPECIAL) == "<bos>"
    assert of(Kind.PLAIN) == ""


def test_bos_is_added_where_the_template_has_none(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    ids, kinds = tokenize(tokenizer, CHAT)
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
    assert kinds[0] == Kind.SPECIAL
    assert kinds.count(Kind.CHAT) == len("Why?Why not user?")


def test_special_tokens_written_in_text_are_special(tokenizer):
    ids, kinds = tokenize(tokenizer, "a<eos>b")
    assert kinds == [Kind.SPECIAL, Kind.PLAIN, Kind.SPECIAL, Kind.PLAIN]
    assert len(ids) == 4


def test_a_tokenizer_without_bos_gets_none(tokenizer):
    tokenizer.bos_token = None
    ids, kinds = tokenize(tokenizer, "abc")
    assert text_of(tokenizer, ids) == "abc"
    assert kinds == [Kind.PLAIN] * 3


def test_a_chat_without_a_template_is_refused(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="a chat needs a tokenizer with a chat template"):
        tokenize(tokenizer, CHAT)


def test_with_the_opening_a_chat_goes_on_to_where_the_assistant_is_to_answer(tokenizer):
    question = CHAT[:1]
    ids, kinds = tokenize(tokenizer, question)
    longer, more = tokenize(tokenizer, question, opening=True)
    assert longer[: len(ids)] == ids
    assert text_of(tokenizer, longer[len(ids) :]) == "<start_of_turn>model\n"
    assert more == kinds + [Kind.TEMPLATE] * (len(longer) - len(ids))
    assert tokenize(tokenizer, "text", opening=True) == tokenize(tokenizer, "text")
