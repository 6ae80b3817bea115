"""The table of a planted world is true.

First for a crosscoder that is made from the truth, then for trained ones.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from sklearn.metrics import roc_auc_score
from torch.nn.functional import normalize

from crosscoder.analysis.analysis import Analysis
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.model import Crosscoder
from crosscoder.data import Harvest
from crosscoder.data.synthetic.planted import (
    BASE_ONLY,
    CHAT_ONLY,
    RESCALED,
    ROTATED,
    SHARED,
    SHIFTED,
    Planted,
)
from crosscoder.lm import load_pair
from tests.helpers.configs import composed
from tests.helpers.small import sources_of, store_of

NAMES = {
    SHARED: "shared",
    BASE_ONLY: "base-only",
    CHAT_ONLY: "chat-only",
    ROTATED: "rotated",
    RESCALED: "rescaled",
    SHIFTED: "shifted",
}

# --- a crosscoder made from the truth: every latent reads its feature without error ---

EXACT = Planted(
    width=64,
    shared=6,
    base_only=4,
    chat_only=4,
    rotated=4,
    rescaled=8,
    shifted=0,
    active=4.0,
    noise=0.0,
)


def oracle(shrunk: int | None = None) -> Crosscoder:
    """Return a crosscoder whose latents are the features.

    Encoders are the pseudo-inverse of the directions. The weaker decoder of the feature `shrunk` is
    set to zero.
    """
    truth = EXACT.truth()
    gains = truth["gains"]
    decoders = [
        gains[0, :, None] * truth["directions"],
        gains[1, :, None] * truth["chat_directions"],
    ]
    W_dec = torch.cat(decoders, dim=1)
    W_enc = torch.linalg.pinv(W_dec).T
    if shrunk is not None:
        part = slice(0, 64) if gains[0, shrunk] < 1 else slice(64, 128)
        W_dec[shrunk, part] = 0
    crosscoder = Crosscoder(
        sources_of(64, 64), len(W_dec), ReLU(), init=lambda *_: (W_enc.contiguous(), W_dec)
    )
    mean = torch.cat([*EXACT.sample(3000, "heldout").values()], dim=1).mean(0)
    with torch.no_grad():  # so that training units are centred
        crosscoder.set_units(mean, torch.ones(128))
        crosscoder.b_enc.copy_(W_enc @ mean)
        crosscoder.b_dec.copy_(-mean)
    return crosscoder.fold()


@pytest.fixture(scope="module")
def exact_store(tmp_path_factory):
    base, chat = EXACT.sample(3000, "heldout").values()
    return store_of(tmp_path_factory.mktemp("exact"), {"base": base, "chat": chat}, [2000, 1000])


def test_beta_equals_the_gain_without_noise(exact_store):
    truth = EXACT.truth()
    for feature in (truth["classes"] == RESCALED).nonzero()[:, 0].tolist():
        weak, strong = ("base", "chat") if truth["gains"][0, feature] < 1 else ("chat", "base")
        table = Analysis(n_resamples=5).make_table(oracle(shrunk=feature), exact_store)
        gain = float(truth["gains"].amin(0)[feature])
        assert table[f"norm/{weak}"][feature] == 0
        assert table[f"beta/error/{strong}/{weak}"][feature] == pytest.approx(gain, abs=1e-4)
        assert table[f"beta/error/{strong}/{strong}"][feature] == pytest.approx(1, abs=1e-4)
        assert table[f"nu/error/{strong}"][feature] == pytest.approx(gain, abs=1e-4)
        assert table["verdict"][feature] == ("shrunk" if gain > 0.2 else f"{strong}-specific")


def test_without_shrinkage_every_class_gets_its_verdict(exact_store):
    verdict = Analysis(n_resamples=50).make_table(oracle(), exact_store)["verdict"]
    classes = EXACT.truth()["classes"].numpy()
    expected = {
        SHARED: "shared",
        BASE_ONLY: "base-specific",
        CHAT_ONLY: "chat-specific",
        ROTATED: "rewritten",
        RESCALED: "shared",
    }
    for kind, name in expected.items():
        assert set(verdict[classes == kind]) == {name}, NAMES[kind]


def test_nothing_is_exclusive_between_a_stream_and_itself(exact_store, tmp_path):
    base, _ = EXACT.sample(2000, "heldout").values()
    store = store_of(tmp_path, {"base": base, "chat": base.clone()}, [2000])
    crosscoder = oracle()
    with torch.no_grad():
        crosscoder.W_dec[:, 64:] = crosscoder.W_dec[:, :64]
        crosscoder.b_dec[64:] = crosscoder.b_dec[:64]
    table = Analysis(n_resamples=5).make_table(crosscoder, store)
    assert set(table["verdict"]) <= {"shared", "dead", "undetermined"}
    assert (table["difference_energy"] == 0).all()
    np.testing.assert_allclose(table["delta_norm"][~table["dead"]], 0.5, atol=1e-6)


# --- trained crosscoders ---

WORLD = Planted(
    width=96,
    shared=40,
    base_only=12,
    chat_only=16,
    rotated=16,
    rescaled=16,
    shifted=16,
    active=6.0,
    noise=0.02,
)
L1 = ("activation=relu", "loss=[squared,l1]", "loss.l1.weight=2.0")


@lru_cache
def train_and_label(folder, *settings: str) -> pd.DataFrame:
    """Train a crosscoder; return its live latents near a feature, with that feature's class."""
    sizes = {"train": 40_000, "validation": 2_000, "heldout": 16_000}
    splits = WORLD.make_splits(load_pair("tiny"), [], None, Harvest(folder), sizes)
    config = composed(
        "debug=smoke", "n_latents=200", "k=6", "train_tokens=800_000", f"run={folder}", *settings
    )
    recipe = instantiate(config.recipe, _convert_="all")
    crosscoder, _ = recipe.train(splits.train, splits.validation, splits.sources, folder)
    frame = Analysis().make_table(crosscoder, splits.heldout).frame
    truth = WORLD.truth()
    chat, base = (normalize(crosscoder.decoder(name).detach(), dim=-1) for name in ("chat", "base"))
    alike = torch.where(
        torch.from_numpy(frame["norm/chat"].to_numpy(copy=True) >= frame["norm/base"].to_numpy())[
            :, None
        ],
        (chat @ truth["chat_directions"].T).masked_fill(truth["gains"][1] == 0, -1),
        (base @ truth["directions"].T).masked_fill(truth["gains"][0] == 0, -1),
    )
    cosine, feature = alike.max(dim=1)
    frame = frame.assign(
        feature=feature.numpy(),
        cosine_truth=cosine.numpy(),
        truth=[NAMES[int(k)] for k in truth["classes"][feature]],
    )
    return frame[(frame["cosine_truth"] > 0.8) & ~frame["dead"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module", params=[L1, ()], ids=["L1", "BatchTopK"])
def latents(request, folder) -> pd.DataFrame:
    return train_and_label(folder, *request.param)


def auroc(latents: pd.DataFrame, column: str, of: str) -> float:
    """Return how well a score separates latents of a class from chat-only ones."""
    rows = latents[latents["truth"].isin([of, "chat-only"])]
    return float(roc_auc_score(rows["truth"] == of, rows[column]))


def test_scaling_of_the_error_detects_rescaled_features(latents):
    assert auroc(latents, "nu/error/chat", "rescaled") >= 0.95


def test_scaling_of_the_reconstruction_flags_the_shifted_ones(folder):
    """L1 splits shifted features into a latent per model.

    BatchTopK learns one more latent for what they share, and then nothing is left to flag.
    """
    assert auroc(train_and_label(folder, *L1), "nu/reconstruction/chat", "shifted") >= 0.95


def precision_and_recall(latents: pd.DataFrame, called: pd.Series) -> tuple[float, float]:
    right = latents[called & (latents["truth"] == "chat-only")]
    return len(right) / called.sum(), right["feature"].nunique() / WORLD.chat_only


def test_the_verdict_is_more_precise_than_the_norm_rule_and_finds_as_much(latents):
    verdict = precision_and_recall(latents, latents["verdict"] == "chat-specific")
    norm_rule = precision_and_recall(latents, latents["category/minder2025"] == "chat-only")
    assert verdict[0] > norm_rule[0]
    assert verdict[0] >= 0.75
    assert verdict[1] >= 0.9


def test_rotated_features_are_called_rewritten(latents):
    rotated = latents[latents["truth"] == "rotated"]
    assert rotated["feature"].nunique() == WORLD.rotated
    assert (rotated["verdict"] == "rewritten").mean() >= 0.9


def test_shared_features_are_called_shared(latents):
    assert (latents[latents["truth"] == "shared"]["verdict"] == "shared").all()


def test_shifted_features_are_never_called_specific(latents):
    shifted = latents[latents["truth"] == "shifted"]
    assert not shifted["verdict"].str.endswith("-specific").any()


def test_the_noise_does_not_change_the_directions():
    assert torch.equal(WORLD.truth()["directions"], replace(WORLD, noise=0.5).truth()["directions"])
