"""A planted direction is found at rank 1, and nothing where both models are the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder
from crosscoder.core.reading import Reading
from crosscoder.core.types import Kind, Tokens
from crosscoder.errors import NotApplicable
from crosscoder.evals import EvalContext
from crosscoder.evals.diffing.crosscoder_latents import CrosscoderLatents, choose_column
from crosscoder.evals.diffing.difference_pca import DifferencePCA
from crosscoder.evals.diffing.evidence import DirectionPiece, LatentPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.diffing.prompts import ReadPrompts
from crosscoder.evals.diffing.trigger import score_trigger
from crosscoder.evals.methods import MethodsEval
from tests.helpers.small import random_acts, sources_of, store_of

WIDTH = 8
N_PROMPTS = 12
LENGTH = 5
PLANTED = torch.nn.functional.normalize(torch.arange(1.0, WIDTH + 1), dim=0)
METHODS = {"crosscoder": CrosscoderLatents("energy"), "pca": DifferencePCA()}


def make_acts(is_triggered: Tensor, size: float) -> Tensor:
    """Activations of base and of chat, which adds the planted direction where it is triggered."""
    base = random_acts(len(is_triggered), WIDTH)
    return torch.cat([base, base + size * is_triggered[:, None] * PLANTED], dim=-1)


def make_crosscoder() -> Crosscoder:
    """Make a crosscoder whose latent 2 is the planted direction; the others are shared."""
    made = Crosscoder(sources_of(WIDTH, WIDTH), 6, ReLU())
    with torch.no_grad():
        made.W_dec[:, WIDTH:] = made.W_dec[:, :WIDTH]
        made.W_enc[2] = torch.cat([-PLANTED, PLANTED])
        made.W_dec[2] = torch.cat([torch.zeros(WIDTH), PLANTED])
        made.b_enc[2] = -0.5
    return made.fold()


def make_material(folder: Path, size: float) -> Material:
    is_triggered = torch.arange(400) % 8 == 0
    base, chat = make_acts(is_triggered, size).split(WIDTH, dim=-1)
    store = store_of(folder, {"base": base, "chat": chat}, [400])
    return Material(EvalContext(make_crosscoder(), store, None, analysis=Analysis(n_resamples=5)))


def make_prompts(size: float) -> ReadPrompts:
    """Make prompts, the first half of which trigger the direction at one token."""
    document = torch.arange(N_PROMPTS).repeat_interleave(LENGTH)
    place = torch.arange(LENGTH).repeat(N_PROMPTS)
    is_triggered = (document < N_PROMPTS // 2) & (place == 2)
    kind = torch.full_like(document, Kind.PLAIN)
    tokens = Tokens(place, place, document, kind)
    crosscoder = make_crosscoder()
    acts = make_acts(is_triggered, size)
    reading = Reading(acts, tokens, ["a"] * len(place), crosscoder.sources)
    return ReadPrompts(None, crosscoder, reading, N_PROMPTS)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_the_planted_direction_comes_first_and_tells_the_prompts_apart(name, tmp_path, unchecked):
    pieces = METHODS[name].find_evidence(make_material(tmp_path, 4.0))
    assert abs(float(pieces[0].direction @ PLANTED)) == pytest.approx(1, abs=1e-4)
    prompts = make_prompts(4.0)
    scores = np.stack([piece.score(prompts) for piece in pieces])
    found = score_trigger(scores, np.arange(N_PROMPTS) < N_PROMPTS // 2, 50, seed=0)
    assert found.found_rank == 1
    assert found.aurocs[0] == 1
    assert found.chance_found < 0.5


def test_nothing_is_found_where_both_models_are_the_same(tmp_path):
    material = make_material(tmp_path, 0.0)
    assert DifferencePCA().find_evidence(material) == []
    assert DifferencePCA(is_centred=False).find_evidence(material) == []
    assert CrosscoderLatents("energy").find_evidence(material) == []


def test_scores_are_the_largest_values_of_each_prompt(unchecked):
    prompts = make_prompts(4.0)
    direction = DirectionPiece.from_vector("v", 1.0, random_acts(1, WIDTH, seed=3)[0], "chat")
    latent = LatentPiece(2, 1.0, prompts.crosscoder, PLANTED)
    projections = (prompts.chat @ direction.direction).view(N_PROMPTS, LENGTH)
    assert direction.score(prompts) == pytest.approx(projections.max(1).values.numpy())
    f = prompts.crosscoder.encode(prompts.reading.acts).to_dense()[:, 2].view(N_PROMPTS, LENGTH)
    assert latent.score(prompts) == pytest.approx(f.max(1).values.numpy())
    assert prompts.lengths.tolist() == [LENGTH] * N_PROMPTS


def test_orders_use_their_columns_and_leave_rare_latents_out(tmp_path):
    material = make_material(tmp_path, 4.0)
    table = material.context.latent_table
    first = {rank: CrosscoderLatents(rank).find_evidence(material)[0] for rank in ("delta", "nu")}
    for rank, column in (("delta", "delta_norm"), ("nu", "nu/error/chat")):
        assert first[rank].latent == 2
        assert first[rank].weight == pytest.approx(float(table[column][2]))
    without = table.frame.drop(columns="presence/chat")
    with pytest.raises(NotApplicable, match=r"no column q/chat or presence/chat"):
        choose_column(LatentTable(without, table.meta), "presence", "chat")


def test_without_a_behaviour_and_models_there_are_only_lists(tmp_path):
    material = make_material(tmp_path, 4.0)
    result = MethodsEval(METHODS)(material.context)
    assert [row["method"] for row in result.tables["methods"]] == list(METHODS)
    assert set(result.tables) == {"methods", "evidence"}
    assert result.tables["evidence"][0]["piece"] == "latent 2"
    n_pieces = {row["method"]: row["pieces"] for row in result.tables["methods"]}
    assert result.scalars == {f"pieces/{name}": n for name, n in n_pieces.items()}
    assert "language models" in result.meta["left_out"]["lenses"]
    assert not result.errors
