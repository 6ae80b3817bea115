"""Directions of the label-free methods against other ways to compute them."""

import numpy as np
import pytest
import torch

from crosscoder.core.types import Kind
from crosscoder.errors import NotApplicable
from crosscoder.evals.diffing.activation_difference_lens import (
    ActivationDifferenceLens,
    cut_texts,
)
from crosscoder.evals.diffing.difference_pca import DifferencePCA, compute_components
from crosscoder.evals.diffing.labelled import MeanDifference, Probe
from crosscoder.evals.diffing.material import Material
from crosscoder.lm.hooks import Hookpoint, read
from tests.helpers.small import random_acts, store_of


@pytest.mark.parametrize("is_centred", [True, False])
def test_components_are_the_singular_vectors(is_centred):
    x = random_acts(200, 8) * torch.arange(1, 9) + 2
    fractions, components = compute_components(x, is_centred)
    reference = x.double().numpy()
    if is_centred:
        reference = reference - reference.mean(0)
    _, sizes, rows = np.linalg.svd(reference, full_matrices=False)
    cosines = np.abs((components.numpy() * rows).sum(1))
    assert cosines == pytest.approx(1, abs=1e-4)
    assert fractions.numpy() == pytest.approx(sizes**2 / (sizes**2).sum(), rel=1e-4)


def test_a_component_points_to_the_longer_tail():
    x = torch.zeros(100, 4)
    x[:5, 2] = -7.0
    _, components = compute_components(x)
    assert components[0].tolist() == pytest.approx([0, 0, -1, 0], abs=1e-6)


def test_pca_reads_the_difference_on_all_held_out_tokens(context):
    pieces = DifferencePCA(n_components=3).find_evidence(Material(context))
    store = context.heldout
    content = store.tokens(0).kind != Kind.SPECIAL
    chat, base = (store.acts(0, [name])[content].double().numpy() for name in ("chat", "base"))
    difference = chat - base
    _, sizes, rows = np.linalg.svd(difference - difference.mean(0), full_matrices=False)
    for number, piece in enumerate(pieces):
        assert abs(piece.direction.numpy() @ rows[number]) == pytest.approx(1, abs=1e-3)
        assert piece.weight == pytest.approx(sizes[number] ** 2 / (sizes**2).sum(), rel=1e-3)
        assert piece.reads == "difference"


@torch.no_grad()
def test_the_activation_difference_lens_is_a_mean_over_texts(context):
    pair = context.pair
    method = ActivationDifferenceLens(n_texts=6, n_positions=3)
    pieces = {piece.name: piece for piece in method.find_evidence(Material(context))}
    hookpoint = Hookpoint.parse(f"resid_post.{pair.layer}")
    texts = cut_texts(context.heldout, 6, 3)
    assert len(texts) == 6
    sums = torch.zeros(3, context.crosscoder.sources["chat"].width)
    for text in texts:
        ids = torch.tensor([[2, *text]])
        chat, base = (read(pair[lm], [hookpoint], ids)[hookpoint][0, 1:] for lm in ("chat", "base"))
        sums += chat.float() - base.float()
    for position, total in enumerate(sums / 6):
        piece = pieces[f"position {position + 1}"]
        assert piece.weight == pytest.approx(float(total.norm()), rel=1e-3)
        assert float(piece.direction @ total / total.norm()) == pytest.approx(1, abs=1e-4)
    weights = [piece.weight for piece in pieces.values()]
    assert weights == sorted(weights, reverse=True)


def test_texts_are_consecutive_plain_tokens_of_one_document(context):
    tokens = context.heldout.tokens(0)
    ids = tokens.ids.tolist()
    expected = []
    for start in range(0, len(ids), 32):  # of a sequence of one document, which begins with BOS
        document = ids[start + 1 : start + 32]
        expected += [document[at : at + 5] for at in range(0, 30, 5)]
    assert cut_texts(context.heldout, 10**6, 5) == expected


def test_there_are_no_texts_without_plain_tokens(tmp_path):
    streams = {"base": random_acts(6, 4), "chat": random_acts(6, 4)}
    store = store_of(tmp_path, streams, [6], torch.full((6,), Kind.CHAT))
    with pytest.raises(NotApplicable, match="5 consecutive tokens of plain text"):
        cut_texts(store, 4, 5)


def test_the_mean_difference_and_the_probe_separate_the_training_prompts(context):
    material = Material(context, n_pairs=8)
    prompts = material.labelled_prompts
    chat = prompts.reading["chat"]
    documents = prompts.reading.tokens.document
    last = torch.stack([chat[documents == number][-1] for number in range(16)])
    [piece] = MeanDifference().find_evidence(material)
    expected = last[:8].mean(0) - last[8:].mean(0)
    assert torch.allclose(piece.direction, expected / expected.norm(), atol=1e-5)
    [probe] = Probe().find_evidence(material)
    projections = last @ probe.direction
    assert projections[:8].mean() > projections[8:].mean()
    assert MeanDifference.uses_labels
    assert Probe.uses_labels
