import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from crosscoder.errors import NotApplicable
from crosscoder.evals.equivalence import (
    EquivalenceEval,
    correlate_kls,
    draw_by_density,
)
from crosscoder.evals.support.measured import TABLE
from crosscoder.evals.support.windows import TextPool, draw_windows, measure_ablation_kls
from crosscoder.interventions.ablate import ablate
from crosscoder.lm import Pair
from crosscoder.lm.editing.positions import TokenHistory
from tests.unit.evals.behaviours import as_json
from tests.unit.evals.tiny import tiny_context

LENGTH = 3
FEW = EquivalenceEval(n_latents=4, n_inputs=12, tokens_per_input=LENGTH)


def ablate_in_a_loop(context, lm: str, latent: int, ids: torch.Tensor) -> float:
    """Return the mean KL of the last tokens of a text, in which alone a latent is ablated."""

    def select_last(history: TokenHistory) -> torch.Tensor:
        chosen = torch.zeros_like(history.ids, dtype=torch.bool)
        chosen[:, -LENGTH:] = True
        return chosen

    pair = context.pair
    change = ablate(context.crosscoder, [latent])
    with torch.no_grad():
        clean = pair[lm](ids[None]).logits[0].double().log_softmax(-1)
        with pair.edit(lm, change, positions=select_last) as model:
            edited = model(ids[None]).logits[0].double().log_softmax(-1)
    kl = (clean.exp() * (clean - edited)).sum(-1)
    assert (kl[:-LENGTH] == 0).all()
    return float(kl[-LENGTH:].mean())


def test_ce_is_the_correlation_of_kls_of_a_loop_over_inputs(context):
    result = FEW(context)
    rows = {row["latent"]: row for row in result.tables["latents"]}
    latents = list(rows)
    pool = TextPool.read(context.heldout, context.crosscoder, latents, FEW.n_tokens)
    windows = draw_windows(pool, LENGTH, n_active=9, n_random=3, seed=context.seed)
    for number, latent in enumerate(latents[:2]):
        kls: dict[str, list[float]] = {"chat": [], "base": []}
        for start in windows.starts[windows.latents == number]:
            sequence, place = divmod(int(start), pool.seq_len)
            ids = pool.ids[sequence, : place + LENGTH]
            for lm in kls:
                kls[lm].append(ablate_in_a_loop(context, lm, latent, ids))
        assert max(kls["chat"]) > 0
        expected = np.corrcoef(kls["chat"], kls["base"])[0, 1]
        assert rows[latent]["CE"] == pytest.approx(expected, abs=1e-4)
        active = windows.is_drawn_active[windows.latents == number]
        for lm in kls:
            mean = np.array(kls[lm])[active].mean()
            assert rows[latent][f"KL {lm}"] == pytest.approx(mean, rel=1e-3)


def test_two_identical_models_are_equivalent(tmp_path):
    lms = {"base": {"seed": 0}, "chat": {"seed": 0}}
    pair = Pair(lms, layer=1, dtype="float32", residency="together", device="cpu")
    context = tiny_context(pair, tmp_path)
    with torch.no_grad():
        context.crosscoder.W_dec[:, 32:] = context.crosscoder.W_dec[:, :32]
    result = FEW(context)
    for row in result.tables["latents"]:
        assert row["CE"] == pytest.approx(1, abs=1e-5)
        assert row["CE active"] == pytest.approx(1, abs=1e-5)
        assert row["KL chat"] == pytest.approx(row["KL base"])
        assert row["KL chat"] > 0
    assert {row["causal_equivalence"] for row in result.tables[TABLE]} == {
        row["CE"] for row in result.tables["latents"]
    }
    as_json(result)


def test_a_decoder_without_effect_has_no_equivalence(context):
    """A latent that does not write into a model has KL 0 there on every input."""
    crosscoder = context.crosscoder
    changed = copy.deepcopy(crosscoder)
    with torch.no_grad():
        changed.W_dec[:, changed.sources.slice("base")] = 0
    result = FEW(dataclasses.replace(context, crosscoder=changed))
    assert all(math.isnan(row["CE"]) for row in result.tables["latents"])
    assert result.scalars["n_without_ce"] == len(result.tables["latents"])
    assert all(row["latents"] == 0 for row in result.tables["classes"][:-1])


def test_windows_of_a_latent_lie_apart_within_one_document(context):
    latents = list(range(8))
    pool = TextPool.read(context.heldout, context.crosscoder, latents, 10**6)
    windows = draw_windows(pool, LENGTH, n_active=9, n_random=3, seed=1)
    f = pool.f.flatten(0, 1)
    known = pool.known.flatten()
    positions = pool.positions.flatten()
    for number in range(len(latents)):
        is_own = windows.latents == number
        starts = windows.starts[is_own]
        assert (np.diff(np.sort(starts)) >= LENGTH).all()
        assert (f[starts[windows.is_drawn_active[is_own]], number] > 0).all()
        assert (~windows.is_drawn_active[is_own]).sum() == 3
        for start in starts:
            window = slice(start, start + LENGTH)
            assert known[window].all()
            assert (positions[window].diff() == 1).all()


def test_inputs_without_activity_are_not_run(context, monkeypatch):
    crosscoder = context.crosscoder
    pool = TextPool.read(context.heldout, crosscoder, [0], 10**6)
    silent = dataclasses.replace(pool, f=torch.zeros_like(pool.f))
    windows = draw_windows(silent, LENGTH, n_active=9, n_random=3, seed=1)
    assert len(windows.starts) == 3
    monkeypatch.setattr("crosscoder.evals.support.windows.make_branches", None)
    kls = measure_ablation_kls(
        context.pair["base"], crosscoder, [crosscoder.sources["base"]], silent, windows, "ablate"
    )
    assert (kls == 0).all()


def test_latents_are_drawn_from_every_stratum_of_density(context):
    table = context.latent_table
    drawn = draw_by_density(table, 4, seed=0)
    frame = table.frame.set_index("latent")
    for name, latents in drawn.items():
        densities = frame.loc[latents, "density"].to_numpy()
        assert (np.diff(densities) <= 0).all()
        assert (frame.loc[latents, "verdict"] == name).all()
        assert (frame.loc[latents, "n_active"] >= 16).all()
    largest = max(drawn.values(), key=len)
    assert len(largest) == len(set(largest)) == 4


def test_the_correlation_of_what_does_not_vary_is_undefined():
    a = np.array([0.1, 0.4, 0.2])
    assert correlate_kls(a, 3 * a + 1) == pytest.approx(1)
    assert correlate_kls(a, -a) == pytest.approx(-1)
    assert math.isnan(correlate_kls(a, np.ones(3)))
    assert math.isnan(correlate_kls(a[:1], a[:1]))


def test_it_is_not_applicable_without_language_models(context):
    with pytest.raises(NotApplicable, match="language models"):
        EquivalenceEval()(dataclasses.replace(context, pair=None))
