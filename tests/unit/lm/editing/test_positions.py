"""Rules for positions find the start of the answer and select tokens by name."""

import pytest
import torch

from crosscoder.errors import UserError
from crosscoder.lm.editing.positions import TokenHistory, parse_positions
from crosscoder.lm.loading.tiny import TinyLM
from crosscoder.lm.text import get_opening, tokenize

BOS, EOS, PAD, END_OF_TURN = 2, 1, 0, 5


@pytest.fixture
def tokenizer():
    return TinyLM(0).load_tokenizer()


@pytest.fixture
def plain():
    """Return a tokenizer without a chat template."""
    tokenizer = TinyLM(0).load_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]}
    )
    tokenizer.chat_template = None
    return tokenizer


@pytest.fixture
def mistral():
    """Return a tokenizer with a template whose prompts end in a special token."""
    tokenizer = TinyLM(0).load_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]}
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ message['content'] + '<end_of_turn>' }}"
        "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
    )
    return tokenizer


def select(
    positions: str,
    tokenizer,
    rows: list[list[int]],
    prompt_length: int,
    n_provided: int | None = None,
) -> list[list[int]]:
    found = parse_positions(positions, tokenizer)(
        TokenHistory(torch.tensor(rows), prompt_length, n_provided)
    )
    return [row.nonzero()[:, 0].tolist() for row in found]


def test_each_name_selects_its_tokens(plain):
    row = [BOS, 50, 51, 52, 60, 61, EOS]
    assert select("all", plain, [row], 4) == [[1, 2, 3, 4, 5]]
    assert select("prompt", plain, [row], 4) == [[1, 2, 3]]
    assert select("last", plain, [row], 4) == [[3]]
    assert select("response", plain, [row], 4) == [[4, 5]]
    assert select("first-1", plain, [row], 4) == [[4]]


def test_bos_and_padding_are_never_edited(plain):
    rows = [[PAD, PAD, BOS, 50], [BOS, 51, 52, 53]]
    for positions in ("all", "prompt"):
        assert select(positions, plain, rows, 4) == [[3], [1, 2, 3]]


def test_an_opening_that_the_model_generates_begins_no_answer(tokenizer):
    head = tokenize(tokenizer, [{"role": "user", "content": "x"}], opening=True)[0]
    row = [*head, 50, END_OF_TURN, *get_opening(tokenizer), 60]
    n = len(row)
    # in provided text, the last opening counts
    assert select("response", tokenizer, [row], len(head)) == [[n - 1]]
    answer = [i for i in range(len(head), n) if row[i] not in tokenizer.all_special_ids]
    assert select("response", tokenizer, [row], len(head), n_provided=len(head)) == [answer]


def test_a_special_last_token_is_refused_by_name(mistral):
    ids = tokenize(mistral, [{"role": "user", "content": "hi"}], opening=True)[0]
    message = r"positions='last' selects only <end_of_turn> in row 0.*a rule of your own"
    with pytest.raises(UserError, match=message):
        select("last", mistral, [ids], len(ids))
    rows = [[PAD, *ids[:-1]], ids]
    with pytest.raises(UserError, match="<end_of_turn> in row 1"):
        select("last", mistral, rows, len(ids))
    assert select("prompt", mistral, [ids], len(ids)) == [list(range(1, len(ids) - 1))]


def test_a_row_padded_on_the_right_has_no_last_token(plain):
    with pytest.raises(UserError, match="<pad> in row 1"):
        select("last", plain, [[BOS, 50, 51], [BOS, 50, PAD]], 3)


def test_a_prompt_of_only_bos_is_refused(plain):
    with pytest.raises(UserError, match="positions='prompt' selects only <bos>"):
        select("prompt", plain, [[BOS]], 1)
    # the prompt of the first row is still to come
    assert select("prompt", plain, [[PAD, PAD], [BOS, 50]], 2) == [[], [1]]
    assert select("all", plain, [[BOS]], 1) == [[]]


def test_special_first_tokens_are_refused_unless_the_answer_ends_with_them(plain):
    start_of_turn = 4
    row = [BOS, 50, start_of_turn, start_of_turn, 60]
    with pytest.raises(UserError, match="positions='first-2' selects only <start_of_turn>"):
        select("first-2", plain, [row], 2)
    assert select("first-2", plain, [row[:3]], 2) == [[]]  # the second token is still to come
    assert select("first-3", plain, [row], 2) == [[4]]
    assert select("first-2", plain, [[BOS, 50, EOS, PAD]], 2) == [[]]


def test_an_answer_that_ends_its_turn_at_once_has_nothing_to_edit(tokenizer):
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]}
    )
    head = tokenize(tokenizer, [{"role": "user", "content": "x"}], opening=True)[0]
    assert select("first-1", tokenizer, [[*head, END_OF_TURN]], len(head)) == [[]]


def test_unknown_names_are_refused(plain):
    for name in ("middle", "first-0", "first-", "First-3"):
        with pytest.raises(UserError, match=f"not '{name}'"):
            parse_positions(name, plain)


def test_the_proposed_rule_selects_a_special_last_token(mistral):
    ids = torch.tensor([tokenize(mistral, [{"role": "user", "content": "hi"}], opening=True)[0]])
    history = TokenHistory(ids, ids.shape[1])
    proposed = (
        torch.arange(history.ids.shape[1]).expand(history.ids.shape) == history.prompt_length - 1
    )
    assert proposed.nonzero().tolist() == [[0, ids.shape[1] - 1]]
