import pytest

from crosscoder.core.types import Kind
from crosscoder.errors import UserError
from crosscoder.lm import TinyLM
from crosscoder.lm.chat.document import Unusable
from crosscoder.lm.chat.messages import as_document
from crosscoder.lm.text import get_opening, get_stop_id, tokenize, tokenize_with_places
from tests.helpers.chat_templates import PUBLISHED

CHAT = [{"role": "user", "content": " Why? "}, {"role": "assistant", "content": "Why not user?"}]


@pytest.fixture
def tokenizer():
    return TinyLM(seed=0).load_tokenizer()


def text_of(tokenizer, ids) -> str:
    return tokenizer.decode(ids)


def test_plain_text_begins_with_bos_once(tokenizer):
    ids, kinds = tokenize(tokenizer, "def f(x): return x")
    assert text_of(tokenizer, ids) == "<bos>def f(x): return x"
    assert kinds == [Kind.SPECIAL] + [Kind.PLAIN] * (len(ids) - 1)


def test_a_chat_is_rendered_as_gemma_does_with_bos_once(tokenizer):
    ids, _ = tokenize(tokenizer, CHAT)
    assert text_of(tokenizer, ids) == (
        "<bos><start_of_turn>user\nWhy?<end_of_turn>\n"
        "<start_of_turn>model\nWhy not user?<end_of_turn>\n"
    )


def test_kinds_tell_content_from_template_from_special_tokens(tokenizer):
    ids, kinds = tokenize(tokenizer, CHAT)

    def of(kind: int) -> str:
        return text_of(
            tokenizer, [token for token, is_ in zip(ids, kinds, strict=True) if is_ == kind]
        )

    assert of(Kind.CHAT) == "Why?Why not user?"
    assert (
        of(Kind.TEMPLATE)
        == "<start_of_turn>user\n<end_of_turn>\n<start_of_turn>model\n<end_of_turn>\n"
    )
    assert of(Kind.SPECIAL) == "<bos>"
    assert of(Kind.PLAIN) == ""


def test_bos_is_added_if_the_template_has_none(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    ids, kinds = tokenize(tokenizer, CHAT)
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
    assert kinds[0] == Kind.SPECIAL
    assert kinds.count(Kind.CHAT) == len(" Why? Why not user?")  # this template does not trim


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


def test_with_opening_a_chat_ends_where_the_assistant_answers(tokenizer):
    question = CHAT[:1]
    ids, kinds = tokenize(tokenizer, question)
    longer, more = tokenize(tokenizer, question, opening=True)
    assert longer[: len(ids)] == ids
    assert text_of(tokenizer, longer[len(ids) :]) == "<start_of_turn>model\n"
    assert more == kinds + [Kind.TEMPLATE] * (len(longer) - len(ids))
    assert tokenize(tokenizer, "text", opening=True) == tokenize(tokenizer, "text")


# --- messages that a template has, too, in published templates: tests/helpers/chat_templates.py,
# tests/unit/lm/test_spans.py ---


def own_words(tokenizer, chat) -> str:
    ids, kinds = tokenize(tokenizer, chat)
    return text_of(
        tokenizer, [token for token, kind in zip(ids, kinds, strict=True) if kind == Kind.CHAT]
    )


@pytest.mark.parametrize("name", ["gemma2", "qwen25", "llama2", "llama3", "mistral_1", "zephyr"])
@pytest.mark.parametrize(
    "said", ["You", "I", "user", "a", "model", "assistant", "start", "o", "INST", ""]
)
def test_short_messages_are_not_confused_with_the_template(name, said):
    chat = [
        {"role": "user", "content": said},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": said},
    ]
    tokenizer = PUBLISHED[name].tokenizer()
    assert own_words(tokenizer, chat) == f"{said}1{said}"
    ids, _, places = tokenize_with_places(tokenizer, chat)
    text = "".join(chat[place[0]]["content"][place[1] : place[2]] for place in places if place)
    assert text == f"{said}1{said}"
    assert len(ids) == len(places)


def test_places_are_positions_in_messages(tokenizer):
    ids, _, places = tokenize_with_places(tokenizer, CHAT)
    covered = [CHAT[m]["content"][a:b] for m, a, b in (place for place in places if place)]
    assert "".join(covered) == "Why?Why not user?"
    assert len(ids) == len(places)


# --- where an answer begins and ends ---


@pytest.mark.parametrize(
    ("name", "begins", "ends"),
    [
        ("gemma2", "<start_of_turn>model\n", "<end_of_turn>"),
        ("llama2", "", "<eos>"),
        (
            "llama3",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "<",
        ),  # the tiny tokenizer has no such tokens
        ("phi3", "<|assistant|>\n", "<"),
        ("zephyr", "<|assistant|>\n", "<eos>"),
        ("deepseek_r1", "<|Assistant|><think>\n", "<"),
        ("qwen3", "<|im_start|>assistant\n", "<"),
        ("mistral_1", "", "<eos>"),
    ],
)
def test_opening_and_stop_id_come_from_the_template(name, begins, ends):
    tokenizer = PUBLISHED[name].tokenizer()
    assert text_of(tokenizer, get_opening(tokenizer)) == begins
    assert text_of(tokenizer, [get_stop_id(tokenizer)]) == ends


def test_opening_of_a_template_that_ends_unanswered_chats_in_another_way(tokenizer):
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}<end_of_turn>{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>{% else %}{{ eos_token }}{% endif %}"
    )
    assert text_of(tokenizer, get_opening(tokenizer)) == "<start_of_turn>"


