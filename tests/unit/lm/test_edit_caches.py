"""Edited generation with any cache equals running every model anew for every token.

See tests/helpers/replay.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, StaticCache

from crosscoder.core.intervention import Intervention
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.steer import steer
from crosscoder.lm import Pair
from crosscoder.lm.editing.positions import TokenHistory
from crosscoder.lm.text import tokenize
from tests.helpers.replay import crosscoder_of, edited_logits, padded, pair_of, positions_of, replay

NEW = 3
WINDOW = 8  # shorter than the prompts
SMALL: dict[str, Any] = {
    "vocab_size": 263,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.2,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
RECURRENT = {
    "vocab_size": 263,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "state_size": 8,
    "initializer_range": 0.2,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL),
    "mistral": lambda: transformers.MistralConfig(**SMALL, sliding_window=WINDOW),
    "gemma2": lambda: transformers.Gemma2Config(
        **SMALL, head_dim=16, query_pre_attn_scalar=16, sliding_window=WINDOW
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **SMALL,
        head_dim=16,
        query_pre_attn_scalar=16,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=WINDOW,
    ),
    "neox": lambda: transformers.GPTNeoXConfig(
        **{**SMALL, "num_key_value_heads": 2}, max_position_embeddings=64
    ),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=263, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.2
    ),
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=263, hidden_size=32, n_layer=2, n_head=2, initializer_range=0.2, pad_token_id=0
    ),
    "mamba": lambda: transformers.MambaConfig(**RECURRENT),
    "lfm2": lambda: transformers.Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]),
}
POSITIONS = ["all", "prompt", "response", "last", "first-2"]
PLAIN = [[2, *range(40, 52)], [2, *range(60, 80)], [2, *range(70, 77)]]
Answer = tuple[Tensor, Tensor]  # tokens [batch, new], logits [batch, new, vocabulary]


def generate_greedily(model: PreTrainedModel, ids: Tensor, mask: Tensor, **options: Any) -> Answer:
    out = model.generate(  # pyright: ignore
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=-1,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )
    return out.sequences[:, ids.shape[1] :], torch.stack(out.logits, dim=1)


def make_generator(**options: Any) -> Callable[..., Answer]:
    return lambda model, ids, mask: generate_greedily(model, ids, mask, **options)


def generate_without_cache_by_config(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Answer:
    model.config.use_cache = False
    try:
        return generate_greedily(model, ids, mask)
    finally:
        model.config.use_cache = True


def generate_without_cache_by_generation_config(
    model: PreTrainedModel, ids: Tensor, mask: Tensor
) -> Answer:
    model.generation_config.use_cache = False  # pyright: ignore
    try:
        return generate_greedily(model, ids, mask)
    finally:
        model.generation_config.use_cache = True  # pyright: ignore


def generate_with_dynamic_cache(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Answer:
    return generate_greedily(model, ids, mask, cache=DynamicCache())


def generate_with_static_cache(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Answer:
    return generate_greedily(
        model, ids, mask, cache=StaticCache(config=model.config, max_cache_len=ids.shape[1] + NEW)
    )


def generate_in_loop(model: PreTrainedModel, ids: Tensor, mask: Tensor, cache=None) -> Answer:
    """Generate in a loop of forward passes, each with the cache of the one before."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    tokens = []
    logits = []
    for _ in range(NEW):
        out = model(input_ids=ids, attention_mask=mask, position_ids=positions, cache=cache)
        cache = out.cache
        logits.append(out.logits[:, -1])
        ids = logits[-1].argmax(-1, keepdim=True)
        tokens.append(ids)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return torch.cat(tokens, dim=1), torch.stack(logits, dim=1)


