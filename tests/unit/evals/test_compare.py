"""Compare with known dictionaries: our own, a copy of one side, and some that do not fit."""

import math
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch

import crosscoder as package
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source, Sources
from crosscoder.data import Store
from crosscoder.data.exclude import EXCLUDE
from crosscoder.data.outliers import count_excluded
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals import EvalContext, Result
from crosscoder.evals.compare import CompareEval, fve_of_difference
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.splice import SpliceEval
from crosscoder.evals.support.l0_matching import truncate_to_l0
from crosscoder.evals.support.reference import Reference
from crosscoder.evals.support.relations import Relations

SPLICE = SpliceEval(n_tokens=128)


def compare(context: EvalContext, **reference) -> Result:
    return CompareEval(Reference(**reference), Relations(top=4), SPLICE)(context)


def column(result: Result, table: str, name: str) -> dict[str, float]:
    rows = result.tables[table]
    return {next(iter(row.values())): row[name] for row in rows}


@pytest.fixture(scope="module")
def alone(context) -> Result:
    return compare(context)


def test_without_a_reference_one_of_the_base_alone_is_trained(alone, context):
    assert alone.meta["reads"] == {"base": f"base {context.crosscoder.sources['base'].hookpoint}"}
    (folder,) = (context.folder / "beside").glob("base_alone-*")
    trained = Crosscoder.from_pretrained(folder)
    assert trained.sources.names == ("base",)
    assert trained.n_latents == context.crosscoder.n_latents
    figures = column(alone, "dictionaries", "reference")
    expected = ReconstructionEval()(replace(context, crosscoder=trained)).scalars
    assert figures["fve/base"] == pytest.approx(expected["fve/base"])
    assert figures["fve/chat"] == ""


def test_ours_is_judged_as_the_other_evals_do(alone, context):
    figures = column(alone, "dictionaries", "crosscoder")
    expected = ReconstructionEval()(context).scalars | SPLICE(context).scalars
    for key in (
        "fve/base",
        "fve/chat",
        "fve/difference",
        "delta_ce/chat",
        "loss_recovered/base",
        "l0",
    ):
        assert figures[key] == pytest.approx(expected[key], rel=1e-6), key
    assert alone.scalars["fve/ours"] == figures["fve/base"]
    assert (
        alone.scalars["delta_ce/reference"]
        == column(alone, "dictionaries", "reference")["delta_ce/base"]
    )


def test_the_result_is_saved_and_read_again(alone, tmp_path):
    again = Result.load(alone.save(tmp_path))
    assert again.scalars.keys() == alone.scalars.keys()
    frame = pd.read_parquet(tmp_path / "compare.parquet")
    assert {
        "latent",
        "cosine/base",
        "cosine/chat",
        "one_to_one",
        "correlation",
        "jaccard",
        "r2",
        "r2/activations",
    } <= set(frame)
    assert len(frame) == 32


@pytest.fixture
def base_half(context, tmp_path) -> str:
    """Save an SAE of the base that writes what ours writes there."""
    ours, part = context.crosscoder, context.crosscoder.sources.slice("base")
    sources = Sources(
        (Source("base", ours.sources["base"].width, "base", ours.sources["base"].hookpoint),)
    )
    weights = ours.W_enc[:, part], ours.b_enc, 3 * ours.W_dec[:, part], ours.b_dec[part]
    return str(
        Crosscoder.from_weights(sources, weights, TopK(4)).save_pretrained(tmp_path / "half")
    )


@pytest.mark.long
def test_a_copy_of_one_side_has_every_decoder(context, base_half):
    result = compare(context, spec=base_half)
    frame = result.files["compare.parquet"].frame
    torch.testing.assert_close(torch.tensor(frame["cosine/base"].to_numpy()), torch.ones(32))
    assert frame["nearest"].tolist() == list(range(32))
    assert frame["partner"].tolist() == list(range(32))
    assert column(result, "classes", "all")["one to one"] == pytest.approx(1)


