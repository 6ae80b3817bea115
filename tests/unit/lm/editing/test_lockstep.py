"""Edits in lockstep against a loop that reads both models anew for every token.

The loop uses no cache, no padding and no batch.
"""

import itertools

import pytest
import torch
from transformers import DynamicCache

from crosscoder.core.activations.topk import TopK
from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.patch import patch
from crosscoder.interventions.steer import steer
from crosscoder.lm import Hookpoint, Pair
from crosscoder.lm.answering import batch_prompts
from crosscoder.lm.hooks import read
from crosscoder.lm.text import tokenize

PROMPTS = ["Is this right?", "I am new to programming. Is this code correct? x = 1/0", "x"]
CHATS = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
NEW = 6


@pytest.fixture(params=["resid_post.0", "resid_post.1", "mlp_out.1", "attn_z.0"])
def crosscoder(request, tiny_pair: Pair) -> Crosscoder:
    return make_crosscoder(tiny_pair, [request.param])


def make_crosscoder(pair: Pair, hookpoints: list[str]) -> Crosscoder:
    """Return a crosscoder with random weights, large enough that every edit has an effect."""
    made = Crosscoder(pair.sources(hookpoints), 64, TopK(8), seed=3).fold()
    with torch.no_grad():
        made.W_dec *= 4
    return made


def read_clean(pair: Pair, crosscoder: Crosscoder, ids: torch.Tensor) -> torch.Tensor:
    """Return activations of all sources on one row of tokens, [time, d_total]."""
    columns = []
    for source in crosscoder.sources:
        hookpoint = Hookpoint.parse(source.hookpoint)
        columns.append(read(pair[source.lm], [hookpoint], ids)[hookpoint][0])
    return torch.cat(columns, dim=-1).clone()


def rerun(
    pair: Pair, name: str, crosscoder: Crosscoder, change, ids: torch.Tensor, where: torch.Tensor
) -> torch.Tensor:
    """Return logits [time, vocabulary] of a model on one row, edited by hooks written out here.

    Its sources are replaced at the positions `where`.
    """
    model = pair[name]
    new = change(read_clean(pair, crosscoder, ids))
    handles = []
    for source in crosscoder.sources:
        if source.lm != name:
            continue
        hookpoint = Hookpoint.parse(source.hookpoint)
        columns = new[:, crosscoder.sources.slice(source.name)]

        def put(acts, columns=columns):
            return torch.where(where[None, :, None], columns[None], acts)

        module = hookpoint.get_module(model)
        if hookpoint.site == "attn_z":
            handles.append(
                module.register_forward_pre_hook(lambda _, args, put=put: (put(args[0]),))
            )
        else:
            handles.append(module.register_forward_hook(lambda _, args, out, put=put: put(out)))
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    return logits


def count_hooks(pair: Pair) -> int:
    """Count the hooks of both models; transformers may have some of its own."""
    modules = itertools.chain(pair["base"].modules(), pair["chat"].modules())
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


def find_content(pair: Pair, ids: torch.Tensor) -> torch.Tensor:
    """Return which tokens are not special."""
    return ~torch.isin(ids[0], torch.tensor(pair.tokenizer.all_special_ids))


