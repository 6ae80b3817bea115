import copy

import pytest
import torch

from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError
from crosscoder.evals.support.controls import Planted, Reseed
from crosscoder.evals.support.planted_latents import find_latents


def test_a_planted_feature_is_found_by_the_latent_that_writes_its_direction(planted_context):
    plants = Planted(n=8).plant(planted_context, planted_context.latent_table)
    crosscoder = copy.deepcopy(planted_context.crosscoder)
    # it was not trained on them
    assert (find_latents(plants, crosscoder, 0.7) == -1).mean() > 0.5
    feature = int((plants.gains[0] == 1).nonzero()[2])
    with torch.no_grad():
        crosscoder.W_dec[5, crosscoder.sources.slice("chat")] = 30 * plants.directions[0, feature]
    assert find_latents(plants, crosscoder, 0.7)[5] == feature
    with torch.no_grad():  # its larger decoder decides
        crosscoder.W_dec[5, crosscoder.sources.slice("base")] *= 1e6
    assert find_latents(plants, crosscoder, 0.7)[5] != feature


def test_features_copy_the_latents_that_lean_most(planted_context):
    table = planted_context.latent_table
    plants = Planted(n=4).plant(planted_context, table)
    assert int(plants.profile.max()) + 1 == 4
    copied = table.frame.set_index("latent").loc[plants.profiles.latents.unique().tolist()]
    n_leaning = (LatentTable(copied, table.meta)["relative_norm"] > 2 / 3).sum()
    n_leaning += (LatentTable(copied, table.meta)["relative_norm"] < 1 / 3).sum()
    assert n_leaning == 4  # of about ten of 80 latents


def test_features_are_drawn_once_for_all_stores(planted_context, monkeypatch):
    plant = Planted.plant
    made = []

    def keep(self, *given):
        made.append(plant(self, *given))
        return made[-1]

    monkeypatch.setattr(Planted, "plant", keep)
    stores = Planted(n=4).make_stores(planted_context, planted_context.latent_table)
    (plants,) = made
    assert stores.plants is plants
    for store in (stores.train, stores.validation, stores.heldout):
        assert store.transform is plants


def test_a_pair_without_a_known_sibling_has_no_reseed_control(planted_context):
    table = LatentTable.from_columns({}, {})
    assert Reseed({"a": "b"}).make_stores(planted_context, table) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 1}, "planted.n is a whole number from 2, not 1"),
        ({"dense": 0.0}, "planted.dense is a number above 0 to 1, not 0.0"),
        ({"found": 1.5}, "planted.found is a number from -1 to 1, not 1.5"),
    ],
)
def test_a_setting_of_planted_features_out_of_range_is_refused(settings, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        Planted(**settings)