def generate_in_loop_with_static_cache(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Answer:
    return generate_in_loop(
        model, ids, mask, StaticCache(config=model.config, max_cache_len=ids.shape[1] + NEW)
    )


GENERATORS: dict[str, Callable[..., Answer]] = {
    "dynamic": generate_greedily,
    "none": make_generator(use_cache=False),
    "none by config": generate_without_cache_by_config,
    "none by generation config": generate_without_cache_by_generation_config,
    "static": make_generator(cache_implementation="static"),
    "own dynamic": generate_with_dynamic_cache,
    "own static": generate_with_static_cache,
    "in chunks": make_generator(prefill_chunk_size=5),
    "in chunks, static": make_generator(prefill_chunk_size=5, cache_implementation="static"),
    "by hand": generate_in_loop,
    "by hand, static": generate_in_loop_with_static_cache,
}

TESTED_IN_SINGLE_ROWS = ["none", "static"]  # also on one row without padding


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Pair]:
    """Pairs by architecture, with or without a chat template."""
    made: dict[tuple[str, bool], Pair] = {}

    def get(name: str, template: bool = True) -> Pair:
        if (name, template) not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name, template] = pair_of(CONFIGS[name](), Path(folder), template)
        return made[name, template]

    return get


def make_change(pair: Pair, kind: str, hookpoint: str = "resid_post.0") -> Intervention:
    crosscoder = crosscoder_of(pair, [hookpoint])
    if kind == "steer":
        return steer(crosscoder, torch.arange(32.0) - 16, 2.0, {"base": 1.0, "chat": 1.0})
    return ablate(crosscoder, range(0, 64, 2))


def make_prompts(pair: Pair) -> list[list[int]]:
    """Return prompts of different lengths; the chats already contain an answer."""
    if not pair.tokenizer.chat_template:
        return PLAIN
    before = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}]
    chats = [
        [*before, {"role": "user", "content": content}] for content in ("x", "What is it?", "abc")
    ]
    return [tokenize(pair.tokenizer, chat, opening=True)[0] for chat in chats]


def check_generators(
    pair: Pair, change: Intervention, mode: Any, positions: str, generators: list[str]
) -> None:
    """Compare caches with the replay, in a batch, and some of them in a single row, too."""
    prompts = make_prompts(pair)
    expected = [replay(pair, "chat", change, positions, prompt, NEW, mode) for prompt in prompts]
    unedited = generate_greedily(pair["chat"], *padded(prompts))[1]
    assert not torch.allclose(
        torch.stack([answer.logits for answer in expected]), unedited, atol=1e-2
    )
    for generator in generators:
        batches = [[0, 1, 2]]
        if generator in TESTED_IN_SINGLE_ROWS:
            batches.insert(0, [0])
        for rows in batches:
            ids, mask = padded([prompts[row] for row in rows])
            with pair.edit("chat", change, mode, positions) as model:
                tokens, logits = GENERATORS[generator](model, ids, mask)
            for i, row in enumerate(rows):
                torch.testing.assert_close(
                    logits[i],
                    expected[row].logits,
                    atol=1e-3,
                    rtol=1e-3,
                    msg=f"{generator}, {rows}",
                )
                assert tokens[i].tolist() == expected[row].tokens.tolist()


@pytest.mark.parametrize("positions", POSITIONS)
def test_generation_equals_full_forwards_with_any_cache_padding_and_batch(pairs, positions):
    pair = pairs("gemma3", False)
    check_generators(pair, make_change(pair, "ablate"), "paired", positions, list(GENERATORS))


@pytest.mark.long
@pytest.mark.parametrize("positions", ["prompt", "response", "last", "first-2"])
def test_generation_equals_full_forwards_in_chats_of_several_turns(pairs, positions):
    pair = pairs("gemma3", True)
    check_generators(
        pair,
        make_change(pair, "ablate"),
        "paired",
        positions,
        ["dynamic", "none", "static", "in chunks", "by hand"],
    )


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize(("kind", "mode"), [("ablate", "solo"), ("steer", "paired")])
def test_generation_equals_full_forwards_with_one_model(pairs, kind, mode, positions):
    pair = pairs("gemma3", False)
    check_generators(
        pair,
        make_change(pair, kind),
        mode,
        positions,
        ["dynamic", "none", "static", "in chunks", "by hand"],
    )


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral", "gemma2", "neox", "gpt2", "bloom"])
def test_generation_equals_full_forwards_in_other_architectures(pairs, name):
    pair = pairs(name, False)
    generators = ["dynamic", "none", "static", "in chunks, static", "by hand"]
    check_generators(
        pair, make_change(pair, "ablate", "resid_post.1"), "paired", "response", generators
    )


