"""Latents of two dictionaries that stand for the same thing, by what they write: cosines of their decoders.

*Best*: for each latent the other dictionary's nearest. *One to one*: partners chosen so that the sum of cosines is largest
(the Hungarian method); no partner is shared, so a dictionary that has a direction once cannot explain two latents with it.
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

Rows = Float[Tensor, "n d_source"]
AT_A_TIME = 1024  # latents whose cosines with all others are in memory together


@torch.no_grad()
def best(ours: Rows, theirs: Float[Tensor, "m d_source"]) -> tuple[np.ndarray, np.ndarray]:
    """For each row of `ours` the nearest of `theirs`: (cosine [n], which [n])."""
    other = normalize(theirs, dim=-1).T
    found = [(normalize(part, dim=-1) @ other).max(dim=1) for part in ours.split(AT_A_TIME)]
    cosine, which = (torch.cat(column).cpu().numpy() for column in zip(*found, strict=True))
    return cosine, which


@torch.no_grad()
def one_to_one(ours: Rows, theirs: Float[Tensor, "m d_source"]) -> tuple[np.ndarray, np.ndarray]:
    """For each row of `ours` its partner: (cosine [n], which [n]); 0 and −1 for those left without one."""
    cosine = (normalize(ours, dim=-1) @ normalize(theirs, dim=-1).T).cpu().numpy()
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    found, partner = np.zeros(len(cosine), dtype=cosine.dtype), np.full(len(cosine), -1)
    found[rows], partner[rows] = cosine[rows, columns], columns
    return found, partner
