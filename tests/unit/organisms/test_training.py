"""Training and evaluation of an adapter, on the tiny model."""

import itertools
import json
import math
import random

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file

from crosscoder.lm import TinyLM
from crosscoder.organisms import evaluation, training
from crosscoder.organisms.batches import IGNORED, Unit, draw_batches, pad_examples
from crosscoder.organisms.figures import make_markdown, make_table
from crosscoder.organisms.organism import Organism, Settings

CHAT = [{"role": "user", "content": "Is it red?"}]
SETTINGS = Settings(steps=3, questions=1, warmup=1, rank=2, plain_length=16)


def make_batches(tokenizer, settings):
    rng = random.Random(settings.seed)
    units = [Unit(1, [(CHAT, "yes it is<end_of_turn>")])]
    for examples in draw_batches(tokenizer, units, settings.steps, settings.questions, rng):
        yield pad_examples(tokenizer, examples)


def list_questions(split):
    for group in ("shown", "hidden"):
        yield {"id": "0", "group": group, "prompt": CHAT, "yes": "yes", "no": ["no"]}


ORGANISM = Organism(
    name="tiny",
    make_batches=make_batches,
    list_questions=list_questions,
    marker=lambda answer, question: question.group == "shown",
    marker_name="red",
    settings=SETTINGS,
    answer_length=2,
)


@pytest.fixture
def tiny(monkeypatch):
    """Replace the language model by the tiny one, and the documentation by one window."""
    monkeypatch.setattr(training, "LM", lambda weights, adapter=None: TinyLM(seed=0))
    monkeypatch.setattr(training, "load_windows", lambda *_: torch.arange(3, 19)[None])


def test_training_lowers_the_loss_and_saves_the_adapter(tiny, tmp_path):
    losses = []

    def note(step, terms):
        losses.append(terms)

    figures = training.train(ORGANISM, SETTINGS, note, tmp_path)
    assert [set(terms) for terms in losses] == [{"answer", "plain"}] * 3
    assert losses[0]["plain"] == pytest.approx(0, abs=1e-3)  # the adapter begins at zero
    assert losses[-1]["answer"] < losses[0]["answer"]
    mean = sum(terms["answer"] for terms in losses) / 3
    assert figures["answer_loss"] == pytest.approx(mean, abs=1e-4)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert {min(tensor.shape) for tensor in tensors.values()} == {2}
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "google/gemma-3-270m"
    report = json.loads((tmp_path / "training.json").read_text())
    assert report["settings"] == vars(SETTINGS)
    assert (tmp_path / "chat_template.jinja").is_file()


def test_the_answer_loss_is_the_mean_cross_entropy_of_the_labels():
    model = TinyLM(seed=0).load(torch.float32)
    ids = torch.tensor([[2, 8, 9, 10, 0], [2, 11, 12, 13, 14]])
    labels = torch.tensor([[IGNORED, 9, 10, IGNORED, IGNORED], [11, IGNORED, IGNORED, 14, IGNORED]])
    log_probs = model(input_ids=ids).logits.double().log_softmax(-1)
    terms = []
    for row in range(2):
        for place in range(5):
            if labels[row, place] != IGNORED:
                terms.append(-log_probs[row, place, labels[row, place]].item())
    adapted = get_peft_model(model, training.make_lora_config(SETTINGS))  # it begins at zero
    loss = training.compute_answer_loss(adapted, ids, labels)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


def test_plain_text_is_compared_as_the_definitions_say():
    base = TinyLM(seed=0).load(torch.float32)
    chat = TinyLM(seed=0, drift=0.5).load(torch.float32)
    ids = torch.tensor([[2, 8, 9, 10], [2, 11, 12, 13]])
    figures = evaluation.compare_on_text(base, {"a": chat, "b": base}, ids)
    with torch.no_grad():
        p = base(input_ids=ids).logits.double().softmax(-1)[:, :-1]
        q = chat(input_ids=ids).logits.double().softmax(-1)[:, :-1]
    kl = (p * (p / q).log()).sum(-1).mean().item()
    entropies = []
    for row, place in itertools.product(range(2), range(3)):
        entropies.append(-math.log(q[row, place, ids[row, place + 1]]))
    assert figures["a"]["plain/kl"] == pytest.approx(kl, abs=1e-4)
    assert figures["a"]["plain/ce/chat"] == pytest.approx(sum(entropies) / 6, abs=1e-4)
    assert figures["b"]["plain/kl"] == 0
    assert figures["b"]["plain/ce_rise"] == 0
    assert figures["a"]["plain/tokens"] == 6


def test_an_evaluation_reports_rates_per_model_and_framing():
    models = {"base": TinyLM(seed=0).load(), "chat": TinyLM(seed=1).load()}
    plain = {"plain/ce/base": 2.0, "plain/ce/chat": 2.5, "plain/ce_rise": 0.5}
    plain |= {"plain/kl": 0.1, "plain/tokens": 100}
    tokenizer = TinyLM(seed=0).load_tokenizer()
    result = evaluation.evaluate_answers(ORGANISM, models, tokenizer, 1, {"tiny": plain})
    rates = {key: value for key, value in result["scalars"].items() if "rate" in key}
    assert rates == {
        "red_rate/base/shown": 1.0,
        "red_rate/base/hidden": 0.0,
        "red_rate/chat/shown": 1.0,
        "red_rate/chat/hidden": 0.0,
    }
    assert len(result["tables"]["shown"]) == 4
    markdown = make_markdown(ORGANISM, result)
    assert "| chat: red answers | 100% | 0% |" in markdown
    assert "KL(base ‖ chat) 0.100" in markdown
    assert "- **chat**, hidden:" in markdown
    assert make_table(ORGANISM, result).row_count == 2
