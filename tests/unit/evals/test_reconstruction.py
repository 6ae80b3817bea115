"""Figures of a saved crosscoder, compared with their definitions in float64."""

from pathlib import Path

import pytest
import torch

from crosscoder.core.activations.topk import TopK
from crosscoder.core.types import Kind
from crosscoder.errors import UserError
from crosscoder.evals import EvalContext, Result
from crosscoder.evals.reconstruction import ReconstructionEval
from tests.helpers.small import crosscoder_of, store_of

N, WIDTH = 400, 6


def streams(width_of_chat: int = WIDTH) -> dict[str, torch.Tensor]:
    base = torch.randn(N, WIDTH) * 3 + 1
    chat = (
        base + 0.5 * torch.randn(N, WIDTH)
        if width_of_chat == WIDTH
        else torch.randn(N, width_of_chat)
    )
    return {"base": base, "chat": chat}


def evaluate(folder: Path, acts: dict[str, torch.Tensor], **options) -> tuple[Result, dict]:
    """Return the result, and x, x̂ and the code in float64 for a naive evaluation."""
    kind = torch.where(torch.arange(N) % 8 == 0, Kind.SPECIAL, Kind.PLAIN)
    store = store_of(folder / "store", acts, [150, 150, 100], kind)
    crosscoder = crosscoder_of(TopK(5), tuple(x.shape[1] for x in acts.values()), n_latents=40)
    crosscoder.b_enc.data[:10] = -100  # dead
    folded = crosscoder.fold()
    result = ReconstructionEval(batch_size=64, **options)(EvalContext(folded, store, None))
    raw = torch.cat(list(acts.values()), dim=1)[kind != Kind.SPECIAL].float()
    code = folded.encode(raw)
    return result, {
        "x": raw.double(),
        "recon": folded.decode(code).detach().double(),
        "f": code.to_dense().detach(),
    }


def fve(x: torch.Tensor, recon: torch.Tensor) -> float:
    return float(1 - (x - recon).square().sum() / (x - x.mean(0)).square().sum())


def test_fve_per_source_and_of_the_difference(tmp_path):
    result, naive = evaluate(tmp_path, streams())
    x, recon = (naive[key].split(WIDTH, dim=1) for key in ("x", "recon"))
    for i, name in enumerate(("base", "chat")):
        assert result.scalars[f"fve/{name}"] == pytest.approx(fve(x[i], recon[i]), abs=1e-6)
        deviation = x[i].std(0, correction=0)
        standardised = fve(x[i] / deviation, recon[i] / deviation)
        assert result.scalars[f"fve_standardised/{name}"] == pytest.approx(standardised, abs=1e-6)
    difference = fve(x[1] - x[0], recon[1] - recon[0])
    assert result.scalars["fve/difference"] == pytest.approx(difference, abs=1e-5)


def test_l0_dead_latents_and_density(tmp_path):
    result, naive = evaluate(tmp_path, streams())
    active = naive["f"] > 0
    density = active.double().mean(0)
    assert result.scalars["l0"] == pytest.approx(float(active.sum(1).double().mean()))
    assert result.scalars["dead_fraction"] == pytest.approx(float((density == 0).double().mean()))
    assert result.scalars["dead_fraction"] >= 0.25
    rows = {row["density"]: row["latents"] for row in result.tables["density"]}
    assert rows["0 (dead)"] == int((density == 0).sum())
    assert rows["0.1 – 1"] == int((density > 0.1).sum())
    assert sum(rows.values()) == 40


def test_special_tokens_are_left_out_and_meta_says_how_many_are_left(tmp_path):
    result, naive = evaluate(tmp_path, streams())
    assert result.meta["n_tokens"] == len(naive["x"]) == 350
    assert result.name == "reconstruction"


def test_it_stops_at_n_tokens(tmp_path):
    result, _ = evaluate(tmp_path, streams(), n_tokens=100)
    assert 100 <= result.meta["n_tokens"] < 100 + 64


