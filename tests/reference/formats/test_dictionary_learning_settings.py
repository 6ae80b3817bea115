"""Settings of dictionary_learning's crosscoders in run folders and uploads."""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.helpers.foreign import write
from tests.reference.formats.crosscoders import (
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
from tests.reference.formats.files import Draw, F, assert_agrees, d

ALPHA = (0.7, 0.3)
SINCE_MAY = {"code_normalization_alpha_sae": ALPHA[0], "code_normalization_alpha_cc": ALPHA[1]}
BEFORE = {"sparsity_loss_alpha_sae": ALPHA[0], "sparsity_loss_alpha_cc": ALPHA[1]}


def run_folder(path, w, **changes):
    """Write what a run leaves: its settings and a state dict."""
    return write(path / "run", {"config.json": {"trainer": TRAINER | changes}, "model_final.pt": w})


def without_id(w: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in w.items() if name != "code_normalization_id"}


@pytest.mark.parametrize("changes", [SINCE_MAY, BEFORE], ids=["since May", "before"])
def test_a_run_folder_has_its_alphas_under_trainer(tmp_path, changes):
    draw, theta = Draw(1), torch.tensor(THETA)
    w, x = batch_topk(draw, "MIXED", theta), raw(draw)
    loaded = crosscoder.load(run_folder(tmp_path, w, code_normalization="MIXED", **changes))
    assert_agrees(loaded, x, *formula(x, w, theta, score(w, "MIXED", ALPHA)))
    assert loaded.provenance["code_normalization_alphas"] == {"sae": ALPHA[0], "cc": ALPHA[1]}


@pytest.mark.parametrize(
    "arguments", [{}, SINCE_MAY, {"code_normalization_alpha_sae": 1.0}], ids=str
)
@pytest.mark.parametrize("changes", [SINCE_MAY, BEFORE], ids=["since May", "before"])
def test_settings_of_the_run_precede_the_arguments_of_an_upload(tmp_path, changes, arguments):
    draw, theta = Draw(2), torch.tensor(THETA)
    w, x = batch_topk(draw, "MIXED", theta), raw(draw)
    folder = folder_of(
        tmp_path, w, SIZES | arguments | {"code_normalization": "MIXED"}, TRAINER | changes
    )
    assert_agrees(crosscoder.load(folder), x, *formula(x, w, theta, score(w, "MIXED", ALPHA)))


@pytest.mark.parametrize(
    ("arguments", "alpha"),
    [(SINCE_MAY, ALPHA), ({}, (1.0, 0.1)), ({"code_normalization_alpha_cc": 0.4}, (1.0, 0.4))],
    ids=str,
)
def test_without_a_run_the_arguments_count_and_then_the_defaults(tmp_path, arguments, alpha):
    draw, theta = Draw(3), torch.tensor(THETA)
    w, x = batch_topk(draw, "MIXED", theta), raw(draw)
    loaded = crosscoder.load(folder_of(tmp_path, w, SIZES | arguments, trainer=None))
    assert_agrees(loaded, x, *formula(x, w, theta, score(w, "MIXED", alpha)))


@pytest.mark.parametrize("in_run", [True, False])
@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("LossType.CROSSCODER", "CROSSCODER"),
        ("LossType.SAE", "SAE"),
        ("LossType.MIXED", "MIXED"),
        ("SAE", "SAE"),
        ("MIXED", "MIXED"),
        ("NONE", "NONE"),
        ("None", "CROSSCODER"),  # Python's None: the sum
    ],
)
def test_loss_types_of_march_to_may_2025(tmp_path, word, name, in_run):
    draw, theta = Draw(4), torch.tensor(2.0 if name == "NONE" else THETA)
    w, x = batch_topk(draw, name, theta), raw(draw)
    changes = BEFORE | {"sparsity_loss_type": word}
    stored = without_id(w)
    run, hub = (
        run_folder(tmp_path, stored, **changes),
        folder_of(tmp_path, stored, SIZES, TRAINER | changes),
    )
    folder = run if in_run else hub
    loaded, n = crosscoder.load(folder), score(w, name, ALPHA)
    assert_agrees(loaded, x, *formula(x, w, theta, n))
    torch.testing.assert_close(loaded.selection_scale, n.float(), rtol=1e-6, atol=0)


def test_the_default_code_normalisation_is_the_sum(tmp_path):
    draw, theta = Draw(5), torch.tensor(THETA)
    w, x = batch_topk(draw, "CROSSCODER", theta), raw(draw)
    loaded = crosscoder.load(run_folder(tmp_path, without_id(w)))
    assert_agrees(loaded, x, *formula(x, w, theta, score(w, "CROSSCODER")))


