"""An edit finds the prompt of `generate` and refuses decoding that it cannot follow."""

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList

from crosscoder.errors import UserError
from crosscoder.interventions.ablate import ablate
from crosscoder.lm.editing.decoding import UNSUPPORTED_SETTINGS
from crosscoder.lm.editing.generating import GenerateWatcher
from tests.helpers.replay import crosscoder_of, replay

IDS = torch.tensor([[2, 50, 60, 70, 71, 72, 73, 74, 75]])
NEW = 3
GREEDY = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}


@pytest.fixture(scope="module")
def change(tiny_pair):
    return ablate(crosscoder_of(tiny_pair, ["resid_post.0"]), range(32))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"num_beams": 3}, "beam search"),
        ({"num_beams": 2, "do_sample": True}, "beam search"),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}, "beam search"),
        ({"force_words_ids": [[5]], "num_beams": 2}, "beam search"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive search"),
        ({"dola_layers": "low"}, "DoLa"),
        ({"prompt_lookup_num_tokens": 3}, "prompt lookup"),
        ({"assistant_early_exit": 1}, "speculative decoding"),
        ({"use_mtp": True}, "speculative decoding"),
        ({"guidance_scale": 1.5}, "classifier-free guidance"),
        ({"token_healing": True}, "token healing"),
        ({"cache_implementation": "quantized"}, "a quantized cache"),
        ({"cache_implementation": "paged"}, "a paged cache"),
    ],
)
def test_unsupported_decoding_is_refused_before_it_begins(
    tiny_pair, change, options, what, monkeypatch
):
    with tiny_pair.edit("chat", change) as model:
        with pytest.raises(UserError, match=what):
            model.generate(IDS, **{**GREEDY, **options})
        with pytest.raises(UserError, match=what):
            model.generate(IDS, GenerationConfig(**{**GREEDY, **options}))
        # as a model's generation_config.json has it
        monkeypatch.setattr(model, "generation_config", GenerationConfig(**{**GREEDY, **options}))
        with pytest.raises(UserError, match=what):
            model.generate(IDS, max_new_tokens=NEW)


def test_custom_decoding_is_refused(tiny_pair, change):
    with tiny_pair.edit("chat", change) as model:
        for custom in ("somebody/something", lambda *_, **__: IDS):
            message = "not custom decoding: call generate without custom_generate"
            with pytest.raises(UserError, match=message):
                model.generate(IDS, custom_generate=custom, **GREEDY)


def test_assistants_and_continuous_batching_are_refused(tiny_pair, change):
    with tiny_pair.edit("chat", change) as model:
        message = "not assisted decoding: call generate without assistant_model"
        with pytest.raises(UserError, match=message):
            model.generate(IDS, assistant_model=tiny_pair["base"], **GREEDY)
        with pytest.raises(UserError, match="not a prompt of embeddings"):
            model.generate(inputs_embeds=torch.zeros(1, 3, 32), **GREEDY)
        for start in (model.generate_batch, model.init_continuous_batching):
            with pytest.raises(UserError, match="continuous batching"):
                start([[2, 50]])
        with pytest.raises(UserError, match="called past the edit"):
            type(model).generate(model, IDS, **GREEDY)


def test_an_edited_model_that_drafts_for_another_is_refused(tiny_pair, change):
    with tiny_pair.edit("chat", change) as model, pytest.raises(UserError):
        tiny_pair["base"].generate(IDS, assistant_model=model, **{**GREEDY, "max_new_tokens": 8})


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 1}, {"guidance_scale": 1.0}, {"penalty_alpha": 0.0, "top_k": 4}]
)
def test_settings_that_are_off_are_accepted(tiny_pair, change, options):
    expected = replay(tiny_pair, "chat", change, "response", IDS[0].tolist(), NEW).tokens
    with tiny_pair.edit("chat", change, positions="response") as model:
        assert torch.equal(model.generate(IDS, **GREEDY, **options)[0, -NEW:], expected)
        config = GenerationConfig(**GREEDY, **options)
        assert torch.equal(model.generate(inputs=IDS, generation_config=config)[0, -NEW:], expected)


def test_every_refused_setting_exists():
    known = vars(GenerationConfig())
    arguments = {"assistant_model", "custom_generate", "negative_prompt_ids", "inputs_embeds"}
    assert set(UNSUPPORTED_SETTINGS) - arguments <= set(known)


