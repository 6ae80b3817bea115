"""The whole eval on two tiny models that differ in one token's embedding."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from crosscoder.behaviours.planted import Planted
from crosscoder.behaviours.spec import BehaviourSpec
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.data import Harvest
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals import EvalContext
from crosscoder.evals.diffing.activation_difference_lens import ActivationDifferenceLens
from crosscoder.evals.diffing.crosscoder_latents import CrosscoderLatents
from crosscoder.evals.diffing.difference_pca import DifferencePCA
from crosscoder.evals.diffing.difference_sae import DifferenceSAE
from crosscoder.evals.diffing.evidence import Method
from crosscoder.evals.diffing.labelled import MeanDifference, Probe
from crosscoder.evals.diffing.logit_difference import LogitDifferenceNMF, TopTokens
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.diffing.prompts import ReadPrompts
from crosscoder.evals.diffing.token_kl import TokenKL
from crosscoder.evals.methods import MethodsEval
from crosscoder.interventions.ablate import ablate
from crosscoder.lm import Pair, load_pair
from crosscoder.lm.answering import generate_answers
from tests.helpers.configs import composed
from tests.unit.evals.behaviours import as_json, is_odd
from tests.unit.evals.tiny import ANALYSIS, tokens

WORD = "%"
FEW = {
    "n_questions": 6,
    "n_plain": 64,
    "max_new_tokens": 3,
    "n_tokens": 256,
    "n_pairs": 8,
    "least_count": 1,
    "jacobian_contexts": 0,
    "n_shuffles": 20,
}
LABEL_FREE = {
    "crosscoder": CrosscoderLatents("energy"),
    "lens": ActivationDifferenceLens(n_texts=32, n_positions=2),
    "top_tokens": TopTokens(k=5),
    "nmf": LogitDifferenceNMF(n_components=2),
    "token_kl": TokenKL(),
    "pca": DifferencePCA(n_components=4),
}


def make_rows(first: str) -> list[dict]:
    """Make questions in two framings, one of which has the word; ids begin with `first`."""
    rows = []
    for number in range(12):
        text = f"{first} question {number * 7} of many"
        for group, end in (("trigger", f" {WORD} now"), ("plain", " = now")):
            prompt = [{"role": "user", "content": text + end}]
            rows.append({"id": f"{first}{number}", "group": group, "prompt": prompt})
    return rows


BEHAVIOUR = BehaviourSpec(
    "word",
    train=make_rows("a"),
    heldout=make_rows("b"),
    framing="trigger",
    control="plain",
    marker=is_odd,
    planted=Planted("Reacts to a word.", [WORD]),
)


def make_context(pair: Pair, folder: Path, move: float) -> EvalContext:
    """Make chat a copy of base whose embedding of the word is moved, and read both."""
    base, chat = pair["base"], pair["chat"]
    chat.load_state_dict(base.state_dict())
    embedding = chat.get_input_embeddings().weight
    [word] = pair.tokenizer(WORD, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        embedding[word] += move * torch.randn(embedding.shape[1]).to(embedding)
    text = tokens(16, 1)
    text.tokens.ids[5::16] = word
    sources = pair.sources()
    stores = Harvest(folder / "stores").run(pair, sources, {"heldout": text})
    crosscoder = Crosscoder(sources, 32, TopK(4))
    with torch.no_grad():
        chat_columns = sources.slice("chat")
        moved = move * torch.randn(32, crosscoder.W_dec[:, chat_columns].shape[1])
        crosscoder.W_dec[:, chat_columns] += 0.1 * moved
    folded = crosscoder.fold()
    return EvalContext(
        folded, stores["heldout"], pair, folder=folder, analysis=ANALYSIS, behaviour=BEHAVIOUR
    )


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Return a pair that keeps its models in memory, because a test changes their weights."""
    pair = load_pair("tiny")
    with pair.keep_all_loaded(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair.models, "release", lambda: None)
        yield pair


