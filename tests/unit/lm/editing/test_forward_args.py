"""Arguments of an edited model: masks for other models, token inputs, ignored caches."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, Gemma3Config, MambaConfig, StaticCache

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.interventions.ablate import ablate
from crosscoder.lm.editing.forward_args import ForwardArgs
from tests.helpers.replay import crosscoder_of, edited_logits, pair_of, positions_of, replay
from tests.helpers.small import sources_of

IDS = torch.tensor([[0, 0, 2, 50, 60, 70], [2, 80, 90, 91, 92, 93]])
MASK = (IDS != 0).long()


@pytest.fixture(scope="module")
def change(tiny_pair):
    return ablate(crosscoder_of(tiny_pair, ["resid_post.0"]), range(32))


def compute_expected(pair, change, row: Tensor) -> Tensor:
    return edited_logits(pair, "chat", change, row, positions_of(pair, "all", row, len(row)))


@pytest.fixture(scope="module")
def multimodal(tmp_path_factory):
    """Make a small model with the architecture of Gemma 3 from 4B on.

    Its decoder receives embeddings and a mask that are computed from the tokens.
    """
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {
        "vocab_size": 263,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "sliding_window": 8,
        "initializer_range": 0.2,
    }
    config = Gemma3Config(
        text_config=sizes | text,
        vision_config=sizes | {"num_hidden_layers": 1, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=262,
        boi_token_index=261,
        eoi_token_index=260,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
        initializer_range=0.2,
    )
    return pair_of(config, Path(tmp_path_factory.mktemp("multimodal")), template=False)


@pytest.mark.parametrize("options", [{}, {"use_cache": False}, {"cache_implementation": "static"}])
def test_text_in_multimodal_models_is_edited(multimodal, options):
    change = ablate(Crosscoder(sources_of(32, 32), 64, TopK(8), seed=3).fold(), range(32))
    with multimodal.edit("chat", change, positions="response") as model:
        out = model.generate(
            IDS,
            attention_mask=MASK,
            max_new_tokens=3,
            do_sample=False,
            eos_token_id=-1,
            output_logits=True,
            return_dict_in_generate=True,
            **options,
        )
    logits = torch.stack(out.logits, dim=1)
    for i, prompt in enumerate([IDS[0, 2:].tolist(), IDS[1].tolist()]):
        again = replay(multimodal, "chat", change, "response", prompt, 3)
        torch.testing.assert_close(logits[i], again.logits, atol=1e-3, rtol=1e-3)


def test_images_are_refused(multimodal):
    change = ablate(Crosscoder(sources_of(32, 32), 64, TopK(8), seed=3).fold(), range(32))
    with (
        multimodal.edit("chat", change) as model,
        pytest.raises(UserError, match="without pixel_values"),
    ):
        model(torch.tensor([[2, 262, 262, 262, 262, 50]]), pixel_values=torch.zeros(1, 3, 28, 28))


@pytest.mark.parametrize("longer", [0, 4])
def test_masks_longer_than_the_tokens_are_cut(tiny_pair, change, longer):
    mask = torch.cat([MASK, torch.ones(2, longer, dtype=torch.long)], dim=1)
    positions = (MASK.cumsum(1) - 1).clamp(min=0)
    with tiny_pair.edit("chat", change) as model:
        cache = StaticCache(config=model.config, max_cache_len=10)
        logits = [
            model(
                IDS[:, part], attention_mask=mask, position_ids=positions[:, part], cache=cache
            ).logits
            for part in (slice(0, 5), slice(5, 6))
        ]
    logits = torch.cat(logits, dim=1)
    torch.testing.assert_close(
        logits[0, 2:], compute_expected(tiny_pair, change, IDS[0, 2:]), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        logits[1], compute_expected(tiny_pair, change, IDS[1]), atol=1e-4, rtol=1e-4
    )


def test_a_custom_mask_is_passed_to_the_other_model(tiny_pair, change):
    two = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)).tril().bool()[None, None]
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    with tiny_pair.edit("chat", change) as model:
        logits = model(IDS[1:], attention_mask=two, position_ids=positions).logits[0]
    apart = [compute_expected(tiny_pair, change, part) for part in IDS[1].split(3)]
    torch.testing.assert_close(logits, torch.cat(apart), atol=1e-4, rtol=1e-4)


def test_a_mask_that_fits_no_other_model_is_refused(tiny_pair, change):
    mask = torch.ones(2, 1, 6, 10, dtype=torch.bool)
    with (
        tiny_pair.edit("chat", change) as model,
        pytest.raises(UserError, match=r"not \[2, 1, 6, 10\]"),
    ):
        model(IDS, attention_mask=mask)
    forward_args = ForwardArgs(IDS, None, True, None, mask)
    assert forward_args.get_token_mask(6) is None


def test_a_cache_that_the_model_ignores_is_refused(tmp_path):
    config = MambaConfig(
        vocab_size=263, hidden_size=32, num_hidden_layers=2, state_size=8, pad_token_id=0
    )
    pair = pair_of(config, tmp_path, template=False)
    change = ablate(crosscoder_of(pair, ["resid_post.0"]), range(32))
    with pair.edit("chat", change) as model:
        cache = DynamicCache(config=model.config)
        message = "did not use the cache it was given: pass it on as cache="
        for module in (model, model.get_decoder()):
            with pytest.raises(UserError, match=message):
                module(IDS[1:], past_key_values=cache)
        with pytest.raises(UserError, match="cannot follow a model's state"):
            model.get_decoder()(IDS[1:], state=[torch.zeros(1)])


def test_continuations_that_recurrent_layers_cannot_process_are_refused(tmp_path):
    config = MambaConfig(
        vocab_size=263, hidden_size=32, num_hidden_layers=2, state_size=8, pad_token_id=0
    )
    pair = pair_of(config, tmp_path, template=False)
    change = ablate(crosscoder_of(pair, ["resid_post.0"]), range(32))
    with pair.edit("chat", change) as model:
        message = r"the whole prompt in one pass \(generate without prefill_chunk_size\)"
        with pytest.raises(UserError, match=message):
            model.generate(IDS[1:], prefill_chunk_size=2, max_new_tokens=2)
        cache = model(IDS[1:, :3]).cache
        with pytest.raises(UserError, match=r"the whole prompt in one pass, or use no cache"):
            model(IDS[1:, 3:], cache=cache)
        cache = model(IDS[1:, :3]).cache
        with pytest.raises(UserError, match="leave out the attention mask"):
            model(IDS[1:, 3:4], attention_mask=torch.ones(1, 4), cache=cache)