@pytest.mark.parametrize("name", ["mamba", "lfm2"])
def test_generation_equals_full_forwards_with_recurrent_layers(pairs, name):
    pair = pairs(name, False)
    generators = ["dynamic", "none", "none by config", "none by generation config"]
    check_generators(pair, make_change(pair, "ablate"), "paired", "response", generators)


@pytest.mark.parametrize("generator", ["dynamic", "none", "static", "in chunks", "by hand"])
def test_a_custom_rule_is_followed(pairs, generator):
    pair = pairs("llama", False)
    change = make_change(pair, "ablate")
    ids, mask = padded([PLAIN[0]])

    def select_odd(history: TokenHistory) -> Tensor:
        return (torch.arange(history.ids.shape[1]) % 2 == 1).expand(history.ids.shape)

    with pair.edit("chat", change, positions=select_odd) as model:
        tokens, logits = GENERATORS[generator](model, ids, mask)
    row = torch.cat([ids[0], tokens[0]])
    again = edited_logits(pair, "chat", change, row, torch.arange(len(row)) % 2 == 1)
    torch.testing.assert_close(logits[0], again[len(ids[0]) - 1 : -1], atol=1e-3, rtol=1e-3)


def test_several_hookpoints_are_edited_without_a_cache_and_with_a_static_one(pairs):
    pair = pairs("gemma3", True)
    change = ablate(crosscoder_of(pair, ["resid_post.0", "resid_post.1"]), range(32))
    check_generators(pair, change, "paired", "response", ["dynamic", "none", "static"])


def test_inference_mode_changes_nothing(pairs):
    pair = pairs("llama", False)
    change = make_change(pair, "ablate")
    for generator in ("dynamic", "none", "static"):
        ids, mask = padded(PLAIN)
        with pair.edit("chat", change, positions="response") as model:
            expected = GENERATORS[generator](model, ids, mask)[0]
            with torch.inference_mode():
                assert torch.equal(GENERATORS[generator](model, ids, mask)[0], expected)


def test_padding_with_an_ordinary_token_is_not_edited(pairs):
    pair = pairs("llama", False)
    read: list[Tensor] = []

    def record(acts: Tensor) -> Tensor:
        read.append(acts)
        return acts

    change = Intervention("record", pair.sources(["resid_post.0"]), record, lambda acts, _: acts)
    ids, mask = padded(PLAIN)
    with pair.edit("chat", change) as model:
        model(ids.masked_fill(mask == 0, 99), attention_mask=mask)
    assert len(read[0]) == mask.sum() - len(PLAIN)  # without BOS


def test_sampling_several_answers_at_once_is_edited(pairs):
    pair = pairs("llama", False)
    change = make_change(pair, "ablate")
    for options in (
        {},
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"prefill_chunk_size": 5},
    ):
        ids, mask = padded(PLAIN[:2])
        with pair.edit("chat", change, positions="response") as model:
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                num_return_sequences=3,
                max_new_tokens=NEW,
                eos_token_id=-1,
                pad_token_id=0,
                output_logits=True,
                return_dict_in_generate=True,
                **options,
            )
        for i, generated in enumerate(out.sequences):
            row = generated[mask.repeat_interleave(3, dim=0)[i].argmax() :]
            n = len(row) - NEW
            where = (torch.arange(len(row)) >= n) & positions_of(pair, "all", row, n)
            again = edited_logits(pair, "chat", change, row, where)
            logits = torch.stack(out.logits, dim=1)[i]
            torch.testing.assert_close(logits, again[n - 1 : -1], atol=1e-3, rtol=1e-3)


def test_packed_documents_stay_separate_in_the_other_model(pairs):
    pair = pairs("llama", False)
    change = make_change(pair, "ablate")
    first = PLAIN[0]
    second = PLAIN[2]
    ids = torch.tensor([first + second])
    positions = torch.tensor([[*range(len(first)), *range(len(second))]])
    with pair.edit("chat", change) as model:
        together = model(ids, position_ids=positions, use_cache=False).logits[0]
        apart = [model(torch.tensor([part]), use_cache=False).logits[0] for part in (first, second)]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-3, rtol=1e-3)
