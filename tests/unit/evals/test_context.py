from dataclasses import replace

import pytest

from crosscoder.analysis.analysis import Analysis
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import NotApplicable
from crosscoder.evals import EvalContext
from crosscoder.evals.density import DensityEval
from crosscoder.evals.diff import DiffEval


@pytest.fixture
def context(context) -> EvalContext:
    """Copy the context, so that it has not made a table."""
    return replace(context)


@pytest.fixture
def analysed(monkeypatch) -> list[Crosscoder]:
    """List the crosscoders that are analysed from now on."""
    crosscoders = []
    make_table = Analysis.make_table

    def count(self, crosscoder, *arguments, **settings):
        crosscoders.append(crosscoder)
        return make_table(self, crosscoder, *arguments, **settings)

    monkeypatch.setattr(Analysis, "make_table", count)
    return crosscoders


@pytest.mark.long
def test_the_table_of_latents_is_made_once_for_all_evals(context, analysed):
    DiffEval(contexts=2, promoted=2)(context)
    DensityEval()(context)
    first = context.latent_table
    assert analysed == [context.crosscoder]
    expected = context.analysis.make_table(context.crosscoder, context.heldout)
    assert first.frame.equals(expected.frame)
    assert first.meta == expected.meta


def test_another_crosscoder_or_store_has_another_table(context, analysed):
    table = context.latent_table
    other = replace(context, crosscoder=context.crosscoder.replace(activation=TopK(8)))
    assert other.latent_table["density"].sum() > table["density"].sum()
    train, _, _ = context.open_stores()
    assert replace(context, heldout=train).latent_table.meta["n_tokens"] > table.meta["n_tokens"]
    assert len(analysed) == 3


def test_language_models_are_refused_if_there_are_none_or_none_has_the_source(context, tiny_pair):
    assert context.require_models("it") is tiny_pair
    message = "it needs the language models, but this crosscoder was trained without any"
    with pytest.raises(NotApplicable, match=message):
        replace(context, pair=None).require_models("it")
    difference = Crosscoder(context.crosscoder.sources.subset(["chat-base"]), 32, TopK(4)).fold()
    with pytest.raises(NotApplicable, match="none of them has the source chat-base"):
        replace(context, crosscoder=difference).require_models("it")


def test_stores_that_are_gone_or_were_never_kept_are_named(context):
    crosscoder = context.crosscoder.replace()
    gone = replace(context, crosscoder=crosscoder)
    crosscoder.provenance = {"train": "/no/such/folder"}
    with pytest.raises(NotApplicable, match="not at /no/such/folder"):
        gone.open_stores()
    crosscoder.provenance = {"train": None}
    with pytest.raises(NotApplicable, match="a stream of activations, which was not kept"):
        gone.open_stores()
