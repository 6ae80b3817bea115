"""Folders of dictionary_learning: hub, run, checkpoints, with and without the class."""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.helpers.foreign import write
from tests.reference.formats import crosscoders
from tests.reference.formats import test_dictionary_learning_sae as saes
from tests.reference.formats.crosscoders import OLD, PAIR, TRAINER, batch_topk, score
from tests.reference.formats.files import Draw, F, assert_agrees, assert_provenance, d
from tests.reference.formats.test_dictionary_learning_sae import (
    CLASSES,
    K,
    config,
    formula,
    weights,
)

ARGUMENTS = {"activation_dim": d, "dict_size": F}
NORMED = (
    "GatedAutoEncoder",
    "JumpReluAutoEncoder",
)  # crosscoder_learning's codes of these are f · ‖D‖


def give_code(x, w, kind):
    """Return code and reconstruction of crosscoder_learning's classes."""
    f, recon = formula(x, w, kind)
    D = (w["W_dec"] if "W_dec" in w else w["decoder.weight"].T).double()
    if kind == "AutoEncoder":  # which does not bring the decoder to norm 1
        return f / D.norm(dim=1), recon
    return (f * D.norm(dim=1), recon) if kind in NORMED else (f, recon)


@pytest.mark.parametrize("kind", list(CLASSES))
@pytest.mark.parametrize("is_named", [True, False])
def test_an_sae_in_a_hub_folder(tmp_path, kind, is_named):
    draw = Draw(7)
    w, x = weights(draw, kind), draw(40, d)
    if kind == "AutoEncoderTopK":  # whose k stands in the arguments alone
        w = {name: tensor for name, tensor in w.items() if name not in ("k", "threshold")}
    arguments = (
        ARGUMENTS
        | ({"k": K} if "TopK" in kind else {})
        | ({"dict_class": kind} if is_named else {})
    )
    folder = write(tmp_path / "sae", {"config.json": arguments, "model.safetensors": w})
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *give_code(x, w, kind))
    assert_provenance(loaded, folder, "dictionary_learning_sae", hookpoint={"model": ""})
    assert loaded.provenance["dict_class"] == kind


@pytest.mark.parametrize("kind", list(CLASSES))
@pytest.mark.parametrize("file", ["model_final.pt", "checkpoint_3000.pt"])
def test_an_sae_in_a_run_folder_is_not_read_as_a_crosscoder(tmp_path, kind, file):
    draw = Draw(8)
    w, x = weights(draw, kind), draw(40, d)
    folder = write(tmp_path / "run", {"config.json": config(kind), file: w})
    if file == "model_final.pt":
        loaded = crosscoder.load(folder)
    else:
        with pytest.warns(UserWarning, match=f"no finished weights: {file}, its last checkpoint"):
            loaded = crosscoder.load(folder)
        assert loaded.provenance["file"] == file
    assert_agrees(loaded, x, *give_code(x, w, kind))
    assert_provenance(loaded, folder, "dictionary_learning_sae", hookpoint=saes.PLACE)


@pytest.mark.parametrize(
    "kind", [kind for kind in CLASSES if kind != "AutoEncoderTopK" and kind != "BatchTopKSAE"]
)
def test_the_tensors_imply_the_class_of_saprmarks_package(tmp_path, kind):
    draw = Draw(9)
    w, x = weights(draw, kind), draw(40, d)
    loaded = crosscoder.load(
        write(tmp_path, {"config.json": {"trainer": {"layer": 13}}, "ae.pt": w})
    )
    assert_agrees(loaded, x, *formula(x, w, kind))


@pytest.mark.parametrize(
    ("trainer", "kind"),
    [("TopKTrainer", "AutoEncoderTopK"), ("BatchTopKTrainer", "BatchTopKSAE"), (None, None)],
)
def test_the_trainer_decides_between_two_classes(tmp_path, trainer, kind):
    draw = Draw(10)
    w, x = weights(draw, "BatchTopKSAE"), draw(40, d)
    folder = write(tmp_path, {"config.json": {"trainer": {"trainer_class": trainer}}, "ae.pt": w})
    if kind is None:
        with pytest.raises(UserError, match="an AutoEncoderTopK and a BatchTopKSAE"):
            crosscoder.load(folder)
        return
    assert_agrees(crosscoder.load(folder), x, *formula(x, w, kind))


def test_the_old_spelling_of_matryoshka(tmp_path):
    draw = Draw(11)
    w, x = weights(draw, "MatryoshkaBatchTopKSAE"), draw(40, d)
    files = {"config.json": config("MatroyshkaBatchTopKSAE"), "ae.pt": w}
    assert_agrees(
        crosscoder.load(write(tmp_path, files)), x, *formula(x, w, "MatryoshkaBatchTopKSAE")
    )


def test_a_checkpoint_with_optimizer_state_is_refused(tmp_path):
    w = weights(Draw(), "AutoEncoder")
    backup = {
        "step": 5,
        "ae": w,
        "optimizer": {"state": {}, "param_groups": []},
        "config": {},
        "norm_factor": 3.0,
    }
    with pytest.raises(UserError, match="checkpoint to resume training from"):
        crosscoder.load(write(tmp_path, {"config.json": config("AutoEncoder"), "ae.pt": backup}))


