"""dictionary_learning's crosscoders: codes and reconstructions by every code normalisation."""

import pytest
import torch

import crosscoder
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from tests.reference.formats.crosscoders import (
    OLD,
    PAIR,
    SIZES,
    THETA,
    TRAINER,
    batch_topk,
    folder_of,
    formula,
    raw,
    score,
    weights,
)
from tests.reference.formats.files import (
    Draw,
    F,
    assert_agrees,
    assert_provenance,
    assert_tensors_close,
    d,
)


@pytest.mark.parametrize("trainer", [None, TRAINER | {"dict_class": "CrossCoder"}])
def test_files_with_four_tensors_are_relu(tmp_path, trainer):
    draw = Draw()
    w, x = weights(draw), raw(draw)
    folder = folder_of(tmp_path, w, OLD, trainer)
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w))
    assert type(loaded.activation) is ReLU
    place, bos = (PAIR, False) if trainer else (dict.fromkeys(PAIR, ""), None)
    assert_provenance(
        loaded,
        folder,
        "dictionary_learning",
        hookpoint=place,
        norm="raw activations",
        bos_excluded=bos,
    )
    assert loaded.sources.widths == (d, d)
    assert loaded.sources.diff_pair == ("chat", "base")
    assert_tensors_close(loaded.selection_scale, score(w, "CROSSCODER"))


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("name", ["CROSSCODER", "SAE", "MIXED", "NONE"])
def test_batch_topk_is_a_jumprelu_with_threshold_theta_over_n(tmp_path, name, named):
    draw, theta = Draw(1), torch.tensor(THETA if name != "NONE" else 2.0)
    w, x = batch_topk(draw, name, theta), raw(draw)
    # uploads write the class's defaults here, whatever was trained
    settings = SIZES | {
        "k": 100,
        "code_normalization_alpha_sae": 1.0,
        "code_normalization_alpha_cc": 0.1,
    }
    settings["code_normalization"] = name
    if named:  # then the number is not needed
        del w["code_normalization_id"]
    trainer = TRAINER | {"code_normalization_alpha_sae": 0.7, "code_normalization_alpha_cc": 0.3}
    folder = folder_of(tmp_path, w, settings, trainer)
    loaded, n = crosscoder.load(folder), score(w, name, (0.7, 0.3))
    assert_agrees(loaded, x, *formula(x, w, theta, n))
    assert type(loaded.activation) is JumpReLU
    torch.testing.assert_close(loaded.activation.threshold, (theta / n).float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(loaded.selection_scale, n.float(), rtol=1e-6, atol=0)
    assert_provenance(
        loaded,
        folder,
        "dictionary_learning",
        hookpoint=PAIR,
        norm="raw activations",
        bos_excluded=False,
    )
    lms = {"base": {"weights": "google/gemma-2-2b"}, "chat": {"weights": "google/gemma-2-2b-it"}}
    assert loaded.provenance["pair"]["lms"] == lms


@pytest.mark.parametrize("theta", [[2.0, 11.0], [-1.0, 11.0]])
def test_a_decoupled_latent_becomes_a_row_per_model(tmp_path, theta):
    draw, theta = Draw(2), torch.tensor(theta)
    w, x = batch_topk(draw, "DECOUPLED", theta), raw(draw)
    loaded, a = crosscoder.load(folder_of(tmp_path, w, SIZES)), score(w, "DECOUPLED")
    assert_agrees(loaded, x, *formula(x, w, theta, a))
    assert loaded.groups.tolist() == [*range(F), *range(F)]
    torch.testing.assert_close(
        loaded.activation.threshold, (theta.clamp(min=0)[:, None] / a).flatten().float()
    )


@pytest.mark.parametrize(
    ("name", "theta"), [("CROSSCODER", -1.0), ("NONE", -1.0), ("DECOUPLED", [-1.0, -1.0])]
)
def test_an_unset_threshold_is_plain_relu(tmp_path, name, theta):
    draw = Draw(3)
    w, x = batch_topk(draw, name, torch.tensor(theta)), raw(draw)
    loaded = crosscoder.load(folder_of(tmp_path, w, SIZES))
    assert_agrees(loaded, x, *formula(x, w))
    assert loaded.n_latents == F
