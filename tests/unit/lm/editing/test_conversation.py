"""Conversations of an edited model: continued, new, and those that cannot be followed."""

import copy
import warnings

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, QuantizedCache, StaticCache

from crosscoder.core.intervention import Intervention
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import ablate
from crosscoder.lm.editing.conversation import Conversation
from crosscoder.lm.editing.positions import TokenHistory
from crosscoder.lm.text import tokenize
from tests.helpers.replay import crosscoder_of, edited_logits, positions_of

IDS = torch.tensor([[2, 50, 60, 70], [2, 80, 90, 70]])


@pytest.fixture(scope="module")
def change(tiny_pair):
    return ablate(crosscoder_of(tiny_pair, ["resid_post.0"]), range(32))


def make_cache(model) -> DynamicCache:
    return DynamicCache(config=model.config)


def compute_expected(pair, change, row: Tensor) -> Tensor:
    return edited_logits(pair, "chat", change, row, positions_of(pair, "all", row, len(row)))


def test_two_conversations_may_alternate(tiny_pair, change):
    rows = [torch.tensor([2, 50, 60, 70, 71, 72]), torch.tensor([2, 80, 90, 91, 92, 93])]
    with tiny_pair.edit("chat", change) as model:
        caches = [make_cache(model), make_cache(model)]
        for start in (0, 2, 4):
            last = [
                model(row[None, start : start + 2], cache=cache).logits[0, -1]
                for row, cache in zip(rows, caches, strict=True)
            ]
    for row, logits in zip(rows, last, strict=True):
        torch.testing.assert_close(
            logits, compute_expected(tiny_pair, change, row)[-1], atol=1e-4, rtol=1e-4
        )