def test_our_own_dictionary_explains_itself(context, tmp_path):
    result = compare(context, spec=str(context.crosscoder.save_pretrained(tmp_path / "same")))
    frame = result.files["compare.parquet"].frame
    alive = ~frame["dead"]
    assert (frame["correlation"][alive] > 0.999).all()
    assert (frame["jaccard"][alive] == 1).all()
    assert frame["r2"][alive].median() > 0.99
    assert result.scalars["fve/ours"] == pytest.approx(result.scalars["fve/reference"])
    assert "reference on each" not in result.tables["dictionaries"][0]


@pytest.mark.long
def test_the_denser_dictionary_is_also_judged_at_the_l0_of_the_other(context, tmp_path):
    ours = context.crosscoder
    dense = ours.replace(activation=TopK(8))
    dense.save_pretrained(tmp_path / "dense")
    result = compare(context, spec=str(tmp_path / "dense"))
    figures = column(result, "dictionaries", "reference, sparser")
    assert figures["l0"] == pytest.approx(
        column(result, "dictionaries", "crosscoder")["l0"], rel=0.02
    )
    assert result.scalars["l0_matched/reference"] == figures["l0"]
    assert figures["fve/base"] < column(result, "dictionaries", "reference")["fve/base"]


@pytest.mark.parametrize(
    "activation", [ReLU(), TopK(8), JumpReLU.from_threshold(torch.full((32,), 0.05))]
)
def test_truncation_keeps_the_largest_contributions(context, activation):
    dense = context.crosscoder.replace(activation=activation)
    acts = context.heldout.acts(0, dense.sources.names).float()[
        context.heldout.tokens(0).is_content
    ]
    sparser = truncate_to_l0(dense, 3.0, context.heldout)
    n = sum(int(context.heldout.tokens(i).is_content.sum()) for i in context.heldout)
    l0 = ReconstructionEval()(replace(context, crosscoder=sparser)).scalars["l0"]
    assert l0 == pytest.approx(3.0, abs=2 / n)
    before, after = dense.encode(acts).to_dense(), sparser.encode(acts).to_dense()
    scores = before * dense.decoder_norms().sum(0)
    assert torch.equal(after[after > 0], before[after > 0])
    dropped, kept = (before > 0) & (after == 0), after > 0
    assert scores[dropped].max() <= scores[kept].min() * (1 + 1e-5)
    assert truncate_to_l0(dense, 1000.0, context.heldout) is dense


def test_the_difference_is_reconstructed_by_one_dictionary_applied_to_each_model(
    context, base_half
):
    half = package.load(base_half)
    sources = context.crosscoder.sources
    dictionaries = {name: half.replace(sources=sources.subset([name])) for name in ("base", "chat")}
    found = fve_of_difference(dictionaries, context.heldout, ("chat", "base"))
    keep = [context.heldout.tokens(i).is_content for i in context.heldout]
    x = {
        n: torch.cat([context.heldout.acts(i, [n]).float()[k] for i, k in enumerate(keep)])
        for n in sources.names
    }
    recon = {name: half.decode(half.encode(acts)).detach() for name, acts in x.items()}
    d, d_hat = ((side["chat"] - side["base"]).double() for side in (x, recon))
    assert found == pytest.approx(
        float(1 - (d - d_hat).square().sum() / (d - d.mean(0)).square().sum()), rel=1e-5
    )


@pytest.mark.long
def test_a_reference_at_other_layers_is_harvested(context, tmp_path):
    width = context.crosscoder.sources["base"].width
    sources = Sources(
        tuple(
            Source(f"base.resid_post.{layer}", width, "base", f"resid_post.{layer}")
            for layer in (0, 1)
        )
    )
    Crosscoder(sources, 16, TopK(4)).save_pretrained(tmp_path / "layers")
    mine = context.crosscoder.sources["base"].hookpoint
    result = compare(context, spec=str(tmp_path / "layers"))
    other = f"base.resid_post.{1 - int(mine[-1])}"
    assert set(result.meta["reads"]) == {"base", other}
    assert math.isfinite(column(result, "dictionaries", "reference")[f"fve/{other}"])
    assert math.isfinite(column(result, "classes", "all")["R²"])


