import numpy as np
import pytest

from crosscoder.analysis.table import LatentTable
from crosscoder.evals import Result
from crosscoder.report.html.candidates import choose_candidates, read_ablated_set
from crosscoder.report.html.findings import find_findings
from crosscoder.report.inputs import Inputs
from tests.helpers.report_run import ablation, latent_table, write_run

PAIR = ["chat", "base"]


@pytest.fixture
def table() -> LatentTable:
    """Make a table in which the latents 10, 11 and 12 are dense and form the mean difference."""
    table = latent_table(64, np.random.default_rng(0))
    frame = table.frame
    frame["density"] = frame["density"].clip(upper=0.3)
    dense = [10, 11, 12]
    frame.loc[dense, "verdict"] = "shared"
    frame.loc[dense, "density"] = 0.9
    frame.loc[dense, "difference_share"] = [0.1, 0.3, 0.2]
    frame.loc[dense, "difference_explained"] = [0.1, 0.2, 0.04]
    return LatentTable(frame, table.meta)


def calibrate(table: LatentTable, q: dict[int, float]) -> LatentTable:
    """Make `q` the only latents that are specific to chat, with these q-values."""
    frame = table.frame.copy()
    frame["verdict"] = frame["verdict"].replace(["chat-specific", "base-specific"], "shared")
    frame["q/base"] = 1.0
    frame["q/chat"] = 1.0
    for latent, value in q.items():
        frame.loc[latent, "verdict"] = "chat-specific"
        frame.loc[latent, "q/chat"] = value
    return LatentTable(frame, table.meta | {"calibration": {"fdr": 0.05}})


def test_specific_latents_come_first_by_their_q_if_the_verdict_is_calibrated(table):
    calibrated = calibrate(table, {20: 0.04, 21: 0.01, 22: 0.02})
    assert choose_candidates(calibrated, PAIR, {}) == [21, 22, 20]
    found = find_findings(calibrated, None, {}, PAIR)
    assert "Specific latents: 3 to chat, 0 to base (false-discovery rate 0.05)." in found.sentences
    assert [one.figures["q"] for one in found.candidates] == ["0.0100", "0.0200", "0.0400"]


def test_without_a_specific_latent_the_difference_decides(table):
    calibrated = calibrate(table, {})
    chosen = choose_candidates(calibrated, PAIR, {})
    frame = calibrated.frame
    is_shown = ~frame["verdict"].isin(["shrunk", "decoupled", "dead"]) & (frame["density"] < 0.5)
    assert chosen == frame[is_shown].nlargest(6, "difference_share")["latent"].tolist()
    sentences = " ".join(find_findings(calibrated, None, {}, PAIR).sentences)
    assert "No latent is specific to a model at a false-discovery rate of 0.05" in sentences
    assert "was not measured" in sentences


def test_latents_of_an_effective_ablation_come_first(table):
    latents = [{"latent": latent} for latent in (30, 31)]
    rows = [{"intervention": "ours@2", "removed": 0.8, "low": 0.6, "high": 0.9}]
    scalars = {"removed@2": 0.8, "removed_random@2": 0.1}
    result = Result("ablation", scalars, {"latents": latents, "interventions": rows})
    table.frame.loc[[30, 31], "verdict"] = "shared"
    table.frame.loc[[30, 31], "difference_share"] = [1e-6, 2e-6]
    assert choose_candidates(table, PAIR, {"ablation": result})[:2] == [31, 30]
    weak = Result("ablation", scalars | {"removed_random@2": 0.7}, result.tables)
    assert not {30, 31} & set(choose_candidates(table, PAIR, {"ablation": weak}))
    sentences = find_findings(table, None, {"ablation": result}, PAIR).sentences
    assert (
        "Ablating 2 latents removes 80 % of the behaviour; as many random latents remove 10 %."
        in sentences
    )


def test_the_largest_ablated_set_is_read(table):
    found = read_ablated_set(ablation(table, 1))
    assert found is not None
    assert len(found.latents) == 16
    assert found.removed == 0.9
    assert np.isnan(found.random)
    assert read_ablated_set(Result("ablation", {"removed@4": float("nan")})) is None


def test_dense_latents_are_one_line_and_no_candidates(table):
    found = find_findings(table, None, {}, PAIR)
    assert found.dense == [11, 12, 10]
    assert found.dense_share == "34 %"  # the exact terms add up
    assert not set(found.dense) & {one.latent for one in found.candidates}


def test_a_candidate_has_its_strongest_context_label_and_effect(tmp_path):
    inputs = Inputs(write_run(tmp_path, n_latents=64, n_contexts=12))
    assert inputs.findings is not None
    assert inputs.contexts is not None
    [first, *_] = inputs.findings.candidates
    contexts = inputs.contexts[inputs.contexts["latent"] == first.latent]
    peaks = [max(row) for row in contexts["activations"]]
    strongest = contexts.iloc[int(np.argmax(peaks))]
    token = strongest["tokens"][strongest["peak"]]
    assert first.passage is not None
    assert first.passage.peak == token.replace("▁", " ").replace("\n", "⏎")
    assert first.promotes
    assert first.figures["KL ablated in chat"] == "0.0100"


def test_nothing_is_found_without_a_compared_pair(table):
    assert not find_findings(table, None, {}, [])
