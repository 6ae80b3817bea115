"""dictionary_learning itself (saprmarks): what its classes save is read here."""

import json
import warnings
from pathlib import Path

import pytest
import torch

import crosscoder
from tests.helpers.small import random_acts

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports nnsight, and that much else
    pytest.importorskip("dictionary_learning")
    from dictionary_learning import dictionary, utils
    from dictionary_learning.trainers import batch_top_k, matryoshka_batch_top_k, top_k

D, F, K = 6, 20, 3
CLASSES = {
    "AutoEncoder": lambda: dictionary.AutoEncoder(D, F),
    "AutoEncoderNew": lambda: dictionary.AutoEncoderNew(D, F),
    "GatedAutoEncoder": lambda: dictionary.GatedAutoEncoder(D, F),
    "JumpReluAutoEncoder": lambda: dictionary.JumpReluAutoEncoder(D, F),
    "AutoEncoderTopK": lambda: top_k.AutoEncoderTopK(D, F, K),
    "BatchTopKSAE": lambda: batch_top_k.BatchTopKSAE(D, F, K),
    "MatryoshkaBatchTopKSAE": lambda: matryoshka_batch_top_k.MatryoshkaBatchTopKSAE(
        D, F, K, [8, 12]
    ),
}


def save_run(kind: str, folder: Path) -> Path:
    """Write a run's folder with random weights, as its training does."""
    torch.manual_seed(0)
    made = CLASSES[kind]()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    state = made.state_dict()
    if "threshold" in state:
        state["threshold"] = (
            state["threshold"].abs() if state["threshold"].ndim else torch.tensor(0.7)
        )
    folder.mkdir()
    torch.save(state, folder / "ae.pt")
    trainer = {
        "dict_class": kind,
        "activation_dim": D,
        "dict_size": F,
        "layer": 5,
        "lm_name": "EleutherAI/pythia-70m",
    }
    trainer |= {"k": K, "submodule_name": "resid_post_layer_5"}
    (folder / "config.json").write_text(
        json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}})
    )
    return folder


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.filterwarnings("ignore")
def test_every_class_codes_here_as_there(kind, tmp_path):
    folder = save_run(kind, tmp_path / "trainer_0")
    theirs, _ = utils.load_dictionary(str(folder), device="cpu")
    ours, acts = crosscoder.load(folder), random_acts(50, D)
    with torch.no_grad():
        f, code = theirs.encode(acts), ours.encode(acts)
        torch.testing.assert_close(code.to_dense(), f, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.decode(code), theirs.decode(f), atol=1e-5, rtol=1e-5)
    assert 0 < (f > 0).sum() < f.numel()
    assert ours.sources.items[0].hookpoint == "resid_post.5"