@pytest.mark.parametrize("name", ["chat", "base"])
def test_generation_equals_a_full_forward_of_both_models_at_every_step(tiny_pair, crosscoder, name):
    change = ablate(crosscoder, range(0, 64, 2))
    [batch] = batch_prompts(tiny_pair.tokenizer, CHATS, pad_id=0, is_paddable=True)
    chosen, ids = batch.numbers, batch.ids
    with tiny_pair.edit(name, change) as model:
        out = model.generate(
            input_ids=ids,
            attention_mask=(ids != 0).long(),
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=-1,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
    for row, number in enumerate(chosen):
        so_far = torch.tensor([tokenize(tiny_pair.tokenizer, CHATS[number], opening=True)[0]])
        for step in range(NEW):
            logits = rerun(
                tiny_pair, name, crosscoder, change, so_far, find_content(tiny_pair, so_far)
            )
            torch.testing.assert_close(out.logits[step][row], logits[-1], atol=1e-4, rtol=1e-4)
            so_far = torch.cat([so_far, logits[-1].argmax()[None, None]], dim=1)
        assert so_far[0, -NEW:].tolist() == out.sequences[row, -NEW:].tolist()


def test_several_hookpoints_are_read_clean_and_edited(tiny_pair):
    crosscoder = make_crosscoder(tiny_pair, ["resid_post.0", "resid_post.1"])
    change = ablate(crosscoder, range(32))
    ids = torch.tensor([tokenize(tiny_pair.tokenizer, CHATS[1], opening=True)[0]])
    with tiny_pair.edit("chat", change) as model:
        whole = model(ids, use_cache=False).logits[0]
        cache = DynamicCache(config=model.config)
        parts = [model(part, cache=cache).logits[0] for part in ids.split(7, dim=1)]
    expected = rerun(tiny_pair, "chat", crosscoder, change, ids, find_content(tiny_pair, ids))
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("positions", "begin", "end"),
    [("prompt", 0, 0), ("response", 0, None), ("last", -1, 0), ("first-3", 0, 3)],
)
def test_positions_are_counted_from_the_start_of_the_answer(tiny_pair, positions, begin, end):
    crosscoder = make_crosscoder(tiny_pair, ["resid_post.1"])
    change = ablate(crosscoder, range(64))
    head = tokenize(tiny_pair.tokenizer, CHATS[0], opening=True)[0]
    answer = tiny_pair.tokenizer("Yes, it is.", add_special_tokens=False)["input_ids"]
    ids = torch.tensor([head + answer])
    time = torch.arange(ids.shape[1])
    low = 0 if positions == "prompt" else len(head) + begin
    high = ids.shape[1] if end is None else len(head) + end
    where = find_content(tiny_pair, ids) & (time >= low) & (time < high)
    with tiny_pair.edit("chat", change, positions=positions) as model:
        logits = model(ids).logits[0]
    expected = rerun(tiny_pair, "chat", crosscoder, change, ids, where)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits, model(ids).logits[0], atol=1e-2)


def test_an_unknown_position_is_named(tiny_pair):
    crosscoder = make_crosscoder(tiny_pair, ["resid_post.1"])
    with (
        pytest.raises(UserError, match="not 'middle'"),
        tiny_pair.edit("chat", ablate(crosscoder, [0]), positions="middle"),
    ):
        pass


