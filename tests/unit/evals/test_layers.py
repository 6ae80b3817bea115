"""Several layers of a tiny pair: one harvest, a crosscoder each, figures by hookpoint."""

import pytest

from crosscoder.diff.analysis import Analysis
from crosscoder.errors import NotApplicable
from crosscoder.evals import Subject
from crosscoder.evals.layers import LayersEval, relative_difference
from tests.unit.evals.tiny import SEQ_LEN, tiny_subject

EVAL = {"n_tokens": 30 * SEQ_LEN, "n_heldout": 8 * SEQ_LEN, "n_latents": 24, "train_tokens": 640}


@pytest.fixture(scope="module")
def subject(tiny_pair, tmp_path_factory) -> Subject:
    return tiny_subject(tiny_pair, tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("layers", [None, [0], [0, 1]])
def test_every_hookpoint_has_its_figures(subject, layers):
    result = LayersEval(Analysis(n_resamples=5), layers, n_layers=2, **EVAL)(subject)
    hookpoints = [row["hookpoint"] for row in result.tables["by depth"]]
    assert hookpoints == [f"resid_post.{layer}" for layer in layers or [1]]  # of two layers, thirds are rounded to one
    for hookpoint in hookpoints:
        assert result.scalars[f"fve_difference/{hookpoint}"] <= 1
        assert result.scalars[f"count/chat_specific/{hookpoint}"] >= 0
        assert result.scalars[f"relative_difference/{hookpoint}"] > 0
    kept = {folder.name.partition("-")[0] for folder in (subject.folder / "beside").iterdir()}
    assert set(hookpoints) <= kept


def test_the_relative_difference_is_a_median_of_norm_ratios(subject):
    chat, base = (subject.heldout.acts(0, [name]).float() for name in ("chat", "base"))
    expected = ((chat - base).norm(dim=1) / base.norm(dim=1)).median()
    assert relative_difference(subject.heldout, ("chat", "base")) == pytest.approx(float(expected))


def test_without_language_models_it_says_so(subject):
    with pytest.raises(NotApplicable, match="layers needs the language models"):
        LayersEval(Analysis())(Subject(subject.crosscoder, subject.heldout, None))
