"""Training finds planted features: a crosscoder is trained on a world of known features."""

from functools import partial

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.metrics import relative_norm
from crosscoder.core.model import Crosscoder
from crosscoder.core.sparse import DenseCode
from crosscoder.data import Harvest, Mixing, Scale, Splits
from crosscoder.data.synthetic.planted import BASE_ONLY, CHAT_ONLY, SHARED, Planted
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training import ActsModule, CrosscoderModule, fit
from tests.helpers.configs import composed

WORLD = Planted(width=32, shared=30, base_only=5, chat_only=5, active=3.0)
# a source that has the features of a class
SOURCE_OF = {SHARED: "chat", BASE_ONLY: "base", CHAT_ONLY: "chat"}


@pytest.fixture(scope="module")
def splits(cache, tiny_pair) -> Splits:
    return WORLD.make_splits(
        tiny_pair,
        [],
        None,
        Harvest(cache / "recovery"),
        {"train": 20_000, "validation": 2_000, "heldout": 4_000},
    )


@pytest.fixture(scope="module")
def crosscoder(splits, tmp_path_factory) -> Crosscoder:
    crosscoder = Crosscoder(splits.sources, 80, BatchTopK(3))
    crosscoder.set_units(*Scale().fit(splits.train, splits.sources))
    losses = {"reconstruction": Reconstruction("normalised"), "auxk": AuxK()}
    module = CrosscoderModule(crosscoder, losses, partial(torch.optim.Adam, lr=5e-3), n_steps=600)
    batches = ActsModule(Mixing(splits.train, splits.sources), 512)
    fit(
        module,
        batches,
        instantiate(composed().trainer),
        False,
        tmp_path_factory.mktemp("run") / "checkpoints",
    )
    return crosscoder.fold()


@pytest.fixture(scope="module")
def found(crosscoder) -> dict[str, torch.Tensor]:
    """Return for every feature the latent with the most similar decoder.

    Columns: `latent`, `cosine`, `R`, and the feature's `classes`.
    """
    truth = WORLD.truth()
    rows = []
    for direction, kind in zip(truth["directions"], truth["classes"].tolist(), strict=True):
        decoder = crosscoder.decoder(SOURCE_OF[kind])
        # decoders near zero have random directions, so only those of some size count
        cosine = torch.cosine_similarity(decoder, direction, dim=1) * (decoder.norm(dim=1) > 0.1)
        rows.append((cosine.argmax(), cosine.max()))
    latent, cosine = (torch.stack(column) for column in zip(*rows, strict=True))
    norms = dict(zip(crosscoder.sources.names, crosscoder.decoder_norms(), strict=True))
    R = relative_norm(norms["chat"], norms["base"])[latent]
    return {"latent": latent, "cosine": cosine, "R": R, "classes": truth["classes"]}


def test_every_planted_direction_is_found_by_a_latent_of_its_own(found):
    assert (found["cosine"] > 0.95).all(), found["cosine"]
    assert found["latent"].unique().numel() == len(found["latent"])


def test_norms_tell_whose_a_feature_is(found):
    R = found["R"]
    classes = found["classes"]
    assert (R[classes == CHAT_ONLY] > 0.8).all(), R
    assert (R[classes == BASE_ONLY] < 0.2).all(), R
    assert ((R[classes == SHARED] - 0.5).abs() < 0.1).all(), R


def test_latents_are_active_where_their_feature_is(found, crosscoder):
    base, chat = WORLD.sample(4_000, "heldout").values()
    f = crosscoder.encode(torch.cat([base, chat], dim=1)).to_dense()
    generator = torch.Generator().manual_seed(WORLD.seed + 3)  # as Planted.sample draws them
    on = torch.rand(4_000, len(found["latent"]), generator=generator) < WORLD.truth()["rates"]
    fires = f[:, found["latent"]] > 0
    agreement = (fires & on).sum(0) / (fires | on).sum(0)
    assert (agreement > 0.8).all(), agreement


@pytest.mark.parametrize(
    ("kind", "moved", "untouched"), [(CHAT_ONLY, "chat", "base"), (BASE_ONLY, "base", "chat")]
)
def test_ablating_an_exclusive_latent_moves_only_its_model(
    found, crosscoder, splits, kind, moved, untouched
):
    code = crosscoder.encode(splits.heldout.acts(0, splits.sources.names)).to_dense()
    for latent in found["latent"][found["classes"] == kind].tolist():
        ablated = code.clone()
        ablated[:, latent] = 0
        change = {
            name: (
                crosscoder.decode(DenseCode(code), name)
                - crosscoder.decode(DenseCode(ablated), name)
            ).norm()
            for name in (moved, untouched)
        }
        assert change[moved] > 1
        assert change[untouched] < 0.2 * change[moved]