def test_copies_of_a_cache_continue_independently(tiny_pair, change):
    with tiny_pair.edit("chat", change) as model:
        cache = make_cache(model)
        model(IDS[:1], cache=cache)
        last = {}
        for token in (81, 82, 83):
            other = copy.deepcopy(cache)
            model(torch.tensor([[token]]), cache=other)
            last[token] = model(torch.tensor([[99]]), cache=other).logits[0, -1]
    for token, logits in last.items():
        row = torch.tensor([*IDS[0], token, 99])
        torch.testing.assert_close(
            logits, compute_expected(tiny_pair, change, row)[-1], atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_cache_is_found_under_every_argument_name(tiny_pair, change, name):
    row = torch.tensor([2, 50, 60, 70, 80])
    with warnings.catch_warnings(), tiny_pair.edit("chat", change) as model:
        warnings.filterwarnings("ignore", message=".*past_key_values", category=FutureWarning)
        for part in (model, model.get_decoder()):
            cache = part(row[None, :4], use_cache=True).cache
            out = part(row[None, 4:], **{name: cache})
        head = model.get_output_embeddings()
    torch.testing.assert_close(
        head(out.last_hidden_state)[0, -1],
        compute_expected(tiny_pair, change, row)[-1],
        atol=1e-4,
        rtol=1e-4,
    )


def test_a_cache_in_a_tuple_is_found(tiny_pair, change):
    row = torch.tensor([2, 50, 60, 70, 80])
    with tiny_pair.edit("chat", change) as model:
        out = model(row[None, :4], return_dict=False)
        cache = next(part for part in out if isinstance(part, DynamicCache))
        logits = model(row[None, 4:], cache=cache).logits[0, -1]
    torch.testing.assert_close(
        logits, compute_expected(tiny_pair, change, row)[-1], atol=1e-4, rtol=1e-4
    )


def test_an_emptied_cache_begins_a_new_conversation(tiny_pair, change):
    with tiny_pair.edit("chat", change) as model:
        cache = StaticCache(config=model.config, max_cache_len=8)
        model(IDS[:1], cache=cache)
        cache.reset()
        logits = model(IDS[1:], cache=cache).logits[0]
    torch.testing.assert_close(
        logits, compute_expected(tiny_pair, change, IDS[1]), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("mode", ["paired", "solo"])
def test_caches_that_changed_outside_the_edit_are_refused(tiny_pair, change, mode):
    foreign = make_cache(tiny_pair["chat"])
    tiny_pair["chat"](IDS, cache=foreign)
    with tiny_pair.edit("chat", change, mode) as model:
        with pytest.raises(UserError, match="holds 4 tokens that the edit has not seen"):
            model(IDS[:, :1], cache=foreign)
        left = make_cache(model)
        model(IDS, cache=left)
        cropped = copy.deepcopy(left)
        cropped.crop(-2)
        with pytest.raises(UserError, match="holds 2 tokens where the edit has seen 4"):
            model(IDS[:, :1], cache=cropped)
        reordered = copy.deepcopy(left)
        reordered.reorder_cache(torch.tensor([1, 0]))  # both rows end in the same token
        with pytest.raises(UserError, match="rearranged between two tokens"):
            model(IDS[:, :1], cache=reordered)
        fewer = copy.deepcopy(left)
        fewer.batch_select_indices(torch.tensor([1]))
        with pytest.raises(UserError, match="holds 2 rows, and tokens are given for 1"):
            model(IDS[:1, :1], cache=fewer)
    with (
        tiny_pair.edit("chat", change, mode) as model,
        pytest.raises(UserError, match="has not seen"),
    ):
        model(IDS[:, :1], cache=left)  # it belongs to the edit before


def test_a_cache_is_refused_after_a_pass_that_failed(tiny_pair, change):
    def broken(acts: Tensor) -> Tensor:
        if len(acts) < 4:
            raise ZeroDivisionError
        return acts

    intervention = Intervention("broken", change.sources, broken, change.complete)
    with tiny_pair.edit("chat", intervention) as model:
        cache = make_cache(model)
        model(IDS, cache=cache)
        with pytest.raises(ZeroDivisionError):
            model(IDS[:, 1:2], cache=cache)
        with pytest.raises(UserError, match="has not seen"):
            model(IDS[:, 1:2], cache=cache)


def test_quantized_caches_and_unsupported_static_caches_are_refused(tiny_pair, change, monkeypatch):
    with tiny_pair.edit("chat", change) as model:
        with pytest.raises(UserError, match="cannot follow a QuantizedCache"):
            model(IDS, cache=QuantizedCache.__new__(QuantizedCache))
        monkeypatch.setattr(type(model), "_can_compile_fullgraph", False)
        with pytest.raises(UserError, match="Gemma3ForCausalLM does not support static caches"):
            model(IDS, cache=StaticCache(config=model.config, max_cache_len=8))


@pytest.mark.parametrize("positions", ["prompt", "response", "last", "first-2"])
def test_a_prompt_that_grows_without_a_cache_is_refused_if_it_is_ambiguous(
    tiny_pair, change, positions
):
    longer = torch.cat([IDS, torch.tensor([[71], [72]])], dim=1)
    with tiny_pair.edit("chat", change, positions=positions) as model:
        model(IDS)
        model(IDS)
        with pytest.raises(UserError, match="begin with those of the pass before"):
            model(longer)
    with tiny_pair.edit("chat", change, positions=positions) as model:
        model(longer)
    with tiny_pair.edit("chat", change) as model:
        model(IDS)
        model(longer)  # all tokens are selected in both cases


def test_a_chat_may_grow_without_a_cache_while_its_answer_does(tiny_pair, change):
    head = tokenize(tiny_pair.tokenizer, [{"role": "user", "content": "x"}], opening=True)[0]
    row = torch.tensor([*head, 50, 51, 52])
    with tiny_pair.edit("chat", change, positions="response") as model:
        logits = [
            model(row[None, :n], use_cache=False).logits[0, -1]
            for n in range(len(head), len(row) + 1)
        ]
    where = positions_of(tiny_pair, "response", row, len(head))
    again = edited_logits(tiny_pair, "chat", change, row, where)
    torch.testing.assert_close(torch.stack(logits), again[len(head) - 1 :], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", ["response", "prompt", "last", "first-1", "all"])
def test_a_second_turn_equals_one_pass_or_is_refused_if_it_moves_the_answer(
    tiny_pair, change, positions
):
    turns = [{"role": "user", "content": "x"}]
    first = torch.tensor([tokenize(tiny_pair.tokenizer, turns, opening=True)[0]])
    turns += [{"role": "assistant", "content": "a"}, {"role": "user", "content": "y"}]
    second = torch.tensor([tokenize(tiny_pair.tokenizer, turns, opening=True)[0]])
    n = first.shape[1]
    with tiny_pair.edit("chat", change, positions=positions) as model:
        cache = model(first).cache
        model(second[:, n : n + 1], cache=cache)  # the answer
        if positions != "all":
            with pytest.raises(UserError, match="move where the answer begins"):
                model(second[:, n + 1 :], cache=cache)
            return
        logits = model(second[:, n + 1 :], cache=cache).logits[0, -1]
    torch.testing.assert_close(
        logits, compute_expected(tiny_pair, change, second[0])[-1], atol=1e-4, rtol=1e-4
    )


def test_a_rule_that_selects_other_tokens_in_the_cache_is_refused(tiny_pair, change):
    def select_newest(history: TokenHistory) -> Tensor:
        time = torch.arange(history.ids.shape[1]).expand(history.ids.shape)
        return time == history.ids.shape[1] - 1

    with tiny_pair.edit("chat", change, positions=select_newest) as model:
        cache = model(IDS).cache
        with pytest.raises(UserError, match="already in the cache"):
            model(IDS[:, :1], cache=cache)


@pytest.mark.usefixtures("unchecked")
def test_the_output_of_a_rule_is_checked(tiny_pair, change):
    rules = {
        "not torch.bool [4]": lambda history: torch.ones(4, dtype=torch.bool),
        "not torch.int64 [2, 4]": lambda history: torch.ones(2, 4, dtype=torch.long),
        "not list": lambda history: [True],
    }
    for found, rule in rules.items():
        with (
            tiny_pair.edit("chat", change, positions=rule) as model,
            pytest.raises(UserError) as error,
        ):
            model(IDS)
        assert str(error.value).endswith(found)


def test_conversations_hold_no_models(tiny_pair, change):
    with tiny_pair.edit("chat", change) as model:
        cache = model(IDS).cache
    (conversation,) = [value for value in vars(cache).values() if isinstance(value, Conversation)]
    assert not any(isinstance(value, torch.nn.Module) for value in vars(conversation).values())
