"""Tensors that only some generations of dictionary_learning's crosscoders have."""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.helpers.foreign import write
from tests.reference.formats.crosscoders import (
    OLD,
    PAIR,
    SIZES,
    THETA,
    TRAINER,
    M,
    batch_topk,
    folder_of,
    formula,
    normaliser,
    raw,
    score,
    weights,
)
from tests.reference.formats.files import Draw, assert_agrees, assert_provenance, d


@pytest.mark.parametrize("s", [[0.3, 0.05], 0.3, [3e-4, 5e-4]], ids=["by model", "of all", "tiny"])
@pytest.mark.parametrize("name", ["CROSSCODER", "DECOUPLED"])
def test_the_normaliser_of_either_generation(tmp_path, name, s):
    draw, s = Draw(4), torch.tensor(s)
    theta = torch.tensor([2.0, 8.0]) if name == "DECOUPLED" else torch.tensor(THETA)
    w = batch_topk(draw, name, theta) | normaliser(draw, s)
    x = raw(draw) / s.expand(M)[:, None]
    norm = "(x − mean) · s, one s for each model"
    if (
        name == "DECOUPLED"
    ):  # raw activations whose second normalisation is as large as the first of the others
        x = x / s.expand(M)[:, None] + w["activation_mean"] / s.expand(M)[:, None]
        norm += "; twice where the encoder reads"
    folder = folder_of(tmp_path, w, SIZES | {"target_rms": 1.0})
    loaded = crosscoder.load(folder)
    assert_agrees(
        loaded, x, *formula(x, w, theta, score(w, name), w["activation_mean"].double(), s)
    )
    assert_provenance(loaded, folder, "dictionary_learning", hookpoint=PAIR, norm=norm)
    # scores are of the decoder that was trained, not of the folded one
    norms = w["decoder.weight"].double().norm(dim=2)
    rows = torch.block_diag(norms[:1], norms[1:]) if name == "DECOUPLED" else norms
    torch.testing.assert_close(loaded.decoder_norms(), rows.float(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("s", [[1.0, 1.0], 1.0])
def test_a_normaliser_of_nan_is_ignored(tmp_path, s):
    draw, theta = Draw(5), torch.tensor(THETA)
    nothing = {
        "activation_mean": torch.full((M, d), torch.nan),
        "activation_std": torch.full((M, d), torch.nan),
    }
    w = batch_topk(draw, "CROSSCODER", theta) | normaliser(draw, torch.tensor(s)) | nothing
    x, folder = raw(draw), folder_of(tmp_path, w, SIZES)
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w, theta, score(w, "CROSSCODER")))
    assert_provenance(loaded, folder, "dictionary_learning", hookpoint=PAIR, norm="raw activations")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mlp_out_layer_3", "mlp_out.3"),
        ("resid_post_layer_13", "resid_post.13"),
        ("layer_9_in", "resid_post.8"),
    ],
)
def test_the_place_that_the_trainer_names(tmp_path, name, place):
    w = batch_topk(Draw(7), "CROSSCODER", torch.tensor(THETA))
    folder = folder_of(tmp_path, w, SIZES, TRAINER | {"submodule_name": name})
    assert_provenance(
        crosscoder.load(folder), folder, "dictionary_learning", hookpoint=dict.fromkeys(PAIR, place)
    )


@pytest.mark.parametrize("file", ["model_final.pt", "cc_weights.pt"])
def test_checkpoints_of_a_compiled_run(tmp_path, file):
    draw, theta = Draw(6), torch.tensor(THETA)
    w, x = batch_topk(draw, "CROSSCODER", theta), raw(draw)
    stored = {f"_orig_mod.{name}": tensor for name, tensor in w.items()}
    folder = write(tmp_path / "run", {"config.json": {"trainer": TRAINER}, file: stored})
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w, theta, score(w, "CROSSCODER")))
    assert_provenance(loaded, folder, "dictionary_learning", hookpoint=PAIR, bos_excluded=False)


@pytest.mark.parametrize(
    ("lost", "settings", "trainer"),
    [
        (("threshold",), {}, None),  # it still has a k
        (("threshold", "k"), {"dict_class": "BatchTopKCrossCoder"}, None),
        (("threshold", "k"), {}, TRAINER),
    ],
)
def test_batch_topk_without_its_threshold_is_refused(tmp_path, lost, settings, trainer):
    w = batch_topk(Draw(), "CROSSCODER", torch.tensor(THETA))
    stored = {name: tensor for name, tensor in w.items() if name not in lost}
    with pytest.raises(UserError, match=r"BatchTopKCrossCoder, but .* holds no threshold"):
        crosscoder.load(folder_of(tmp_path, stored, SIZES | settings, trainer))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 3}, "num_layers = 3"),
        ({"dict_size": 33}, "dict_size = 33"),
        ({"encoder_layers": [0]}, "encoder_"),
    ],
)
def test_weights_that_contradict_the_config_are_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        crosscoder.load(folder_of(tmp_path, weights(Draw()), OLD | settings))