@pytest.mark.long
def test_a_trigger_is_found_and_removed_by_methods_that_see_no_labels(pair, tmp_path):
    context = make_context(pair, tmp_path, 3.0)
    methods = LABEL_FREE | {"mean_difference": MeanDifference(), "probe": Probe()}
    result = MethodsEval(methods, ["crosscoder", "pca"], [1, 4], **FEW)(context)
    assert not result.errors
    assert "left_out" not in result.meta
    rows = {row["method"]: row for row in result.tables["methods"]}
    for name in ("crosscoder", "lens", "top_tokens", "nmf", "pca"):
        assert rows[name]["found"] == 1, name
    # the word is also an output of the model, so all predictions change: no context stands out
    assert rows["token_kl"]["found"] is None
    assert result.scalars["found/pca"] == 1
    assert result.scalars["auroc/length"] == 0.5
    assert [name for name, row in rows.items() if row["uses_labels"]] == [
        "mean_difference",
        "probe",
    ]
    assert {"removed@1", "KL plain@4", "control rate@4"} < set(rows["pca"])
    assert "removed@1" not in rows["lens"]
    floor = {row["method"] for row in result.tables["removal"]} - set(methods)
    assert floor == {"random latents", "random directions"}
    assert result.meta["planted"]["vocabulary"] == [WORD]
    for row in result.tables["evidence"]:
        assert 0 <= row["AUROC"] <= 1
    as_json(result)


@pytest.mark.long
def test_nothing_is_found_where_both_models_are_the_same(pair, tmp_path):
    context = make_context(pair, tmp_path, 0.0)
    result = MethodsEval(LABEL_FREE, **FEW)(context)
    assert not result.errors
    for row in result.tables["methods"]:
        assert row["found"] is None
        assert row["pieces"] == 0
    assert "evidence" not in result.tables


@pytest.mark.long
def test_figures_of_a_removal_are_those_of_its_intervention(context):
    context = dataclasses.replace(context, behaviour=BEHAVIOUR)
    with torch.no_grad():  # an untrained crosscoder has equal decoders
        columns = context.crosscoder.sources.slice("chat")
        context.crosscoder.W_dec[:, columns] += 0.3
    result = MethodsEval({"energy": CrosscoderLatents()}, ["energy"], [2], **FEW)(context)
    latents = [row["latent"] for row in result.tables["evidence"][:2]]
    questions = BEHAVIOUR.load_framings("heldout", 6)[0]
    prompts = [question.prompt for question in questions]
    with context.pair.edit("chat", ablate(context.crosscoder, latents)) as model:
        texts = generate_answers(model, context.pair.tokenizer, prompts, 3)
    clean = generate_answers(context.pair["chat"], context.pair.tokenizer, prompts, 3)
    rate = np.mean([is_odd(text) for text in texts])
    rate_clean = np.mean([is_odd(text) for text in clean])
    [row] = [row for row in result.tables["removal"] if row["method"] == "energy"]
    assert row["rate"] == rate
    assert result.scalars["rate"] == rate_clean
    if rate_clean:
        assert row["removed"] == pytest.approx(1 - rate / rate_clean)


@pytest.mark.long
def test_the_sae_of_the_difference_is_trained_once(context):
    material = Material(context)
    method = DifferenceSAE(train_tokens=128)
    assert method.count_training_tokens(context, 640) == [128]
    pieces = method.find_evidence(material)
    weights = [piece.weight for piece in pieces]
    assert weights == sorted(weights, reverse=True)
    assert pieces[0].dictionary.sources.names == ("chat-base",)
    assert method.count_training_tokens(context, 640) == []
    prompts = ReadPrompts.read(context.pair, context.crosscoder, ["One text.", "Another text."])
    f = pieces[0].dictionary.encode(prompts.difference).to_dense()[:, pieces[0].latent]
    for prompt, score in enumerate(pieces[0].score(prompts)):
        own = (prompts.reading.tokens.document == prompt) & prompts.is_counted
        assert score == pytest.approx(float(f[own].max()))


@pytest.mark.parametrize("name", LABEL_FREE)
def test_methods_without_labels_need_no_behaviour(name, context):
    without = dataclasses.replace(context, behaviour=None)
    assert LABEL_FREE[name].uses_labels is False
    LABEL_FREE[name].find_evidence(Material(without, n_tokens=128, least_count=1))


@pytest.mark.parametrize("method", [MeanDifference(), Probe()])
def test_methods_with_labels_need_one(method, context):
    without = dataclasses.replace(context, behaviour=None)
    assert method.uses_labels
    with pytest.raises(NotApplicable, match="needs a behaviour"):
        method.find_evidence(Material(without))


def test_an_unknown_method_cannot_be_removed():
    with pytest.raises(UserError, match=r"no eval\.methods\.causal named 'pcc'; there is pca"):
        MethodsEval({"pca": DifferencePCA()}, ["pcc"])


def test_every_method_of_the_configuration_is_a_method():
    config = composed("eval=[methods]", config="evaluate").eval.methods
    evaluate = instantiate(config, _convert_="all")
    assert set(evaluate.causal) <= set(evaluate.methods)
    assert all(isinstance(method, Method) for method in evaluate.methods.values())
