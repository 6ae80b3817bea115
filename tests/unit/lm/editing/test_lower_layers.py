"""Reused clean passes against edits that run every layer."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.patch import patch
from crosscoder.interventions.splice import splice
from crosscoder.interventions.steer import steer
from crosscoder.lm import Pair
from crosscoder.lm.architectures import get_layers
from crosscoder.lm.editing.lower_layers import digest_arguments
from crosscoder.lm.hooks import run_decoder

IDS = torch.tensor([[2, 9, 30, 41, 7, 55], [2, 17, 8, 29, 60, 61]])


@pytest.fixture
def crosscoder(tiny_pair: Pair) -> Crosscoder:
    made = Crosscoder(tiny_pair.sources(["resid_post.0"]), 64, TopK(8), seed=3).fold()
    with torch.no_grad():
        made.W_dec *= 4
    return made


def list_changes(crosscoder: Crosscoder) -> list:
    norms = {source.name: 3.0 for source in crosscoder.sources}
    return [
        ablate(crosscoder, [1, 5, 9]),
        ablate(crosscoder, list(range(64))),
        patch(crosscoder, "all"),
        splice(crosscoder),
        steer(crosscoder, [3], 2.0, norms),
    ]


def run(pair: Pair, change, ids: torch.Tensor = IDS, **options) -> torch.Tensor:
    with torch.no_grad(), pair.edit("chat", change) as model:
        return run_decoder(model, ids, **options)


@contextmanager
def count_passes(model) -> Iterator[list[int]]:
    """Count how often the first layer computes something: its MLP runs."""
    calls = [0]

    def count(*_) -> None:
        calls[0] += 1

    handle = get_layers(model)[0].mlp.register_forward_hook(count)
    yield calls
    handle.remove()


def test_states_are_those_of_edits_that_run_every_layer(tiny_pair: Pair, crosscoder: Crosscoder):
    changes = list_changes(crosscoder)
    inputs = [IDS, IDS.flip(0), IDS[:, :4]]
    expected = [[run(tiny_pair, change, ids) for ids in inputs] for change in changes]
    with tiny_pair.reuse_clean_passes():
        found = [[run(tiny_pair, change, ids) for ids in inputs] for change in changes]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.equal(expected[0][0], expected[1][0])


def test_both_models_run_their_lower_layers_once(tiny_pair: Pair, crosscoder: Crosscoder):
    with tiny_pair.reuse_clean_passes():
        run(tiny_pair, ablate(crosscoder, [1]), IDS[:1])  # measures whether layers can be skipped
        with (
            count_passes(tiny_pair["chat"]) as chat,
            count_passes(tiny_pair["base"]) as base,
        ):
            for change in list_changes(crosscoder):
                run(tiny_pair, change)
    assert (chat, base) == ([1], [1])


def test_other_masks_and_positions_are_other_passes(tiny_pair: Pair, crosscoder: Crosscoder):
    options = [
        {},
        {"mask": torch.tensor([[0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])},
        {"positions": torch.arange(6).expand(2, 6) + 3},
    ]
    change = ablate(crosscoder, [1, 5, 9])
    expected = [run(tiny_pair, change, **one) for one in options]
    with tiny_pair.reuse_clean_passes():
        for _ in range(2):
            found = [run(tiny_pair, change, **one) for one in options]
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_generation_is_unchanged_after_passes_were_kept(tiny_pair: Pair, crosscoder: Crosscoder):
    change = ablate(crosscoder, list(range(32)))
    settings = {"max_new_tokens": 6, "do_sample": False}
    with tiny_pair.edit("chat", change) as model:
        expected = model.generate(IDS, **settings)
    with tiny_pair.reuse_clean_passes():
        run(tiny_pair, change)
        with tiny_pair.edit("chat", change) as model:
            assert torch.equal(model.generate(IDS, **settings), expected)


def test_the_model_is_restored(tiny_pair: Pair, crosscoder: Crosscoder):
    with tiny_pair.reuse_clean_passes():
        run(tiny_pair, splice(crosscoder))
        with pytest.raises(IndexError):
            run(tiny_pair, splice(crosscoder), IDS + 10**6)
        layers = get_layers(tiny_pair["chat"])
        assert not any("forward" in vars(layer) for layer in layers)
    assert tiny_pair.models.clean_passes is None


def test_a_pass_with_a_cache_has_no_digest():
    plain = {"input_ids": IDS, "use_cache": False}
    assert digest_arguments({}, plain) == digest_arguments({}, dict(plain))
    assert digest_arguments({}, plain) != digest_arguments({}, plain | {"input_ids": IDS + 1})
    assert digest_arguments({}, plain) != digest_arguments({}, plain | {"attention_mask": IDS})
    assert digest_arguments({}, plain | {"use_cache": True}) is None
    assert digest_arguments({}, {"input_ids": IDS}) is None
    assert digest_arguments({}, plain | {"cache": object()}) is None