def test_a_template_that_requires_a_system_message_gets_one(tokenizer):
    wants = "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = wants + tokenizer.chat_template
    assert text_of(tokenizer, get_opening(tokenizer)) == "<start_of_turn>model\n"
    assert text_of(tokenizer, [get_stop_id(tokenizer)]) == "<end_of_turn>"


def test_a_template_that_accepts_no_chat_is_refused_in_one_line(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    for ask in (get_opening, get_stop_id):
        with pytest.raises(
            UserError, match=r"accepts no question and answer: .*refuses the chat: no"
        ):
            ask(tokenizer)


def test_stop_id_of_a_template_that_drops_the_answer_is_the_end_of_text(tokenizer):
    tokenizer.chat_template = "{{ bos_token }}{{ messages[0].content }}"
    assert get_stop_id(tokenizer) == tokenizer.eos_token_id


def test_a_tokenizer_without_any_end_is_refused(tokenizer):
    tokenizer.chat_template = tokenizer.eos_token = None
    with pytest.raises(UserError, match="no token that ends a text"):
        get_stop_id(tokenizer)


# --- what is a document ---


@pytest.mark.parametrize(
    "document", ["text", "", CHAT, tuple(CHAT), [{**CHAT[0], "toxicity": 0.1}]]
)
def test_documents_are_text_or_messages(document):
    taken = as_document(document)
    assert taken == document if isinstance(document, str) else taken[0] == CHAT[0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "expected text or a list of messages, found None"),
        (5, "found 5"),
        (float("nan"), "found nan"),
        ({"a": 1}, "found an object with a"),
        ([], r"found \[\]"),
        (["Hi"], "message 1 is 'Hi'"),
        ([{"role": "user"}], "text in 'content' of message 1, which is missing; it has role"),
        (
            [{"speaker": "human", "value": "x"}],
            "text in 'role' of message 1, which is missing; it has speaker, value",
        ),
        (
            [CHAT[0], {"role": "assistant", "content": None}],
            "text in 'content' of message 2, which is None",
        ),
        ([{"role": 5, "content": "x"}], "text in 'role' of message 1, which is 5"),
        ([{"role": "user", "content": [[5]]}], r"message 1 has a part that is \[5\], and not text"),
        ("\ud800 lone", "it has half of a surrogate pair at character 0"),
        ([{"role": "user", "content": "a\udc00"}], "message 1 has half of a surrogate pair"),
    ],
)
def test_everything_else_is_refused(value, reason):
    with pytest.raises(Unusable, match=reason) as error:
        as_document(value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("document", ["\ud800", [{"role": "user", "content": "\ud800"}]])
def test_half_a_surrogate_pair_is_refused_in_text_and_in_chats(tokenizer, document):
    with pytest.raises(Unusable, match="half of a surrogate pair"):
        tokenize(tokenizer, document)