@pytest.mark.long
def test_held_out_tokens_are_fitted_on_if_there_are_no_others(context, base_half):
    moved = context.crosscoder.replace()
    moved.provenance = {}
    result = compare(replace(context, crosscoder=moved), spec=base_half)
    assert result.meta["fitted_on"] < len(context.heldout)


@pytest.mark.parametrize(
    ("source", "reads", "message"),
    [
        (Source("base", 7, "base", "resid_post.1"), {}, "reads base with width 7"),
        (
            Source("model", 32, "model", "resid_post.1"),
            {},
            r"reads 'model'; which of ours is that\? '\+\+eval.*reads={model: base\|chat}'",
        ),
        (
            Source("model", 32, "model", "resid_post.1"),
            {"modell": "base"},
            "has sources model, not modell",
        ),
        (
            Source("base", 32, "base", "mlp_out.0"),
            {},
            "base at mlp_out.0, this crosscoder .*: there is nothing to compare",
        ),
    ],
)
def test_a_reference_that_cannot_be_compared_is_refused_by_name(
    context, tmp_path, source, reads, message
):
    Crosscoder(Sources((source,)), 16, TopK(4)).save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match=message):
        compare(context, spec=str(tmp_path / "other"), reads=reads)


@pytest.mark.long
def test_the_model_that_a_reference_reads_can_be_named(context, tmp_path):
    width = context.crosscoder.sources["base"].width
    Crosscoder(Sources((Source("model", width, "model"),)), 16, TopK(4)).save_pretrained(
        tmp_path / "other"
    )
    result = compare(context, spec=str(tmp_path / "other"), reads={"model": "chat"})
    assert list(result.meta["reads"]) == ["chat"]


def test_without_two_compared_sources_there_is_no_base_to_train_on(context):
    single = context.crosscoder.replace(sources=Sources(context.crosscoder.sources.items))
    with pytest.raises(NotApplicable, match="reference="):
        compare(replace(context, crosscoder=single))


@pytest.fixture
def with_sinks(context, tmp_path) -> EvalContext:
    """Put a sink on every 40th held-out chat token, of a crosscoder trained without sinks."""
    folder = tmp_path / "sinks"
    shutil.copytree(context.heldout.folder, folder)
    store = Store(folder)
    for shard in store:
        acts = store.acts(shard, ["chat"]).clone()
        acts[5::40] *= 200
        store.write(shard, "chat", {"acts": acts})
    crosscoder = context.crosscoder.replace()
    crosscoder.provenance["exclude"] = ["special", "outlier"]
    return replace(context, crosscoder=crosscoder, heldout=store)


@pytest.mark.long
def test_the_reference_is_not_judged_on_tokens_that_ours_leaves_out(with_sinks, base_half):
    result = compare(with_sinks, spec=base_half)  # it reads base, which has no sinks
    heldout, sources = with_sinks.heldout, with_sinks.crosscoder.sources
    assert count_excluded(heldout, sources, EXCLUDE)["outlier"] >= 9
    half = package.load(base_half)
    kept = torch.cat([heldout.find_eligible(shard, sources.names, EXCLUDE) for shard in heldout])
    x = torch.cat([heldout.acts(shard, ["base"]) for shard in heldout])[kept]
    recon = half.decode(half.encode(x)).detach()
    expected = float(
        1 - (x - recon).double().square().sum() / (x - x.mean(0)).double().square().sum()
    )
    assert column(result, "dictionaries", "reference")["fve/base"] == pytest.approx(
        expected, rel=1e-4
    )
    frame = result.files["compare.parquet"].frame
    assert frame["partner"].tolist() == list(range(32))
