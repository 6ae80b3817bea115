"""Several layers of a tiny pair: one harvest, one crosscoder each, figures by hookpoint."""

import pytest

from crosscoder.errors import NotApplicable
from crosscoder.evals import EvalContext
from crosscoder.evals.layers import LayersEval, relative_difference
from tests.unit.evals.tiny import SEQ_LEN

EVAL = {"n_tokens": 30 * SEQ_LEN, "n_heldout": 8 * SEQ_LEN, "n_latents": 24, "train_tokens": 640}


@pytest.mark.parametrize("layers", [None, [0], [0, 1]])
def test_every_hookpoint_has_its_figures(context, layers):
    result = LayersEval(layers, n_layers=2, **EVAL)(context)
    hookpoints = [row["hookpoint"] for row in result.tables["by depth"]]
    assert hookpoints == [
        f"resid_post.{layer}" for layer in layers or [1]
    ]  # of two layers, thirds are rounded to one
    for hookpoint in hookpoints:
        assert result.scalars[f"fve_difference/{hookpoint}"] <= 1
        assert result.scalars[f"count/chat_specific/{hookpoint}"] >= 0
        assert result.scalars[f"relative_difference/{hookpoint}"] > 0
    kept = {folder.name.partition("-")[0] for folder in (context.folder / "beside").iterdir()}
    assert set(hookpoints) <= kept


def test_the_relative_difference_is_a_median_of_norm_ratios(context):
    chat, base = (context.heldout.acts(0, [name]).float() for name in ("chat", "base"))
    expected = ((chat - base).norm(dim=1) / base.norm(dim=1)).median()
    assert relative_difference(context.heldout, ("chat", "base")) == pytest.approx(float(expected))


def test_it_is_not_applicable_without_language_models(context):
    with pytest.raises(NotApplicable, match="layers needs the language models"):
        LayersEval()(EvalContext(context.crosscoder, context.heldout, None))
