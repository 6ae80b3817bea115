"""Figures that are not defined are null, with a reason: one token, no variance, no activity."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.matching.regression import explain_by_ridge
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.core.types import Kind
from crosscoder.data import Store
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals import EvalContext, Result
from crosscoder.evals.density import DensityEval
from crosscoder.evals.diff import DiffEval
from crosscoder.evals.layers import relative_difference
from crosscoder.evals.nulls import NullsEval
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.support.baselines import match_latents
from crosscoder.evals.support.controls import Planted
from crosscoder.evals.support.patch_tables import divide
from crosscoder.lm import Pair
from tests.helpers.small import crosscoder_of, random_acts, store_of

ANALYSIS = Analysis(n_resamples=10)


def change_nothing(streams: dict) -> dict:
    return streams


def change_chat_to_one(streams: dict) -> dict:
    return {**streams, "chat": torch.ones_like(streams["chat"])}


def change_all_to_zero(streams: dict) -> dict:
    return {name: torch.zeros_like(acts) for name, acts in streams.items()}


def change_chat_to_base(streams: dict) -> dict:
    return {**streams, "chat": streams["base"]}


def make_store(
    folder: Path, n: int, change=change_nothing, kind: torch.Tensor | None = None
) -> Store:
    streams = {name: random_acts(n, 6, seed) for seed, name in enumerate(("base", "chat"))}
    return store_of(folder, change(streams), [n], kind)


def make_context(store: Store, crosscoder: Crosscoder | None = None, pair: Pair | None = None):
    crosscoder = crosscoder or crosscoder_of(TopK(3)).fold()
    return EvalContext(crosscoder, store, pair, analysis=ANALYSIS)


def read_scalars(result: Result, folder: Path) -> dict:
    """Return the scalars of the saved file, in which null is not a number."""
    return json.loads(result.save(folder).read_text())["scalars"]


FVE = [f"{figure}/{name}" for name in ("base", "chat") for figure in ("fve", "fve_standardised")]
DIFFERENCE = "fve/difference"
# the store, and the figures that are absent
STORES = {
    "one token": ((1,), [*FVE, DIFFERENCE]),
    "one ordinary token": (
        (9, change_nothing, torch.tensor([Kind.SPECIAL] * 8 + [Kind.PLAIN])),
        [*FVE, DIFFERENCE],
    ),
    "a constant source": ((50, change_chat_to_one), ["fve/chat", "fve_standardised/chat"]),
    "zeros": ((50, change_all_to_zero), [*FVE, DIFFERENCE]),
    "one stream twice": ((50, change_chat_to_base), [DIFFERENCE]),
}


@pytest.mark.parametrize("case", STORES)
def test_figures_without_variance_are_null_with_a_reason(case, tmp_path):
    settings, absent = STORES[case]
    result = ReconstructionEval()(make_context(make_store(tmp_path / "s", *settings)))
    assert set(result.meta["left_out"]) == set(absent)
    assert all(reason and "\n" not in reason for reason in result.meta["left_out"].values())
    scalars = read_scalars(result, tmp_path)
    assert [key for key, value in scalars.items() if value is None] == [
        key for key in scalars if key in absent
    ]
    assert scalars["l0"] is not None


@pytest.mark.parametrize("case", STORES)
def test_differences_are_reported_without_a_warning_or_an_error(case, tmp_path):
    settings, _ = STORES[case]
    context = make_context(make_store(tmp_path / "s", *settings))
    for evaluate in (DiffEval(), DensityEval()):
        read_scalars(evaluate(context), tmp_path)


@pytest.fixture
def dead(tmp_path) -> EvalContext:
    """Make the context of a crosscoder whose latents are never active."""
    crosscoder = crosscoder_of(TopK(3)).fold()
    with torch.no_grad():
        crosscoder.b_enc -= 1e6
    return make_context(make_store(tmp_path / "s", 50), crosscoder)


def test_a_dead_crosscoder_has_figures_or_a_reason(dead, tmp_path):
    assert read_scalars(ReconstructionEval()(dead), tmp_path)["dead_fraction"] == 1
    assert read_scalars(DiffEval()(dead), tmp_path)["dead_fraction"] == 1
    density = DensityEval()(dead)
    assert density.scalars == {}
    assert density.meta["left_out"] == {"density": "no latent is active on these tokens"}
    with pytest.raises(
        UserError, match="at least 2 other live latents to compare with, found only 0"
    ):
        match_latents(ANALYSIS.make_table(dead.crosscoder, dead.heldout), [1, 2])


def test_densities_have_no_ratio_if_no_latent_is_shared(tmp_path):
    context = make_context(make_store(tmp_path / "s", 1))
    result = DensityEval()(context)
    assert "density_ratio" in result.meta["left_out"]
    assert read_scalars(result, tmp_path)["density_ratio/undetermined"] is None


def test_no_features_are_planted_if_no_latent_can_be_copied(dead, monkeypatch):
    table = ANALYSIS.make_table(dead.crosscoder, dead.heldout)
    with pytest.raises(
        NotApplicable, match=r"active on at least 10 held-out tokens.* this crosscoder has none"
    ):
        Planted().plant(dead, table)
    monkeypatch.setattr(EvalContext, "open_stores", lambda self: (self.heldout,) * 3)
    result = NullsEval([Planted()])(dead)
    assert list(result.meta["left_out"]) == ["planted"]
    assert "recall_planted" not in result.scalars


@pytest.mark.parametrize("regressors", [np.zeros((12, 4)), np.ones((12, 4))])
def test_regressors_that_do_not_vary_explain_nothing(regressors):
    targets = np.random.default_rng(0).random((12, 3))
    r2, _ = explain_by_ridge(*[(regressors, targets)] * 3)
    assert np.abs(r2).max() < 1e-9
    r2, _ = explain_by_ridge(*[(targets, np.ones((12, 2)))] * 3)
    assert np.isnan(r2).all()


def test_relative_differences_leave_out_tokens_of_zeros(tmp_path):
    store = make_store(tmp_path / "s", 5)
    expected = relative_difference(store, ("chat", "base"))
    streams = {
        name: torch.cat([store.acts(0, [name]), torch.zeros(4, 6)]) for name in ("base", "chat")
    }
    assert relative_difference(store_of(tmp_path / "z", streams, [9]), ("chat", "base")) == expected


def test_a_fraction_of_nothing_is_not_a_number():
    assert np.isnan(divide(1.0, 0.0))
    assert divide(np.array([1.0, 2.0]), np.array([2.0, 0.0])).tolist()[0] == 0.5


@pytest.mark.parametrize(("lm", "hookpoint"), [("elsewhere", "resid_post.1"), ("chat", "")])
def test_without_models_that_have_the_sources_a_difference_is_still_reported(
    lm, hookpoint, tiny_pair, tmp_path
):
    crosscoder = crosscoder_of(TopK(3)).fold()
    items = [replace(source, lm=lm, hookpoint=hookpoint) for source in crosscoder.sources]
    crosscoder = crosscoder.replace(sources=Sources(tuple(items), ("chat", "base")))
    result = DiffEval()(make_context(make_store(tmp_path / "s", 50), crosscoder, tiny_pair))
    assert result.meta["left_out"] == {
        "models": "none of the language models has the source base, chat"
    }
    assert result.errors == {}
