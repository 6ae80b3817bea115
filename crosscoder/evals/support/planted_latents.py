"""Latents of a crosscoder that was trained on planted features, by the kind of their feature.

The scales of the calibration are fitted to the exclusive features of one half of the profiles and
judged on those of the other half, whose directions, rates and sizes were drawn independently.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from crosscoder.core.model import Crosscoder
from crosscoder.data.synthetic.plants import EXCLUSIVE, KINDS, Plants

N_DECILES = 10


@dataclass(frozen=True)
class PlantedLatents:
    """Latents by the planted feature that they write.

    Args:
        plants: The planted features.
        features: For each latent the feature that it writes, or −1, [n_latents].
    """

    plants: Plants
    features: np.ndarray

    @property
    def kinds(self) -> np.ndarray:
        """Kind of the feature of each latent, or −1, [n_latents]."""
        kinds = self.plants.kinds.numpy()[self.features]
        return np.where(self.features >= 0, kinds, -1)

    def list_decoys(self) -> dict[str, np.ndarray]:
        """Return the latents that write a decoy, by its kind."""
        decoys = {}
        for number, name in enumerate(KINDS):
            if number != EXCLUSIVE:
                decoys[name] = np.flatnonzero(self.kinds == number)
        return decoys

    def list_fitted(self) -> np.ndarray:
        """Return the latents of the exclusive features to which the scales are fitted."""
        is_fitted = self.plants.profile.numpy()[self.features] % 2 == 0
        return np.flatnonzero((self.kinds == EXCLUSIVE) & is_fitted)

    def select_judged(self) -> np.ndarray:
        """Select the exclusive features on which the recall is measured, [features]."""
        is_exclusive = self.plants.kinds.numpy() == EXCLUSIVE
        return is_exclusive & (self.plants.profile.numpy() % 2 == 1)

    def find_called(self, calls: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the features of which a latent is called exclusive, [features].

        Args:
            calls: By source, which latents are called exclusive to it. An exclusive feature counts
                if its own source is named.
        """
        is_called = np.zeros(len(self.plants), dtype=bool)
        gains = self.plants.gains.numpy()
        for number, source in enumerate(self.plants.pair):
            features = self.features[calls[source] & (self.features >= 0)]
            is_present = gains[number, features] > 0
            is_called[features[is_present]] = True
        return is_called

    def find_found(self) -> np.ndarray:
        """Return the features that a latent writes, [features]."""
        is_found = np.zeros(len(self.plants), dtype=bool)
        is_found[self.features[self.features >= 0]] = True
        return is_found

    def measure_rates(self, calls: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Return `recall` of a rule, and its false-positive rate for each kind of decoy.

        The recall is over all exclusive features on which it is measured, found or not. A
        false-positive rate is over those decoys that a latent writes; NaN if there are none.
        """
        is_called = self.find_called(calls)
        is_found = self.find_found()
        kinds = self.plants.kinds.numpy()
        rates = {"recall": _mean(is_called[self.select_judged()])}
        for number, name in enumerate(KINDS):
            if number != EXCLUSIVE:
                rates[name] = _mean(is_called[(kinds == number) & is_found])
        return rates

    def count_by_density(self, calls: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return recall and false-positive rate for each tenth of the features, by their rate."""
        is_called = self.find_called(calls)
        is_found = self.find_found()
        is_exclusive = self.plants.kinds.numpy() == EXCLUSIVE
        rates = self.plants.profiles.rates.numpy()
        rows = []
        order = rates.argsort(kind="stable")
        for number, members in enumerate(np.array_split(order, N_DECILES), 1):
            judged = members[self.select_judged()[members]]
            decoys = members[~is_exclusive[members] & is_found[members]]
            row = {
                "decile": number,
                "density": f"{rates[members].min():.2g} – {rates[members].max():.2g}",
                "exclusive": len(judged),
                "found": _mean(is_found[judged]),
                "recall": _mean(is_called[judged]),
                "decoys found": len(decoys),
                "false positives": _mean(is_called[decoys]),
            }
            rows.append(row)
        return rows


def find_latents(plants: Plants, crosscoder: Crosscoder, found: float) -> np.ndarray:
    """Return for each latent the planted feature that it writes, or −1, [n_latents].

    A latent writes a feature if its larger decoder points along the feature's direction in that
    source.

    Args:
        plants: The planted features.
        crosscoder: Crosscoder that was trained on them.
        found: Cosine above which a latent writes a feature.
    """
    decoders = [crosscoder.decoder(name).detach().cpu() for name in plants.pair]
    norms = torch.stack([decoder.norm(dim=-1) for decoder in decoders])
    largest = []
    nearest = []
    for number, decoder in enumerate(decoders):
        cosines = normalize(decoder, dim=-1) @ plants.directions[number].T
        cosines[:, plants.gains[number] == 0] = -1  # the source does not have these features
        cosine, feature = cosines.max(dim=1)
        largest.append(cosine)
        nearest.append(feature)
    is_first = norms[0] >= norms[1]
    cosine = torch.where(is_first, *largest)
    feature = torch.where(is_first, *nearest)
    return torch.where(cosine > found, feature, -1).numpy()


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