def test_hooks_are_removed_on_leaving_also_after_an_error(tiny_pair):
    crosscoder = make_crosscoder(tiny_pair, ["resid_post.0", "resid_post.1"])
    ids = torch.tensor([[2, 50, 60, 70]])
    before = tiny_pair["chat"](ids).logits
    n_hooks = count_hooks(tiny_pair)
    with tiny_pair.edit("chat", ablate(crosscoder, range(64))) as model:
        assert count_hooks(tiny_pair) > n_hooks
        assert not torch.allclose(model(ids).logits, before)

    def broken(acts: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    change = Intervention("broken", crosscoder.sources, broken, crosscoder.complete)
    with pytest.raises(ZeroDivisionError), tiny_pair.edit("chat", change) as model:
        model(ids)
    assert torch.equal(tiny_pair["chat"](ids).logits, before)
    assert count_hooks(tiny_pair) == n_hooks
    assert "generate" not in vars(tiny_pair["chat"])
    with tiny_pair.edit("chat", ablate(crosscoder, [0])):  # the next edit may begin
        pass


def test_ablating_an_exclusive_latent_in_both_models_leaves_the_other_bit_identical(
    tiny_pair,
):
    crosscoder = make_crosscoder(tiny_pair, ["resid_post.0"])
    with torch.no_grad():
        crosscoder.decoder("base")[:32] = 0  # the first 32 latents are exclusive to chat
    change = ablate(crosscoder, range(32))
    hookpoints = ["resid_post.0", "resid_post.1"]
    before = tiny_pair.read(CHATS, hookpoints)
    with tiny_pair.edit("chat", change), tiny_pair.edit("base", change):
        after = tiny_pair.read(CHATS, hookpoints)
    for hookpoint in hookpoints:
        assert torch.equal(before[f"base.{hookpoint}"], after[f"base.{hookpoint}"])
        assert not torch.allclose(
            before[f"chat.{hookpoint}"], after[f"chat.{hookpoint}"], atol=1e-2
        )


def test_two_edits_read_clean_activations_of_both_models(tiny_pair):
    crosscoder = make_crosscoder(tiny_pair, ["resid_post.0"])
    change = ablate(crosscoder, range(64))
    ids = torch.tensor([[2, 50, 60, 70]])
    with tiny_pair.edit("chat", change) as model:
        alone = model(ids).logits
    with tiny_pair.edit("base", change), tiny_pair.edit("chat", change) as model:
        assert torch.equal(model(ids).logits, alone)


def test_solo_computes_the_code_from_one_model(tiny_pair):
    crosscoder = make_crosscoder(tiny_pair, ["resid_post.1"])
    change = ablate(crosscoder, range(32))
    ids = torch.tensor([[2, *range(40, 60)]])

    def alone(acts):
        x = acts[:, crosscoder.sources.slice("chat")]
        return change(torch.cat([x, x], dim=1))

    with tiny_pair.edit("chat", change, mode="solo") as model:
        logits = model(ids).logits[0]
    expected = rerun(tiny_pair, "chat", crosscoder, alone, ids, find_content(tiny_pair, ids))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_solo_never_loads_the_other_model():
    pair = Pair(
        {"base": {"seed": 0}, "chat": {"seed": 0, "drift": 0.2}},
        layer=1,
        dtype="float32",
        device="cpu",
    )
    crosscoder = make_crosscoder(pair, ["resid_post.1"])
    with pair.edit("chat", ablate(crosscoder, [0]), mode="solo"):
        assert set(pair.models.loaded) == {"chat"}
    with pair.edit("chat", steer(crosscoder, torch.ones(32), 0.1, {"base": 1.0, "chat": 1.0})):
        assert set(pair.models.loaded) == {"chat"}
    with pair.edit("chat", ablate(crosscoder, [0])):
        assert set(pair.models.loaded) == {"base", "chat"}
        pair["base"]  # models in use are not dropped
        assert set(pair.models.loaded) == {"base", "chat"}


def test_calls_that_an_edit_cannot_follow_are_refused(tiny_pair):
    crosscoder = make_crosscoder(tiny_pair, ["resid_post.1"])
    change = ablate(crosscoder, [0])
    ids = torch.tensor([[2, 50, 60, 70]])
    with tiny_pair.edit("chat", change) as model:
        with pytest.raises(UserError, match="input_ids"):
            model(inputs_embeds=torch.zeros(1, 3, 32))
        with pytest.raises(UserError, match="a layer of the edited model was called by itself"):
            Hookpoint.parse("resid_post.1").get_module(model)(
                torch.zeros(1, 3, 32),
                position_embeddings=(torch.zeros(1, 3, 16), torch.zeros(1, 3, 16)),
            )
        with pytest.raises(UserError, match="being edited already"), tiny_pair.edit("chat", change):
            pass
        with pytest.raises(
            UserError, match=r"attention mask of the edited model's tokens so far, \[batch, 4\]"
        ):
            model(ids, attention_mask={"full_attention": None, "sliding_attention": None})
    with pytest.raises(UserError, match="does not act on 'third'"), tiny_pair.edit("third", change):
        pass


def test_a_compiled_model_is_refused():
    pair = Pair(
        {"base": {"seed": 0}, "chat": {"seed": 0, "drift": 0.2}},
        layer=1,
        dtype="float32",
        device="cpu",
    )
    change = steer(
        make_crosscoder(pair, ["resid_post.1"]), torch.ones(32), 0.1, {"base": 1.0, "chat": 1.0}
    )
    # the state after compile(), which is slow
    pair["chat"]._compiled_call_impl = pair["chat"].forward
    with pytest.raises(UserError, match="this one was compiled"), pair.edit("chat", change):
        pass


def test_patching_everything_and_the_error_is_the_chat_model_itself(tiny_pair):
    crosscoder = make_crosscoder(tiny_pair, ["resid_post.0"])
    ids = torch.tensor([[2, *range(40, 60)]])
    acts = read_clean(tiny_pair, crosscoder, ids)
    chat = crosscoder.sources.slice("chat")
    base = crosscoder.sources.slice("base")
    moved = (
        patch(crosscoder, "all")(acts)[:, chat]
        + patch(crosscoder, "error")(acts)[:, chat]
        - acts[:, base]
    )
    torch.testing.assert_close(moved, acts[:, chat])
    with tiny_pair.edit("chat", patch(crosscoder, "none")) as model:
        logits = model(ids).logits[0]
    expected = rerun(
        tiny_pair,
        "chat",
        crosscoder,
        lambda x: torch.cat([x[:, base], x[:, base]], 1),
        ids,
        find_content(tiny_pair, ids),
    )
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
