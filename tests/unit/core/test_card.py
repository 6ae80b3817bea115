"""The model card describes a crosscoder and its quality, and names nothing of its machine."""

import json

import pytest
from huggingface_hub import ModelCard

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.card import model_card
from crosscoder.core.model import Crosscoder
from tests.helpers.small import crosscoder_of

METRICS = {
    "fve/base": 0.9,
    "fve/difference": 0.5,
    "l0": 32.5,
    "train_seconds": 3.0,
    "tokens_sha256": "ab",
}


@pytest.fixture
def crosscoder() -> Crosscoder:
    made = crosscoder_of(BatchTopK(4), widths=(5, 7)).fold()
    lms = {
        "base": {"weights": "google/gemma-3-270m"},
        "chat": {"weights": "google/gemma-3-270m", "adapter": "my/lora"},
    }
    made.provenance = {"pair": {"lms": lms}, "settings": ["k=4"], "train": "/home/me/store"}
    return made


def test_the_hub_can_read_it(crosscoder):
    card = ModelCard(model_card(crosscoder.config(), METRICS, "someone/crosscoder"))
    assert card.data.library_name == "crosscoder"
    assert card.data.base_model == ["google/gemma-3-270m"]
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        "fve/base": 0.9,
        "fve/difference": 0.5,
        "l0": 32.5,
    }
    for words in (
        "24 latents",
        "google/gemma-3-270m + my/lora",
        "| fve/base | 0.9000 |",
        '.load("someone/crosscoder")',
        "k=4",
    ):
        assert words in card.text
    assert "/home/me" not in card.content
    assert "train_seconds" not in card.text


def test_a_card_without_metrics_has_no_figures(crosscoder):
    card = ModelCard(model_card(crosscoder.config(), {}, "someone/crosscoder"))
    assert card.data.eval_results is None
    assert "held out" not in card.text


def test_the_card_has_the_figures_of_the_run_that_it_was_loaded_from(crosscoder, tmp_path):
    crosscoder.save_pretrained(tmp_path / "crosscoder")
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    assert Crosscoder.from_pretrained(tmp_path).metrics == METRICS
    assert Crosscoder.from_pretrained(tmp_path / "crosscoder").metrics == METRICS
