"""Baselines for latents: other latents, and directions that need no dictionary.

    mean difference   v = mean x(a) − mean x(b), per source, at the token before the answer of
                      prompts of two kinds; every activation is moved along v to where b's mean lies
    probe             the same with v the weights of a logistic regression that separates a from b
    random            other latents of the same density and decoder norm

Several ways to measure and to remove a mean difference were tried: averaged over the opening or
over the whole prompt; moved to 0, to the mean of all text or to b's mean. This one removes most and
breaks least on the default pair: docs/log.md.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crosscoder.analysis.spans import PairedReading
from crosscoder.analysis.table import LatentTable
from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.interventions.steer import project_out

NEIGHBOURS = 20


def match_latents(table: LatentTable, latents: Sequence[int], seed: int = 0) -> list[int]:
    """Draw for each latent another live one of similar density and decoder norm.

    It is drawn among the NEIGHBOURS nearest in log density and log decoder norm; none is drawn
    twice.

    Raises:
        UserError: There are fewer other live latents than `latents`.
    """
    alive = table.query("not dead").frame
    index = alive["latent"].to_numpy()
    is_free = ~np.isin(index, list(latents))
    if is_free.sum() < len(latents):
        raise UserError(
            f"expected at least {len(latents)} other live latents to compare with, "
            f"found only {is_free.sum()}"
        )
    norm = alive[[column for column in alive if column.startswith("norm/")]].sum(axis=1)
    place = np.log(np.stack([alive["density"], norm], axis=1))
    place = (place - place.mean(0)) / np.maximum(place.std(0), 1e-9)
    generator = np.random.default_rng(seed)
    matches = []
    for latent in latents:
        own_place = place[index == latent]
        origin = own_place[0] if len(own_place) else 0
        distance = np.square(place - origin).sum(1)
        by_distance = np.argsort(distance[is_free], kind="stable")
        nearest = np.where(is_free)[0][by_distance][:NEIGHBOURS]
        chosen = generator.choice(nearest)
        is_free[chosen] = False
        matches.append(int(index[chosen]))
    return matches


def remove_mean_difference(crosscoder: Crosscoder, a: Tensor, b: Tensor) -> Intervention:
    """Project out the mean difference between two kinds of activations [n, d_total], per source."""
    return _project_out(crosscoder, a.mean(0) - b.mean(0), b.mean(0))


def remove_probe(crosscoder: Crosscoder, a: Tensor, b: Tensor, seed: int = 0) -> Intervention:
    """Project out the direction by which a logistic regression separates a from b, per source."""
    both = torch.cat([a, b])
    weights = []
    for x in crosscoder.sources.split(both).values():
        weights.append(fit_probe(x[: len(a)], x[len(a) :], seed))
    return _project_out(crosscoder, torch.cat(weights), b.mean(0))


def fit_probe(a: Tensor, b: Tensor, seed: int = 0) -> Tensor:
    """Return the direction [d_source] by which a logistic regression separates a from b.

    The regression sees standardised activations. The direction is in raw units.
    """
    from sklearn.linear_model import LogisticRegression

    both = torch.cat([a, b])
    scale = both.std(0).clamp(min=1e-6)
    labels = np.repeat([1, 0], [len(a), len(b)])
    regression = LogisticRegression(C=0.01, max_iter=1000, random_state=seed)
    regression.fit(((both - both.mean(0)) / scale).numpy(), labels)
    return torch.from_numpy(regression.coef_[0]).float() / scale


def _project_out(crosscoder: Crosscoder, direction: Tensor, target: Tensor) -> Intervention:
    split = crosscoder.sources.split
    return project_out(crosscoder.sources, split(direction), split(target))


def select_last_tokens(prompts: PairedReading) -> tuple[Tensor, Tensor]:
    """Return the activations before the answer, of the first and of the second prompts.

    Returns:
        Two tensors [n_pairs, d_total]: activations of each prompt's last compared token.
    """
    n_pairs = prompts.n_pairs
    documents = prompts.reading.tokens.document[prompts.rows]
    last = torch.full((2 * n_pairs,), -1)
    last = last.scatter_reduce(0, documents, prompts.rows, "amax")
    acts = prompts.reading.acts
    return acts[last[:n_pairs]], acts[last[n_pairs:]]
