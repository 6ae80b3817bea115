"""Latents of two dictionaries that stand for the same thing, by the cosines of their decoders.

*Nearest*: for each latent the most similar one of the other dictionary. *One to one*: partners such
that the sum of cosines is largest (the Hungarian method). No partner is used twice, so a dictionary
that has a direction once cannot explain two latents with it.
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

Rows = Float[Tensor, "n d_source"]
LATENTS_PER_CHUNK = 1024  # latents whose cosines with all others are in memory together


@torch.no_grad()
def find_nearest(ours: Rows, theirs: Float[Tensor, "m d_source"]) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row of `ours` the nearest of `theirs`: (cosine [n], its row [n])."""
    unit_theirs = normalize(theirs, dim=-1).T
    cosines = []
    nearest = []
    for chunk in ours.split(LATENTS_PER_CHUNK):
        largest = (normalize(chunk, dim=-1) @ unit_theirs).max(dim=1)
        cosines.append(largest.values)
        nearest.append(largest.indices)
    return torch.cat(cosines).cpu().numpy(), torch.cat(nearest).cpu().numpy()


@torch.no_grad()
def match_one_to_one(
    ours: Rows, theirs: Float[Tensor, "m d_source"]
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row of `ours` its partner: (cosine [n], its row [n]).

    0 and −1 for rows without a partner, which there are if `theirs` has fewer rows.
    """
    all_cosines = (normalize(ours, dim=-1) @ normalize(theirs, dim=-1).T).cpu().numpy()
    rows, columns = linear_sum_assignment(all_cosines, maximize=True)
    cosine = np.zeros(len(all_cosines), dtype=all_cosines.dtype)
    cosine[rows] = all_cosines[rows, columns]
    partner = np.full(len(all_cosines), -1)
    partner[rows] = columns
    return cosine, partner