@pytest.mark.parametrize(
    ("trainer", "arguments"),
    [
        ({"sparsity_loss_type": "LossType.SAE"}, {}),
        ({"code_normalization": "NONE"}, {}),
        ({}, {"code_normalization": "MIXED"}),
        ({"code_normalization": "CROSSCODER"}, {"code_normalization": "SAE"}),
    ],
    ids=str,
)
def test_conflicting_code_normalisations_are_refused_if_a_threshold_depends_on_them(
    tmp_path, trainer, arguments
):
    w = batch_topk(Draw(6), "CROSSCODER", torch.tensor(THETA))
    with pytest.raises(UserError, match=r"code_normalization_id = 1.*threshold fits only one"):
        crosscoder.load(folder_of(tmp_path, w, SIZES | arguments, TRAINER | trainer))


def test_the_run_decides_the_code_normalisation_of_a_relu_crosscoder(tmp_path):
    draw = Draw(7)
    w, x = weights(draw) | {"code_normalization_id": torch.tensor(1)}, raw(draw)
    changes = TRAINER | {"dict_class": "CrossCoder", "sparsity_loss_type": "LossType.SAE"}
    loaded = crosscoder.load(folder_of(tmp_path, w, SIZES, changes))
    assert_agrees(loaded, x, *formula(x, w))
    torch.testing.assert_close(loaded.selection_scale, score(w, "SAE").float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code_normalization": "DEFLATED"}, "code_normalization is 'DEFLATED'"),
        ({"sparsity_loss_type": "LossType.L0"}, "sparsity_loss_type is 'LossType.L0'"),
        ({"dict_class": "CrossCoder"}, "has no threshold, but .* holds one"),
        ({"dict_class": "BatchTopKSAE"}, "dict_class is 'BatchTopKSAE'"),
    ],
)
def test_unknown_or_contradictory_settings_are_refused(tmp_path, changes, message):
    w = without_id(batch_topk(Draw(), "CROSSCODER", torch.tensor(THETA)))
    with pytest.raises(UserError, match=message):
        crosscoder.load(run_folder(tmp_path, w, **changes))


def test_a_latent_processor_is_refused(tmp_path):
    w = batch_topk(Draw(), "CROSSCODER", torch.tensor(THETA))
    with pytest.raises(UserError, match="latent_processor"):
        crosscoder.load(folder_of(tmp_path, w, SIZES | {"latent_processor": "tanh"}))


@pytest.mark.parametrize("theta", [[2.0, 8.0], [-1.0, -1.0], [-1.0, 8.0]])
def test_a_decoupled_encoder_reads_activations_normalised_twice(tmp_path, theta):
    """Compare run folder and hub, with and without a threshold."""
    draw, theta, s = Draw(8), torch.tensor(theta), torch.tensor([0.8, 1.3])
    w = batch_topk(draw, "DECOUPLED", theta) | normaliser(draw, s)
    mean, n = w["activation_mean"].double(), score(w, "DECOUPLED")
    x = raw(draw) / s[:, None] + w["activation_mean"]
    f, recon = formula(x, w, theta, n, mean, s)
    loaded = crosscoder.load(run_folder(tmp_path, w, code_normalization="DECOUPLED"))
    if theta.max() < 0:  # one code for all models
        f = f[:, :F]
    assert_agrees(loaded, x, f, recon)
    rows = (
        n if theta.max() < 0 else torch.block_diag(n[:1], n[1:])
    )  # of the decoder that was trained
    torch.testing.assert_close(loaded.decoder_norms(), rows.float(), rtol=1e-4, atol=0)


def test_a_decoupled_latent_without_weight_in_a_model_is_not_active_there(tmp_path):
    draw, theta = Draw(9), torch.tensor([0.0, 8.0])
    w = batch_topk(draw, "DECOUPLED", theta)
    w["decoder.weight"][0, 3] = 0
    x = raw(draw)
    f, _ = formula(x, w, torch.tensor([1e-3, 8.0]), score(w, "DECOUPLED"))
    code = crosscoder.load(folder_of(tmp_path, w, SIZES)).encode(x.flatten(1)).to_dense()
    assert (code[:, 3] == 0).all()
    torch.testing.assert_close(code.double(), f, rtol=1e-4, atol=1e-4)


def test_a_normaliser_by_dimension_is_refused(tmp_path):
    """Refuse files of a week in June 2025 that divide by std.

    Later packages read the same file differently.
    """
    w = batch_topk(Draw(), "CROSSCODER", torch.tensor(THETA))
    w |= {"activation_mean": torch.zeros(M, d), "activation_std": torch.ones(M, d)}
    with pytest.raises(UserError, match="is incomplete"):
        crosscoder.load(folder_of(tmp_path, w, SIZES))