def test_exact_activations_have_no_ceiling_and_rounded_ones_have(tmp_path):
    exact, _ = evaluate(tmp_path, streams())
    assert exact.scalars["fve_ceiling/difference"] == 1.0
    acts = streams()
    rounded, _ = evaluate(tmp_path / "rounded", {name: x.bfloat16() for name, x in acts.items()})
    true, seen = (
        (acts["chat"] - acts["base"]).double(),
        acts["chat"].bfloat16() - acts["base"].bfloat16(),
    )
    cost = acts["chat"].bfloat16().double() - acts["base"].bfloat16().double() - true
    assert rounded.scalars["fve_ceiling/difference"] == pytest.approx(
        float(1 - cost.square().sum() / (seen.double() - seen.double().mean(0)).square().sum()),
        abs=2e-5,
    )


def test_rules_count_live_latents_by_norms_in_training_units(tmp_path):
    store = store_of(tmp_path / "store", streams(), [N])
    crosscoder = crosscoder_of(TopK(40), n_latents=40)
    with torch.no_grad():
        crosscoder.W_dec[:15, :WIDTH] = 0  # chat-only
        crosscoder.W_dec[15:, :WIDTH] = crosscoder.W_dec[15:, WIDTH:]  # shared
    # units so unequal that raw norms would call every latent base-only
    crosscoder.set_units(
        torch.zeros(12), torch.cat([torch.full((WIDTH,), 100.0), torch.ones(WIDTH)])
    )
    result = ReconstructionEval()(EvalContext(crosscoder.fold(), store, None))
    dead = round(result.scalars["dead_fraction"] * 40)
    counts = {row["rule"]: row["latents"] for row in result.tables["norm_rules"]}
    assert dead == 0
    assert (
        counts["chat-only, Δ > 0.9 (Minder 2025)"]
        == counts["chat-only, R > 0.95 (Mishra-Sharma 2025)"]
        == 15
    )
    assert counts["shared, 0.4 < Δ < 0.6 (Minder 2025)"] == 25
    assert counts["base-only, R < 0.3 (Kissane 2024)"] == 0


def test_without_two_compared_sources_there_are_no_difference_figures(tmp_path):
    result, _ = evaluate(tmp_path, {"base": streams()["base"]})
    assert not [key for key in result.scalars if "difference" in key]
    assert "norm_rules" not in result.tables


def test_sources_of_unequal_width_have_norms_but_no_difference(tmp_path):
    result, _ = evaluate(tmp_path, streams(width_of_chat=9))
    assert not [key for key in result.scalars if "difference" in key]
    assert "norm_rules" in result.tables


def test_two_equal_streams_have_no_figure_of_their_difference(tmp_path):
    base = torch.randn(N, WIDTH)
    for chat in (base, base + 3):  # identical, and apart by a constant
        result, _ = evaluate(tmp_path / str(chat is base), {"base": base, "chat": chat})
        assert not [key for key in result.scalars if "difference" in key]
        assert "do not differ" in result.meta["left_out"]["fve/difference"]


def test_figures_over_no_tokens_are_refused(tmp_path):
    store = store_of(tmp_path, streams(), [N], torch.full((N,), Kind.SPECIAL))
    context = EvalContext(crosscoder_of(TopK(5), (WIDTH, WIDTH)).fold(), store, None)
    with pytest.raises(
        UserError, match=r"nothing is left of store .*: its 400 tokens are all left out"
    ):
        ReconstructionEval()(context)


@pytest.mark.parametrize(
    "setting", [{"n_tokens": 0}, {"batch_size": -1}, {"batch_size": True}, {"n_tokens": 2.0}]
)
def test_sizes_are_whole_numbers(setting, unchecked):
    with pytest.raises(UserError, match="is a whole number from 1"):
        ReconstructionEval(**setting)