# --- crosscoders ---


def made(draw: Draw, name: str = "CROSSCODER") -> dict:
    return batch_topk(draw, name, torch.tensor(crosscoders.THETA))


def correct(loaded, x, w, name: str = "CROSSCODER") -> None:
    assert_agrees(loaded, x, *crosscoders.formula(x, w, w["threshold"], score(w, name)))


def test_the_last_checkpoint_is_read_or_the_named_one(tmp_path):
    draw = Draw(1)
    first, last, x = made(draw), made(draw), crosscoders.raw(draw)
    files = {
        "config.json": {"trainer": TRAINER},
        "checkpoint_900.pt": first,
        "checkpoint_1000.pt": last,
    }
    folder = write(tmp_path / "run", files)
    with pytest.warns(UserWarning, match=r"checkpoint_1000\.pt, its last checkpoint, is read"):
        correct(crosscoder.load(folder), x, last)
    loaded = crosscoder.load(folder / "checkpoint_900.pt")
    correct(loaded, x, first)
    assert set(loaded.provenance["sha256"]) == {"config.json", "checkpoint_900.pt"}
    write(folder, {"model_final.pt": last})
    correct(crosscoder.load(folder), x, last)


@pytest.mark.filterwarnings("ignore:.*its last checkpoint:UserWarning")
def test_a_checkpoint_needs_no_settings_if_its_tensors_suffice(tmp_path):
    draw = Draw(2)
    w, x = made(draw, "SAE"), crosscoders.raw(draw)
    loaded = crosscoder.load(write(tmp_path, {"checkpoint_5.pt": w}))
    correct(loaded, x, w, "SAE")
    assert [source.hookpoint for source in loaded.sources] == ["", ""]


@pytest.mark.parametrize("layers", [[0, 1], [1, 0], [1]])
def test_an_encoder_may_read_models_in_any_order_or_only_some(tmp_path, layers):
    draw = Draw(3)
    w, x = crosscoders.weights(draw), crosscoders.raw(draw)
    stored = w | {"encoder.weight": w["encoder.weight"][layers]}
    if layers == [1]:
        w["encoder.weight"][0] = 0
    files = {"config.json": OLD | {"encoder_layers": layers}, "model.safetensors": stored}
    loaded = crosscoder.load(write(tmp_path, files))
    assert_agrees(loaded, x, *crosscoders.formula(x, w))


@pytest.mark.parametrize(
    "layers", [[0, 0], [0, 2], [-1, 0], ["0", "1"], "01", {"0": 1}, [], [0, 1.0], [[0], [1]]]
)
def test_invalid_encoder_layers_are_refused(tmp_path, layers):
    files = {
        "config.json": OLD | {"encoder_layers": layers},
        "model.safetensors": crosscoders.weights(Draw()),
    }
    with pytest.raises(UserError, match="encoder_layers"):
        crosscoder.load(write(tmp_path, files))


PARTITION = {"dict_size": F, "model_a_exclusive_pct": 0.125, "model_b_exclusive_pct": 0.25}


def make_partition(draw: Draw) -> dict:
    """Build a dedicated feature crosscoder: 4 latents of model 0, then 8 of model 1."""
    w = made(draw)
    for name, axis in (("encoder.weight", 2), ("decoder.weight", 1)):
        w[name][1].narrow(axis - 1, 0, 4).zero_()
        w[name][0].narrow(axis - 1, 4, 8).zero_()
    return w


@pytest.mark.parametrize("kind", ["BatchTopKCrossCoder", "DedicatedFeatureBatchTopKCrossCoder"])
def test_a_run_folder_of_a_dedicated_feature_crosscoder(tmp_path, kind):
    draw = Draw(4)
    w, x = make_partition(draw), crosscoders.raw(draw)
    files = {"config.json": {"trainer": TRAINER | {"dict_class": kind}}, "model_final.pt": w}
    files["model_final.pt"] = w | {"_partition_config": PARTITION}
    folder = write(tmp_path / "run", files)
    loaded = crosscoder.load(folder)
    correct(loaded, x, w)
    assert_provenance(loaded, folder, "dictionary_learning", hookpoint=PAIR)
    assert loaded.provenance["partition"] == {"base": 4, "chat": 8}
    assert not loaded.decoder("chat")[:4].any()


@pytest.mark.parametrize(
    "changed",
    [
        {"dict_size": F + 1},
        {"model_a_exclusive_pct": -0.1},
        {"model_a_exclusive_pct": 0.9},
        {"model_a_exclusive_pct": float("nan")},
        {"model_b_exclusive_pct": 10**400},
    ],
    ids=str,
)
def test_an_invalid_partition_is_refused(tmp_path, changed):
    w = made(Draw()) | {"_partition_config": PARTITION | changed}
    with pytest.raises(UserError, match="_partition_config"):
        crosscoder.load(write(tmp_path, {"config.json": {"trainer": TRAINER}, "model_final.pt": w}))


def test_other_plain_values_among_the_tensors_are_refused(tmp_path):
    w = made(Draw()) | {"_other": {"a": 1}}
    with pytest.raises(UserError, match="also holds '_other'"):
        crosscoder.load(write(tmp_path, {"config.json": {"trainer": TRAINER}, "model_final.pt": w}))