def test_without_a_prompt_the_answer_begins_after_bos(tiny_pair, change):
    expected = replay(tiny_pair, "chat", change, "response", [2], NEW).tokens
    for options in ({}, {"use_cache": False}):
        with tiny_pair.edit("chat", change, positions="response") as model:
            assert torch.equal(model.generate(**GREEDY, **options)[0, -NEW:], expected)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("positions", ["all", "prompt", "response", "first-2"])
def test_generate_continues_a_cache_with_the_beginning_of_the_prompt(
    tiny_pair, change, whole, chunk, positions
):
    ids = torch.tensor(
        [[2, 50, 60, 70, 2, 50, 60, 70, 80]]
    )  # both halves begin with the same tokens
    expected = replay(tiny_pair, "chat", change, positions, ids[0].tolist(), NEW).tokens
    with tiny_pair.edit("chat", change, positions=positions) as model:
        cache = DynamicCache(config=model.config)
        model(ids[:, :4], cache=cache)
        out = model.generate(
            ids if whole else ids[:, 4:],
            attention_mask=torch.ones_like(ids),
            cache=cache,
            prefill_chunk_size=chunk,
            **GREEDY,
        )
    assert torch.equal(out[0, -NEW:], expected)


def test_a_second_generate_continues_the_cache_if_positions_allow_it(tiny_pair, change):
    def two_turns(positions: str) -> Tensor:
        with tiny_pair.edit("chat", change, positions=positions) as model:
            cache = DynamicCache(config=model.config)
            first = model.generate(IDS, cache=cache, **GREEDY)
            second = torch.cat([first, torch.tensor([[90, 91]])], dim=1)
            return model.generate(second, cache=cache, **GREEDY)

    out = two_turns("all")
    expected = replay(tiny_pair, "chat", change, "all", out[0, :-NEW].tolist(), NEW).tokens
    assert torch.equal(out[0, -NEW:], expected)
    with pytest.raises(UserError, match="move where the answer begins"):
        two_turns("response")


def test_each_generate_begins_a_new_conversation(tiny_pair, change):
    longer = torch.cat([IDS, torch.tensor([[80]])], dim=1)
    for options in ({}, {"use_cache": False}, {"cache_implementation": "static"}):
        for ids in (IDS, longer):
            with tiny_pair.edit("chat", change, positions="last") as model:
                model.generate(IDS, **GREEDY, **options)
                found = model.generate(ids, **GREEDY, **options)[0, -NEW:]
            expected = replay(tiny_pair, "chat", change, "last", ids[0].tolist(), NEW).tokens
            assert torch.equal(found, expected)


def test_generate_inside_generate_is_refused(tiny_pair, change):
    with tiny_pair.edit("chat", change) as model:

        def nested(ids: Tensor, scores: Tensor) -> Tensor:
            model.generate(ids, **GREEDY)
            return scores

        with pytest.raises(UserError, match="inside generate"):
            model.generate(IDS, logits_processor=LogitsProcessorList([nested]), **GREEDY)
        model.generate(IDS, **GREEDY)  # the edit is still usable


def test_passes_are_not_compiled(tiny_pair, change, monkeypatch):
    seen = []
    original = type(tiny_pair["chat"])._valid_auto_compile_criteria

    def record(self, model_kwargs, config):
        seen.append(config.disable_compile)
        return original(self, model_kwargs, config)

    monkeypatch.setattr(type(tiny_pair["chat"]), "_valid_auto_compile_criteria", record)
    config = GenerationConfig(**GREEDY, cache_implementation="static")
    with tiny_pair.edit("chat", change) as model:
        model.generate(IDS, generation_config=config)
        model.generate(IDS, **GREEDY, cache_implementation="static")
    assert seen
    assert all(seen)
    assert not config.disable_compile


def test_the_model_is_restored_afterwards(tiny_pair):
    model = tiny_pair["chat"]
    before = dict(vars(model))
    model.generate = kept = lambda: "a user's own"  # pyright: ignore
    with GenerateWatcher(model).watch():
        assert model.generate is not kept
    assert vars(model)["generate"] is kept
    del model.generate
    assert vars(model) == before
