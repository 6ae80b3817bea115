"""Comparing with dictionaries of which everything is known: our own, a copy of one side, and none that fit."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

import crosscoder as package
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.relu import ReLU
from crosscoder.activations.topk import TopK
from crosscoder.diff.analysis import Analysis
from crosscoder.errors import NotApplicable, UserError
from crosscoder.evals import Result, Subject
from crosscoder.evals.compare import CompareEval, fve_of_difference
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.reference import Reference
from crosscoder.evals.relations import Relations
from crosscoder.evals.sparser import at_l0
from crosscoder.evals.splice import SpliceEval
from crosscoder.model import Crosscoder
from crosscoder.sources import Source, Sources
from tests.unit.evals.tiny import tiny_subject

SPLICE = SpliceEval(n_tokens=128)


@pytest.fixture(scope="module")
def subject(tiny_pair, tmp_path_factory) -> Subject:
    return tiny_subject(tiny_pair, tmp_path_factory.mktemp("run"))


def compare(subject: Subject, **reference) -> Result:
    return CompareEval(Analysis(n_resamples=5), Reference(**reference), Relations(top=4), SPLICE)(subject)


def column(result: Result, table: str, name: str) -> dict[str, float]:
    rows = result.tables[table]
    return {next(iter(row.values())): row[name] for row in rows}


@pytest.fixture(scope="module")
def alone(subject) -> Result:
    return compare(subject)


def test_without_a_reference_one_of_the_base_alone_is_trained_beside(alone, subject):
    assert alone.meta["reads"] == {"base": f"base {subject.crosscoder.sources['base'].hookpoint}"}
    (folder,) = (subject.folder / "beside").glob("base_alone-*")
    trained = Crosscoder.from_pretrained(folder)
    assert trained.sources.names == ("base",)
    assert trained.n_latents == subject.crosscoder.n_latents
    figures = column(alone, "dictionaries", "reference")
    expected = ReconstructionEval()(replace(subject, crosscoder=trained)).scalars
    assert figures["fve/base"] == pytest.approx(expected["fve/base"])
    assert figures["fve/chat"] == ""


def test_ours_is_judged_as_by_the_other_evals(alone, subject):
    figures = column(alone, "dictionaries", "crosscoder")
    expected = ReconstructionEval()(subject).scalars | SPLICE(subject).scalars
    for key in ("fve/base", "fve/chat", "fve/difference", "delta_ce/chat", "loss_recovered/base", "l0"):
        assert figures[key] == pytest.approx(expected[key], rel=1e-6), key
    assert alone.scalars["fve/ours"] == figures["fve/base"]
    assert alone.scalars["delta_ce/reference"] == column(alone, "dictionaries", "reference")["delta_ce/base"]


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
def base_half(subject, tmp_path) -> str:
    """An SAE on base that reads nothing else and writes what ours writes there."""
    ours, part = subject.crosscoder, subject.crosscoder.sources.slice("base")
    sources = Sources((Source("base", ours.sources["base"].width, "base", ours.sources["base"].hookpoint),))
    weights = ours.W_enc[:, part], ours.b_enc, 3 * ours.W_dec[:, part], ours.b_dec[part]
    return str(Crosscoder.of(sources, weights, TopK(4)).save_pretrained(tmp_path / "half"))


def test_a_copy_of_one_side_has_every_decoder(subject, base_half):
    result = compare(subject, spec=base_half)
    frame = result.files["compare.parquet"].frame
    torch.testing.assert_close(torch.tensor(frame["cosine/base"].to_numpy()), torch.ones(32))
    assert frame["nearest"].tolist() == list(range(32))
    assert frame["partner"].tolist() == list(range(32))
    assert column(result, "classes", "all")["one to one"] == pytest.approx(1)


def test_our_own_explains_itself(subject, tmp_path):
    result = compare(subject, spec=str(subject.crosscoder.save_pretrained(tmp_path / "same")))
    frame = result.files["compare.parquet"].frame
    alive = ~frame["dead"]
    assert (frame["correlation"][alive] > 0.999).all()
    assert (frame["jaccard"][alive] == 1).all()
    assert frame["r2"][alive].median() > 0.99
    assert result.scalars["fve/ours"] == pytest.approx(result.scalars["fve/reference"])
    assert "reference on each" not in result.tables["dictionaries"][0]


def test_the_denser_one_is_also_judged_at_the_others_l0(subject, tmp_path):
    ours = subject.crosscoder
    dense = ours.but(activation=TopK(8))
    dense.save_pretrained(tmp_path / "dense")
    result = compare(subject, spec=str(tmp_path / "dense"))
    figures = column(result, "dictionaries", "reference, sparser")
    assert figures["l0"] == pytest.approx(column(result, "dictionaries", "crosscoder")["l0"], rel=0.02)
    assert result.scalars["l0_matched/reference"] == figures["l0"]
    assert figures["fve/base"] < column(result, "dictionaries", "reference")["fve/base"]


@pytest.mark.parametrize("activation", [ReLU(), TopK(8), JumpReLU.of(torch.full((32,), 0.05))])
def test_sparser_keeps_the_largest_contributions(subject, activation):
    dense = subject.crosscoder.but(activation=activation)
    acts = subject.heldout.acts(0, dense.sources.names).float()[subject.heldout.tokens(0).ordinary]
    sparser = at_l0(dense, 3.0, subject.heldout)
    n = sum(int(subject.heldout.tokens(i).ordinary.sum()) for i in subject.heldout)
    l0 = ReconstructionEval()(replace(subject, crosscoder=sparser)).scalars["l0"]
    assert l0 == pytest.approx(3.0, abs=2 / n)
    before, after = dense.encode(acts).to_dense(), sparser.encode(acts).to_dense()
    scores = before * dense.decoder_norms().sum(0)
    assert torch.equal(after[after > 0], before[after > 0])
    dropped, kept = (before > 0) & (after == 0), after > 0
    assert scores[dropped].max() <= scores[kept].min() * (1 + 1e-5)
    assert at_l0(dense, 1000.0, subject.heldout) is dense


def test_the_difference_by_two_readings_of_one_dictionary(subject, base_half):
    half = package.load(base_half)
    sources = subject.crosscoder.sources
    dictionaries = {name: half.but(sources=sources.subset([name])) for name in ("base", "chat")}
    found = fve_of_difference(dictionaries, subject.heldout, ("chat", "base"))
    keep = [subject.heldout.tokens(i).ordinary for i in subject.heldout]
    x = {n: torch.cat([subject.heldout.acts(i, [n]).float()[k] for i, k in enumerate(keep)]) for n in sources.names}
    recon = {name: half.decode(half.encode(acts)).detach() for name, acts in x.items()}
    d, d_hat = ((side["chat"] - side["base"]).double() for side in (x, recon))
    assert found == pytest.approx(float(1 - (d - d_hat).square().sum() / (d - d.mean(0)).square().sum()), rel=1e-5)


def test_a_reference_at_other_layers_is_harvested(subject, tmp_path):
    width = subject.crosscoder.sources["base"].width
    sources = Sources(
        tuple(Source(f"base.resid_post.{layer}", width, "base", f"resid_post.{layer}") for layer in (0, 1))
    )
    Crosscoder(sources, 16, TopK(4)).save_pretrained(tmp_path / "layers")
    mine = subject.crosscoder.sources["base"].hookpoint
    result = compare(subject, spec=str(tmp_path / "layers"))
    other = f"base.resid_post.{1 - int(mine[-1])}"
    assert set(result.meta["reads"]) == {"base", other}
    assert math.isfinite(column(result, "dictionaries", "reference")[f"fve/{other}"])
    assert math.isfinite(column(result, "classes", "all")["R²"])


def test_held_out_tokens_serve_where_there_are_no_others(subject, base_half):
    moved = subject.crosscoder.but()
    moved.provenance = {}
    result = compare(replace(subject, crosscoder=moved), spec=base_half)
    assert result.meta["fitted_on"] < len(subject.heldout)


@pytest.mark.parametrize(
    ("source", "reads", "message"),
    [
        (Source("base", 7, "base", "resid_post.1"), {}, "reads base with width 7"),
        (
            Source("model", 32, "model", "resid_post.1"),
            {},
            r"reads 'model'; which of ours is that\? .*reads={model: base\|chat}",
        ),
        (Source("model", 32, "model", "resid_post.1"), {"modell": "base"}, "has sources model, not modell"),
        (
            Source("base", 32, "base", "mlp_out.0"),
            {},
            "base at mlp_out.0, this crosscoder .*: there is nothing to compare",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(subject, tmp_path, source, reads, message):
    Crosscoder(Sources((source,)), 16, TopK(4)).save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match=message):
        compare(subject, spec=str(tmp_path / "other"), reads=reads)


def test_a_name_can_be_given(subject, tmp_path):
    width = subject.crosscoder.sources["base"].width
    Crosscoder(Sources((Source("model", width, "model"),)), 16, TopK(4)).save_pretrained(tmp_path / "other")
    result = compare(subject, spec=str(tmp_path / "other"), reads={"model": "chat"})
    assert list(result.meta["reads"]) == ["chat"]


def test_without_a_contrast_there_is_no_base_to_train_on(subject):
    single = subject.crosscoder.but(sources=Sources(subject.crosscoder.sources.items))
    with pytest.raises(NotApplicable, match="reference="):
        compare(replace(subject, crosscoder=single))
